"""Which installation of the product this database belongs to."""

import uuid

from django.db import models


class Installation(models.Model):
    """The one row whose id its Redis servers bear too, so that a process finds out that it was given another's.

    The row is made by the process that looks first; its primary key lets one of several win.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    uid = models.UUIDField(default=uuid.uuid4, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_installation")]

    def __str__(self) -> str:
        return str(self.uid)
