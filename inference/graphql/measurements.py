"""What was measured of versions: from memory for those that answer, from SQL for retired ones, when it is asked for."""

from collections.abc import Mapping, Sequence

import graphene

from inference.models import Measurement
from inference.registry import live
from inference.types import MeasuredOption
from mlplatform.lib.deferred import Loader


class ModelMeasurement(graphene.ObjectType):
    """How good and how fast a version is in one choice of its options, on one device."""

    class Meta:
        possible_types = (MeasuredOption,)

    precision = graphene.String(required=True, description="Such as int8.")
    acceleration = graphene.String(required=True, description="Such as none, or compile.")
    device = graphene.String(required=True, description="The name of the processor or of the GPU.")
    threads = graphene.Int(required=True)
    accuracy = graphene.Float(required=True, description="Share of right answers, 0 to 1.")
    inputs = graphene.Int(required=True, description="On how many it was measured.")
    data = graphene.String(required=True, description="What the inputs were.")
    inputs_per_s = graphene.Float(required=True, description="In full batches, without the service around the model.")
    alone_ms = graphene.Float(required=True, description="Median milliseconds of one input in a batch of its own.")
    measured_at = graphene.DateTime(required=True)


class MeasurementLoader(Loader[int, list[MeasuredOption]]):
    """By the primary key of a version that the caller may see; an empty list where nothing was measured."""

    def fetch(self, keys: Sequence[int]) -> Mapping[int, list[MeasuredOption]]:
        found: dict[int, list[MeasuredOption]] = {key: [] for key in keys}
        for row in Measurement.objects.filter(version__in=keys):
            found[row.version_id].append(live.measured(row))
        return found
