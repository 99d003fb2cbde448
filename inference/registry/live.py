"""The live versions, from memory: every version that answers, which of them are tried, and who may see a private model."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from django.conf import settings

from inference.models import Measurement, ModelVersion, Rollout, RolloutKind, RolloutState, VersionState
from inference.registry.rollouts import share
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
class Namespace:
    """The private models of a tenant: versions that answer, by ``name`` (the live one) and by ``name@version``.

    ``claimed`` are the names that stand for its own models for good, whether or not they still answer: ``name`` since a version
    was live, ``name@version`` since that one was ready. What a tenant's programs were answered by its own model is never
    answered by another one without a word.
    """

    slug: str
    by_reference: Mapping[str, ModelRef]
    claimed: frozenset[str]


@dataclass(frozen=True, slots=True)
class LiveVersions:
    """Every version that answers: of models on sale by ``name`` (the live one) and by ``name@version``, of private ones by their
    tenant.

    ``canaries`` and ``shadows`` are what runs, by the model's qualified name.
    """

    by_reference: Mapping[str, ModelRef]
    private: Mapping[int, Namespace]
    canaries: Mapping[str, Trial]
    shadows: Mapping[str, Trial]

    def find(self, name: str, tenant_id: int | None) -> ModelRef | None:
        """The version that answers the tenant for ``name`` or ``name@version``, canaries left out. Its own goes before one on
        sale of the same name; it may also be named with the tenant's slug before it."""
        own = self.private.get(tenant_id) if tenant_id is not None else None
        if own is None:
            return self.by_reference.get(name)
        namespace, _, rest = name.rpartition("/")
        if namespace:
            return own.by_reference.get(rest) if namespace == own.slug else None
        return own.by_reference.get(name) if name in own.claimed else self.by_reference.get(name)

    def all(self) -> Iterator[ModelRef]:
        """Each version once, of any owner."""
        seen: set[int] = set()
        for refs in (self.by_reference, *(own.by_reference for own in self.private.values())):
            for ref in refs.values():
                if ref.version_id not in seen:
                    seen.add(ref.version_id)
                    yield ref


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
        namespace=version.model.owner.slug if version.model.owner is not None else "",
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


def load() -> LiveVersions:
    shared: dict[str, ModelRef] = {}
    private: dict[int, _Found] = {}
    refs: dict[int, ModelRef] = {}
    rows = ModelVersion.objects.select_related("model__owner").prefetch_related("measurements")
    for version in rows.filter(state__in=ANSWERING):
        ref = refs[version.pk] = reference(version, measurements=version.measurements.all())
        found = shared
        if ref.owner_id is not None:
            found = private.setdefault(ref.owner_id, _Found(ref.namespace)).by_reference
        found[f"{ref.name}@{ref.version}"] = ref
        if ref.live:
            found[ref.name] = ref
    for owner_id, slug, name in _claims():
        private.setdefault(owner_id, _Found(slug)).claimed.add(name)
    trials: dict[str, dict[str, Trial]] = {kind: {} for kind in RolloutKind.values}
    live = {ref.qualified_name for ref in refs.values() if ref.live}
    for row in Rollout.objects.filter(state=RolloutState.RUNNING, candidate__state=VersionState.READY):
        candidate = refs.get(row.candidate_id)
        # The two queries see different moments: what was retired in between is tried no more.
        if candidate is not None and candidate.qualified_name in live:
            trials[row.kind][candidate.qualified_name] = Trial(row.pk, row.percent, candidate)
    return LiveVersions(
        shared,
        {owner_id: one.frozen() for owner_id, one in private.items()},
        trials[RolloutKind.CANARY],
        trials[RolloutKind.SHADOW],
    )


@dataclass(slots=True)
class _Found:
    slug: str
    by_reference: dict[str, ModelRef] = field(default_factory=dict)
    claimed: set[str] = field(default_factory=set)

    def frozen(self) -> Namespace:
        # The two queries see different moments: what became ready in between is claimed, too.
        return Namespace(self.slug, self.by_reference, frozenset(self.claimed.union(self.by_reference)))


