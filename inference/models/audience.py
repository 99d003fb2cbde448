"""A tenant's own audience: its end users, the items that it recommends to them, and who likes what."""

import datetime as dt

from django.db import models

from mlplatform.lib import clock
from tenants.models import Tenant

MAX_ID = 128
MAX_NAME = 200
MAX_TITLE = 200
MAX_DESCRIPTION = 4_000
MAX_CATEGORY = 64
MAX_CATEGORIES = 32


def _now() -> dt.datetime:
    return clock.now()


class EndUser(models.Model):
    """A person that a tenant serves, under the tenant's own id. ``preferences`` is ``{"categories": ["…"]}``."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="end_users")
    external_id = models.CharField("id", max_length=MAX_ID)
    name = models.CharField(max_length=MAX_NAME, blank=True)
    preferences = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(default=_now, editable=False)
    updated_at = models.DateTimeField(default=_now, editable=False)

    class Meta:
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["tenant", "external_id"], name="one_end_user_a_tenant_and_id")]

    def __str__(self) -> str:
        return self.external_id

    @property
    def categories(self) -> list[str]:
        """The categories that the user prefers."""
        found: list[str] = self.preferences.get("categories", [])
        return found


class Item(models.Model):
    """Something that a tenant recommends, under the tenant's own id.

    ``embedding`` is the text (title, description, categories) as little-endian float32 of length one, made by
    ``embedded_by``, such as ``minilm@1.0.0``; both are empty until it is computed. A changed text empties them or has
    them made anew, so an embedding is never of another text.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="items")
    external_id = models.CharField("id", max_length=MAX_ID)
    title = models.CharField(max_length=MAX_TITLE)
    description = models.TextField(max_length=MAX_DESCRIPTION, blank=True)
    categories = models.JSONField(default=list, blank=True)
    embedding = models.BinaryField(null=True, editable=False)
    embedded_by = models.CharField(max_length=130, blank=True, editable=False)
    created_at = models.DateTimeField(default=_now, editable=False)
    updated_at = models.DateTimeField(default=_now, editable=False)

    class Meta:
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["tenant", "external_id"], name="one_item_a_tenant_and_id")]
        indexes = [
            models.Index(fields=["tenant", "-id"], name="item_tenant_newest"),
            models.Index(fields=["title", "external_id"], name="item_searched"),
        ]

    def __str__(self) -> str:
        return self.external_id


class Like(models.Model):
    """A user likes an item of the same tenant."""

    user = models.ForeignKey(EndUser, on_delete=models.CASCADE, related_name="likes")
    item = models.ForeignKey(Item, on_delete=models.CASCADE, related_name="likes")
    at = models.DateTimeField(default=_now, editable=False)

    class Meta:
        ordering = ["-pk"]
        constraints = [models.UniqueConstraint(fields=["user", "item"], name="one_like_a_user_and_item")]

    def __str__(self) -> str:
        return f"{self.user_id} likes {self.item_id}"
