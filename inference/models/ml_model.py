"""A model on sale, under a name that stays while its versions change."""

from django.core.validators import RegexValidator
from django.db import models

from inference.types import DEFAULT_POOL
from tenants.models import Tenant


class MLModel(models.Model):
    """What customers name in a call; the live version answers unless they pin another."""

    name = models.CharField(
        max_length=63,
        validators=[
            RegexValidator(r"^[a-z][a-z0-9._-]*$", "Lower-case letters, digits, dot, - and _; it is part of addresses.")
        ],
    )
    title = models.CharField(max_length=100, blank=True)
    description = models.CharField(max_length=500, blank=True)
    cache_ttl_s = models.PositiveIntegerField(
        "cache (s)",
        default=3600,
        help_text="How long an answer may be given again; 0 switches the cache off.",
    )
    shared_cache = models.BooleanField(
        default=False,
        help_text="Let tenants share cached answers. The time of an answer then tells a tenant that another asked the same.",
    )
    pool = models.CharField(
        max_length=32,
        default=DEFAULT_POOL,
        validators=[RegexValidator(r"^(?!jobs$)[a-z][a-z0-9-]*$", "Lower-case letters, digits and -; not jobs.")],
        help_text="The workers that compute it: those of the Celery queue of this name.",
    )
    owner = models.ForeignKey(
        Tenant,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="private_models",
        help_text="The only tenant that sees and calls it; empty for a model that is on sale to all.",
    )
    cache_epoch = models.PositiveIntegerField(default=0, editable=False, help_text="Grows at each purge of the cache.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]
        verbose_name = "model"
        constraints = [
            models.UniqueConstraint(
                fields=["name"],
                condition=models.Q(owner__isnull=True),
                name="one_shared_model_a_name",
                violation_error_message="There is a model on sale of this name.",
            ),
            models.UniqueConstraint(
                fields=["owner", "name"],
                name="one_model_an_owner_and_name",
                violation_error_message="The tenant has a model of this name.",
            ),
        ]

    def __str__(self) -> str:
        return self.qualified_name

    @property
    def qualified_name(self) -> str:
        """``name`` of a model on sale, ``tenant/name`` of a private one: unique, and what meters and reports call it."""
        return f"{self.owner.slug}/{self.name}" if self.owner is not None else self.name
