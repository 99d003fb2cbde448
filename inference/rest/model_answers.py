"""What calls about models answer."""

from typing import Annotated, Any

from msgspec import Meta

from inference.types import Acceleration, Precision, RuntimeName
from tenants.http.answers import Answer, Count, Moment, Share
from tenants.http.json_schemas import field_schema, one_of


class Measurement(Answer, frozen=True):
    """How good and how fast a version is in one choice of its options, on one device."""

    precision: Annotated[str, one_of(Precision.values())]
    acceleration: Annotated[str, one_of(Acceleration.values())]
    device: Annotated[str, Meta(description="The name of the processor or of the GPU.")]
    threads: Annotated[int, Meta(ge=1)]
    accuracy: Annotated[Share, Meta(description="Share of right answers.")]
    inputs: Annotated[int, Meta(ge=1, description="On how many it was measured.")]
    data: Annotated[str, Meta(description="What the inputs were.")]
    inputs_per_s: Annotated[
        float, Meta(ge=0, description="In full batches, of the model without the service around it.")
    ]
    alone_ms: Annotated[
        float, Meta(ge=0, description="Median time of one input in a batch of its own, in milliseconds.")
    ]
    measured_at: Moment


_MAX_TOKENS = Annotated[
    int,
    Meta(
        ge=1,
        description="Of texts: how many tokens are read, with the special ones around a text, and of a pair of both. A longer "
        "one is refused unless the call lets it be cut.",
    ),
]


class ModelVersion(Answer, frozen=True):
    """A version that answers."""

    version: str
    state: Annotated[str, one_of(["live", "ready"]), Meta(description="Ready ones answer `name@version`.")]
    task: Annotated[str, one_of(RuntimeName.values())]
    input: Annotated[
        dict[str, Any],
        Meta(
            description="What the model takes.",
            extra_json_schema={"properties": {"max_tokens": field_schema(_MAX_TOKENS)}},
        ),
    ]
    output: Annotated[dict[str, Any], Meta(description="What it answers with.")]
    labels: list[str]
    accuracy: Annotated[Share | None, Meta(description="On data that it never saw.")]
    accuracy_note: Annotated[str, Meta(description="How it was measured.")]
    precision: Annotated[str, one_of(Precision.values())]
    acceleration: Annotated[str, one_of(Acceleration.values())]
    measurements: Annotated[
        list[Measurement],
        Meta(description="In each option that was measured, also in those in which this version does not serve."),
    ]
    max_batch_size: Annotated[int, Meta(ge=1)]


class ModelPrice(Answer, frozen=True):
    """What a call of a model costs."""

    units_per_call: Count
    units_per_input: Count
    units_per_cached_input: Count


class Model(Answer, frozen=True):
    """A model and its versions."""

    name: str
    title: str
    description: str
    live_version: str | None
    price: ModelPrice
    versions: list[ModelVersion]


class Models(Answer, frozen=True):
    """Every model that a key may use."""

    models: list[Model]
