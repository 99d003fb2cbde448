"""Whether a worker holds a version loaded and warm now, and having one load it again.

A version is marked as ready once, when a worker has tried it. Since then workers may have dropped it for others, been started
anew, or been drained. Before it is given to callers that did not ask for it, the workers' own reports are looked at.
"""

from typing import Final

from kombu.exceptions import OperationalError

from inference.fleet import workers
from inference.models import ModelVersion, VersionState
from inference.registry.rollouts import sunset
from mlplatform.lib import redis
from mlplatform.lib.enqueue import enqueue_now
from mlplatform.lib.errors import ErrorKind, PlatformError, unavailable

VERIFY_TASK: Final = "inference.verify_version"
_ASK_AGAIN_S: Final = 5


def holders(version: ModelVersion) -> list[str]:
    """The workers of its pool that hold it and take batches, by name. Raises what Redis raises."""
    reference = str(version)
    return [
        info.name
        for info in workers.accepting(version.model.pool)
        if any(model.reference == reference for model in info.loaded)
    ]


def require_held(version: ModelVersion) -> None:
    """Raises CONFLICT where no worker holds the version; one is asked to load it then, so that a repeat succeeds.

    Raises UNAVAILABLE where it cannot be known, because Redis or the broker does not answer.
    """
    pool = version.model.pool
    try:
        if holders(version):
            return
        reachable = bool(workers.accepting(pool))
        if reachable:
            _ask(version)
    except (*redis.FAILURES, OperationalError) as error:
        raise unavailable(
            f"Whether a worker holds {version} cannot be told at the moment; nothing was changed."
        ) from error
    if not reachable:
        raise PlatformError(
            ErrorKind.CONFLICT,
            f"No worker of the pool {pool} takes batches, so none holds {version}: start one, or take back its order to drain.",
        )
    before = f" When it was last tried: {version.load_error}" if version.load_error else ""
    raise PlatformError(
        ErrorKind.CONFLICT,
        f"No worker holds {version} in memory now; one was asked to load it. Try again in some seconds.{before}",
    )


def require_held_if_ready(version: ModelVersion) -> None:
    """As :func:`require_held` for a version that is ready now; what is wrong with others is for those to say who lock it.

    To be called before anything is locked: Redis and the broker may take long to answer.
    """
    row = ModelVersion.objects.select_related("model__owner").filter(pk=version.pk, state=VersionState.READY).first()
    if row is not None and not sunset.has_ended(row):
        require_held(row)


def _ask(version: ModelVersion) -> None:
    """At once, for the transaction of who asks will be rolled back; not again for what was asked for a moment ago."""
    asked = f"holding:asked:{version.pk}"
    if not redis.state().set(asked, b"1", nx=True, ex=_ASK_AGAIN_S):
        return
    try:
        enqueue_now(VERIFY_TASK, queue=version.model.pool, version_id=version.pk)
    except Exception:
        redis.state().delete(asked)
        raise
