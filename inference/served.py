"""What is served, from memory: every version that answers, which of them are tried, and who may see a private model."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from django.conf import settings

from inference.models import Measurement, MLModel, ModelVersion, Rollout, RolloutKind, RolloutState, VersionState
from inference.rollouts import share
from inference.types import MeasuredOption, ModelRef
from mlplatform.lib.errors import ErrorKind, PlatformError
from mlplatform.lib.snapshot import Snapshot

_LIMITS: Final = 3.0
"""Times the processor's time that a tenant's batch may take: twice that on the clock, and some to start its process anew."""

ANSWERING = (VersionState.READY, VersionState.LIVE)


@dataclass(frozen=True, slots=True)
class Trial:
    """A running rollout: its candidate answers, or is computed beside, ``percent`` of the calls."""

    rollout_id: int
    percent: int
    candidate: ModelRef

    def takes(self, tenant_id: int) -> bool:
        """Whether a canary answers this tenant."""
        return share.takes(rollout_id=self.rollout_id, percent=self.percent, tenant_id=tenant_id)


@dataclass(frozen=True, slots=True)
class Served:
    """Every version that answers, by ``name`` (the live one) and by ``name@version``.

    ``owners`` are the tenants of private models by the model's name, also of those of which nothing answers; ``canaries``
    and ``shadows`` are what runs, by the model's name.
    """

    by_reference: Mapping[str, ModelRef]
    owners: Mapping[str, int]
    canaries: Mapping[str, Trial]
    shadows: Mapping[str, Trial]


def reference(version: ModelVersion, *, measurements: Iterable[Measurement] = ()) -> ModelRef:
    """The frozen form of a row; its model must be loaded with it.

    ``measurements`` are given by those who show them, so that serving a version needs no query for them.
    """
    dimensions = int(version.output_schema.get("dimensions", 0))
    return ModelRef(
        version_id=version.pk,
        name=version.model.name,
        version=version.version,
        runtime=version.runtime,
        digest=version.sha256,
        outputs=dimensions or len(version.labels),
        labels=tuple(version.labels),
        input_schema=version.input_schema,
        output_schema=version.output_schema,
        max_batch_size=version.max_batch_size,
        cache_ttl_s=version.model.cache_ttl_s,
        shared_cache=version.model.shared_cache,
        cache_epoch=version.model.cache_epoch,
        live=version.state == VersionState.LIVE,
        pool=version.model.pool,
        owner_id=version.model.owner_id,
        max_batch_tokens=version.max_batch_tokens,
        max_queue_delay_s=version.max_queue_delay_ms / 1000,
        title=version.model.title,
        description=version.model.description,
        accuracy=version.accuracy,
        accuracy_note=version.accuracy_note,
        precision=version.precision,
        acceleration=version.acceleration,
        measurements=tuple(measured(row) for row in measurements),
        batch_limit_s=_LIMITS * settings.PRIVATE_BATCH_S if version.model.owner_id is not None else 0.0,
    )


def measured(row: Measurement) -> MeasuredOption:
    """The frozen form of a row, in figures that mean something: a time repeats within some percent."""
    return MeasuredOption(
        precision=row.precision,
        acceleration=row.acceleration,
        device=row.device,
        threads=row.threads,
        accuracy=round(row.accuracy, 4),
        inputs=row.inputs,
        data=row.data,
        inputs_per_s=round(row.inputs_per_s, 1),
        alone_ms=round(row.alone_ms, 3),
        measured_at=row.measured_at,
    )


def _load() -> Served:
    found: dict[str, ModelRef] = {}
    refs: dict[int, ModelRef] = {}
    rows = ModelVersion.objects.select_related("model").prefetch_related("measurements")
    for version in rows.filter(state__in=ANSWERING):
        ref = refs[version.pk] = reference(version, measurements=version.measurements.all())
        found[f"{ref.name}@{ref.version}"] = ref
        if ref.live:
            found[ref.name] = ref
    trials: dict[str, dict[str, Trial]] = {kind: {} for kind in RolloutKind.values}
    for row in Rollout.objects.filter(state=RolloutState.RUNNING, candidate__state=VersionState.READY):
        candidate = refs.get(row.candidate_id)
        # The two queries see different moments: what was retired in between is tried no more.
        if candidate is not None and candidate.name in found:
            trials[row.kind][candidate.name] = Trial(row.pk, row.percent, candidate)
    owners = dict(MLModel.objects.filter(owner__isnull=False).values_list("name", "owner_id"))
    return Served(found, owners, trials[RolloutKind.CANARY], trials[RolloutKind.SHADOW])


_served: Snapshot[Served] = Snapshot("models", _load)


def current() -> Served:
    """What is served now."""
    return _served.get()


def resolve(name: str, *, tenant_id: int | None = None, field: str = "model") -> ModelRef:
    """The version that answers this tenant for ``name`` or ``name@version``. Raises NOT_FOUND that names the field.

    A running canary answers its share of the tenants in place of the live version; who pins a version gets that one. Without
    a tenant there are only the models that everybody sees, and no canary.
    """
    served = _served.get()
    ref = served.by_reference.get(name)
    if ref is None or ref.owner_id not in (None, tenant_id):
        raise not_found(name, field=field)
    if served.canaries and tenant_id is not None:
        canary = served.canaries.get(name)
        if canary is not None and canary.takes(tenant_id):
            return canary.candidate
    return ref


def may_see(model: str, *, tenant_id: int | None) -> bool:
    """Whether the model is on sale to all or the tenant's own; True for a name that no model has."""
    owners = _served.get().owners
    return not owners or owners.get(model, tenant_id) == tenant_id


def may_know(subject: str, *, tenant_id: int | None) -> bool:
    """Whether what happens to a subject, an API version or ``name@version``, may be told to the tenant; None: to everybody."""
    model, at, _ = subject.partition("@")
    return not at or may_see(model, tenant_id=tenant_id)


def not_found(name: str, *, field: str = "model") -> PlatformError:
    """The one answer for a model that does not exist, does not answer, or may not be used."""
    return PlatformError(
        ErrorKind.NOT_FOUND,
        f"There is no model {name[:128]!r} that this key may use; GET /v2/models lists them.",
        field=field,
    )


def answering(*, tenant_id: int | None = None) -> list[ModelRef]:
    """Every version that answers the tenant, ordered by name and version; without one, those that everybody sees."""
    refs = {ref.version_id: ref for ref in _served.get().by_reference.values() if ref.owner_id in (None, tenant_id)}
    return sorted(
        refs.values(),
        key=lambda ref: (ref.name, [int(part) for part in ref.version.split("-")[0].split(".")]),
    )


def candidates() -> list[ModelRef]:
    """The versions that are tried now, of canaries and shadows: workers hold them in memory as they do live ones."""
    served = _served.get()
    trials = [*served.canaries.values(), *served.shadows.values()]
    return list({trial.candidate.version_id: trial.candidate for trial in trials}.values())


def changed() -> None:
    """To be called after a form saved a model or a version."""
    _served.publish()


def forget() -> None:
    """Drop what this process holds; for tests."""
    _served.forget()
