"""One semantic version of a model: an artefact, how to run it, and how good it is."""

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q

from inference.models.ml_model import MLModel

SEMANTIC_VERSION = r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})(-[0-9A-Za-z.-]{1,32})?"


class RuntimeName(models.TextChoices):
    TEXT_CLASSIFICATION = "text-classification", "Text classification"
    TEXT_EMBEDDING = "text-embedding", "Text embedding"
    TENSOR_CLASSIFICATION = "tensor-classification", "Image or tensor classification"
    TENSOR_SCORING = "tensor-scoring", "Scoring of candidates"
    TENSOR_ECHO = "tensor-echo", "Echo, for load tests"
    IMAGE_CLASSIFICATION = "image-classification", "Image classification"
    PAIR_CLASSIFICATION = "pair-classification", "Classification of pairs of texts"
    PAIR_SCORING = "pair-scoring", "Reranking: how well a text fits another"


class Precision(models.TextChoices):
    """In what numbers a version computes. ``int8`` is dynamic quantisation of linear layers, on a processor only."""

    FLOAT32 = "float32", "float32"
    BFLOAT16 = "bfloat16", "bfloat16"
    FLOAT16 = "float16", "float16 (GPU)"
    INT8 = "int8", "dynamic int8 (CPU)"


class Acceleration(models.TextChoices):
    """What is done to the loaded network before it serves."""

    NONE = "none", "None"
    COMPILE = "compile", "torch.compile"
    CUDA_GRAPHS = "cuda-graphs", "CUDA graphs (GPU)"


class VersionState(models.TextChoices):
    STAGED = "staged", "Staged"
    READY = "ready", "Ready"
    LIVE = "live", "Live"
    RETIRED = "retired", "Retired"


class ModelVersion(models.Model):
    """An immutable artefact and its contract. ``inference.registry.versions`` moves it between states."""

    model = models.ForeignKey(MLModel, on_delete=models.PROTECT, related_name="versions")
    version = models.CharField(
        max_length=64,
        validators=[RegexValidator(rf"^{SEMANTIC_VERSION}$", "A semantic version such as 1.2.0.")],
    )
    runtime = models.CharField(max_length=32, choices=RuntimeName)
    artefact_path = models.CharField(
        max_length=300, help_text="Folder below the models folder, such as sentiment/1.0.0."
    )
    sha256 = models.CharField("artefact SHA-256", max_length=64, validators=[RegexValidator(r"^[0-9a-f]{64}$")])
    input_schema = models.JSONField(help_text='Such as {"kind": "text", "max_chars": 10000}.')
    output_schema = models.JSONField(help_text='Such as {"kind": "classification"}.')
    labels = models.JSONField(default=list, blank=True)
    max_batch_size = models.PositiveIntegerField(default=32, validators=[MinValueValidator(1), MaxValueValidator(1024)])
    max_batch_tokens = models.PositiveIntegerField(
        default=0, help_text="At most this many tokens (about 4 characters each) in one batch; 0 for no bound."
    )
    max_queue_delay_ms = models.PositiveIntegerField(
        default=0,
        validators=[MaxValueValidator(1000)],
        help_text="How long an input may wait for others although a worker is free; 0 sends it at once.",
    )
    precision = models.CharField(max_length=8, choices=Precision, default=Precision.FLOAT32)
    acceleration = models.CharField(max_length=16, choices=Acceleration, default=Acceleration.NONE)
    device = models.CharField(max_length=16, default="auto", help_text="auto, cpu, or cuda:0.")
    state = models.CharField(max_length=8, choices=VersionState, default=VersionState.STAGED, editable=False)
    load_error = models.CharField(max_length=500, blank=True, editable=False)
    breaches = models.PositiveSmallIntegerField(
        default=0, editable=False, help_text="How often a tenant's version took more time or memory than it may."
    )
    accuracy = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0.0), MaxValueValidator(1.0)],
        help_text="Held-out accuracy, 0 to 1.",
    )
    accuracy_note = models.TextField(blank=True, help_text="How it was measured: data, split, number, date.")
    speed_note = models.TextField(
        blank=True, help_text="How fast it is with these options: inputs a second, device, date."
    )
    licence = models.CharField(max_length=200, blank=True)
    card = models.JSONField(
        default=dict, blank=True, editable=False, help_text="The model.toml with which it was pushed."
    )
    size_bytes = models.PositiveBigIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    ready_since = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When it could first answer; stays when it is retired."
    )
    live_since = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["model__name", "-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["model", "version"], name="one_row_a_model_and_version"),
            models.UniqueConstraint(fields=["model"], condition=Q(state="live"), name="one_live_version_a_model"),
            models.CheckConstraint(condition=Q(state__in=VersionState.values), name="version_state_known"),
        ]

    def __str__(self) -> str:
        return f"{self.model.qualified_name}@{self.version}"
