"""What was measured of a version in one choice of its options: how good it is there, and how fast."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from inference.models.model_version import Acceleration, ModelVersion, Precision


class Measurement(models.Model):
    """The latest finding for a version in one precision and acceleration, on one device with so many threads.

    A measurement is a fact about a version and changes nothing of it: options in which a version does not serve are
    measured too, for whoever chooses those of the next one. ``inference.registry.measurements`` writes it.
    """

    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="measurements")
    precision = models.CharField(max_length=8, choices=Precision)
    acceleration = models.CharField(max_length=16, choices=Acceleration, default=Acceleration.NONE)
    device = models.CharField(max_length=100, help_text="What computed: the name of the processor or of the GPU.")
    threads = models.PositiveSmallIntegerField(validators=[MinValueValidator(1)])
    accuracy = models.FloatField(
        validators=[MinValueValidator(0.0), MaxValueValidator(1.0)], help_text="Share of right answers, 0 to 1."
    )
    inputs = models.PositiveIntegerField(validators=[MinValueValidator(1)], help_text="On how many it was measured.")
    data = models.CharField(max_length=200, help_text="What the inputs were.")
    inputs_per_s = models.FloatField("inputs/s", help_text="In full batches, without the service around the model.")
    alone_ms = models.FloatField("ms alone", help_text="Median time of one input in a batch of its own.")
    measured_at = models.DateTimeField()

    class Meta:
        ordering = ["version_id", "precision", "acceleration", "device", "threads"]
        constraints = [
            models.UniqueConstraint(
                fields=["version", "precision", "acceleration", "device", "threads"],
                name="one_measurement_an_option_and_device",
            ),
            models.CheckConstraint(condition=Q(accuracy__gte=0, accuracy__lte=1), name="measurement_accuracy_a_share"),
            models.CheckConstraint(
                condition=Q(inputs__gte=1, inputs_per_s__gt=0, alone_ms__gt=0), name="measurement_of_something"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.version} in {self.precision} on {self.device}"
