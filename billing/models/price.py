"""What operations cost, in units."""

from django.db import models

from billing.models.meters import MAX_METER_CHARS


class Operation(models.TextChoices):
    PREDICT = "predict", "Predict"
    BATCH = "batch", "Batch predict"
    GRAPHQL = "graphql", "GraphQL query"


class Price(models.Model):
    """Units for an operation on a model. A row without a model is the price of every model that has no row."""

    operation = models.CharField(max_length=16, choices=Operation, default=Operation.PREDICT)
    model = models.CharField(
        max_length=MAX_METER_CHARS,
        blank=True,
        help_text="The model's name, tenant/name of a private one; empty for all other models.",
    )
    per_call = models.PositiveIntegerField(default=0, help_text="Units for each call, whatever it holds.")
    per_input = models.PositiveIntegerField(
        default=1, help_text="Units for each input that is computed, or each point of a GraphQL query."
    )
    cached_per_input = models.PositiveIntegerField(default=0, help_text="Units for each input that the cache answers.")

    class Meta:
        ordering = ["operation", "model"]
        constraints = [models.UniqueConstraint(fields=["operation", "model"], name="one_price_an_operation_and_model")]

    def __str__(self) -> str:
        return f"{self.get_operation_display()} on {self.model or 'any model'}"
