"""API versions: one row each, beside the file that says how the API version is written."""

from django.core.validators import RegexValidator
from django.db import models


class ApiVersion(models.Model):
    """A representation of the API. Its state is never stored: it follows from its release and its schedule."""

    name = models.CharField(
        max_length=16,
        unique=True,
        validators=[RegexValidator(r"^v[1-9]\d{0,3}(\.[1-9]\d{0,3})?$", "A name such as v2 or v2.1.")],
    )
    released_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="From then on it is released. Before, and while empty, it is a preview: it answers calls that name it.",
    )
    summary = models.TextField(
        blank=True, help_text="What is new in it, for the public changelog; Markdown. Two or three sentences."
    )

    class Meta:
        ordering = ["name"]
        verbose_name = "API version"

    def __str__(self) -> str:
        return self.name
