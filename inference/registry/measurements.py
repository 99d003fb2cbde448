"""What was measured of model versions is kept, so that customers and staff see an option's accuracy beside its speed."""

from dataclasses import asdict

from django.db import transaction

from inference.models import Measurement, ModelVersion
from inference.registry import live
from inference.types import MeasuredOption


@transaction.atomic
def record(*, version: ModelVersion, measured: MeasuredOption) -> Measurement:
    """Keep the finding in place of an earlier one of the same options, device and threads.

    The version stays as it is: its own accuracy is that of the card with which it was pushed. Every process shows the finding
    within a second. Raises IntegrityError for what is no measurement: a share beyond 0 to 1, no inputs, no time.
    """
    found = asdict(measured)
    option = {name: found.pop(name) for name in ("precision", "acceleration", "device", "threads")}
    row, _ = Measurement.objects.update_or_create(version=version, **option, defaults=found)
    live.changed()
    return row
