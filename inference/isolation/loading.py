"""The door to models, wherever they compute."""

from pathlib import Path

from django.conf import settings

from inference.isolation import isolated
from inference.isolation.forks import forker
from inference.isolation.limits import ComputeLimits
from inference.registry.packages import room
from inference.runtimes import loading
from inference.runtimes.loading import CheckedRuntime
from inference.runtimes.protocol import RuntimeSpec


def load(spec: RuntimeSpec) -> CheckedRuntime:
    """The model, checked as ``runtimes.loading.load`` checks it: in this process, or in one of its own where a tenant owns it.

    Raises what that one raises, and ``LimitBroken`` where a tenant's model takes too much to load.
    """
    if not spec.private:
        return loading.load(spec)
    return loading.load(spec, runtime=isolated.of(spec, limits_of(spec.artefact), forker))


def limits_of(artefact: Path) -> ComputeLimits:
    """What the process of the model in this folder may use."""
    stored = sum(file.stat().st_size for file in artefact.rglob("*") if file.is_file())
    return ComputeLimits(
        memory_bytes=room.process_memory_bytes(stored_bytes=stored),
        cpu_s=settings.PRIVATE_BATCH_S,
        wall_s=2.0 * settings.PRIVATE_BATCH_S,
        load_s=settings.PRIVATE_LOAD_S,
    )
