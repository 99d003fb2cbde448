"""API keys: one stable identity, one or more live secrets, of which only hashes are kept."""

from django.conf import settings
from django.db import models

from mlplatform.lib import ids
from tenants.models.tenant import Tenant


class KeyMode(models.TextChoices):
    LIVE = "live", "Live"
    TEST = "test", "Test"


def make_uid() -> str:
    """A key's stable public id, such as ``key_4fJ0…``; it is no secret."""
    return f"key_{ids.base62_token(16)}"


class ApiKey(models.Model):
    """A program's identity within a tenant.

    ``uid`` stays the same over every rotation of its secrets; ``version`` grows with every change, and the admission
    script refuses callers that were parsed from an older one.
    """

    uid = models.CharField("key id", max_length=24, unique=True, default=make_uid, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100)
    mode = models.CharField(max_length=8, choices=KeyMode, default=KeyMode.LIVE)
    scopes = models.JSONField(default=list, help_text="What the key may do, such as predict and usage:read.")
    allowed_models = models.JSONField(
        default=list, blank=True, help_text="Names of the models that the key may use; empty means all."
    )
    allowed_cidrs = models.JSONField(
        default=list,
        blank=True,
        help_text="Networks that the key may be used from, such as 203.0.113.0/24; empty means all.",
    )
    pinned_api_version = models.CharField(
        max_length=16, blank=True, help_text="The API version of calls that select none, such as v1."
    )
    trusted_documents_only = models.BooleanField(
        "trusted documents only",
        default=False,
        help_text="The key may run the tenant's trusted documents at /graphql, and nothing else on any face.",
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    version = models.BigIntegerField(default=1, editable=False)

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} ({self.uid})"


class ApiKeySecret(models.Model):
    """The hash of one secret of a key. During a rotation two are live, and the older one has an end."""

    key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, related_name="secrets")
    sha256 = models.CharField(max_length=64, unique=True, editable=False)
    prefix = models.CharField(max_length=16, editable=False, help_text="The start of the secret, for people.")
    last_four = models.CharField(max_length=4, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "secret"

    def __str__(self) -> str:
        return f"{self.prefix}…{self.last_four}"