def _claims() -> Iterator[tuple[int, str, str]]:
    """The names in ``Namespace.claimed`` of each tenant: its id, its slug, and the name."""
    rows = ModelVersion.objects.filter(model__owner__isnull=False, ready_since__isnull=False)
    columns = ("model__owner_id", "model__owner__slug", "model__name", "version", "live_since")
    for owner_id, slug, name, version, live_since in rows.values_list(*columns).iterator():
        yield owner_id, slug, f"{name}@{version}"
        if live_since is not None:
            yield owner_id, slug, name


_live_versions: Snapshot[LiveVersions] = Snapshot("models", load)


def at_hand() -> LiveVersions | None:
    """As :func:`current`, without a look into SQL."""
    return _live_versions.at_hand()


def current() -> LiveVersions:
    """The live versions now."""
    return _live_versions.get()


def resolve(name: str, *, tenant_id: int | None = None, field: str = "model", on_sale: bool = False) -> ModelRef:
    """The version that answers this tenant for ``name`` or ``name@version``. Raises NOT_FOUND that names the field.

    A running canary answers its share of the tenants in place of the live version; a call that pins a version gets that
    one. Without a tenant there are only the models on sale, and no canary. ``on_sale``: the model on sale, whatever the tenant
    calls its own.
    """
    known = _live_versions.get()
    ref = known.find(name, None if on_sale else tenant_id)
    if ref is None:
        raise not_found(name, field=field)
    if known.canaries and tenant_id is not None and "@" not in name:
        canary = known.canaries.get(ref.qualified_name)
        if canary is not None and canary.takes(tenant_id):
            return canary.candidate
    return ref


def subject_of(name: str, *, tenant_id: int) -> str:
    """What schedules call what the tenant names ``name@version``, also where it has ended; empty for a name in the namespace of
    another tenant, of whose schedules nothing may be told."""
    own = _live_versions.get().private.get(tenant_id)
    namespace, separator, _ = name.rpartition("/")
    if separator:
        return name if own is not None and namespace == own.slug else ""
    return f"{own.slug}/{name}" if own is not None and name in own.claimed else name


def meter_of(name: str, *, tenant_id: int) -> str:
    """What the meter of a call calls the model that the tenant names ``name`` or ``name@version``; a name that stands for nothing
    as it is, without the version."""
    ref = _live_versions.get().find(name, tenant_id)
    return ref.qualified_name if ref is not None else name.partition("@")[0]


def is_visible_to(subject: str, *, tenant_id: int | None) -> bool:
    """Whether what happens to a subject, an API version or a model version, may be told to the tenant; None: to the public."""
    namespace, separator, _ = subject.partition("/")
    if not separator:
        return True
    own = _live_versions.get().private.get(tenant_id) if tenant_id is not None else None
    return own is not None and own.slug == namespace


def not_found(name: str, *, field: str = "model") -> PlatformError:
    """The one answer for a model that does not exist, does not answer, or may not be used."""
    return PlatformError(
        ErrorKind.NOT_FOUND,
        f"There is no model {name[:128]!r} that this key may use; GET /v2/models lists them.",
        field=field,
    )


def answering(*, tenant_id: int | None = None) -> list[ModelRef]:
    """Every version that answers the tenant, ordered by name and version; without one, those that all tenants see.

    Once a private model of the tenant was live, its name stands for that model alone.
    """
    known = _live_versions.get()
    own = known.private.get(tenant_id) if tenant_id is not None else None
    refs = {f"{ref.name}@{ref.version}": ref for ref in known.by_reference.values()}
    if own is not None:
        refs = {key: ref for key, ref in refs.items() if own.claimed.isdisjoint((key, ref.name))}
        refs |= {f"{ref.name}@{ref.version}": ref for ref in own.by_reference.values()}
    return sorted(
        refs.values(),
        key=lambda ref: (ref.name, [int(part) for part in ref.version.split("-")[0].split(".")]),
    )


def candidates() -> list[ModelRef]:
    """The versions that are tried now, of canaries and shadows: workers hold them in memory as they do live ones."""
    known = _live_versions.get()
    trials = [*known.canaries.values(), *known.shadows.values()]
    return list({trial.candidate.version_id: trial.candidate for trial in trials}.values())


def changed() -> None:
    """To be called after a form saved a model or a version."""
    _live_versions.publish()


def forget() -> None:
    """Drop what this process holds; for tests."""
    _live_versions.forget()
