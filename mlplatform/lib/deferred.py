"""Values that come later, without threads or an event loop, and loaders that fetch many of them at once.

graphql-sync-dataloaders has the idea; but there an error of a field that must not be null, or a failing fetch, ends
another field's callbacks or the whole operation, and an object whose parts are done at once has no result. Here a
future only ever fails itself. ``mlplatform.graphql.deferred`` executes operations with them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Future(Generic[V]):
    """A value, or an exception, that is not there yet."""

    __slots__ = ("_done", "_error", "_value", "_waiting")

    def __init__(self) -> None:
        self._done = False
        self._value: Any = None
        self._error: Exception | None = None
        self._waiting: list[Callable[[], None]] = []

    @property
    def done(self) -> bool:
        return self._done

    def result(self) -> V:
        """The value; raises the exception. Only for a future that is done."""
        if not self._done:
            raise RuntimeError("this value is not there yet")
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[no-any-return]

    def set(self, value: V) -> None:
        """Give the value, once; the waiting callbacks run before this returns."""
        self._finish(value, None)

    def fail(self, error: Exception) -> None:
        """Give an exception in place of the value, once."""
        self._finish(None, error)

    def whenever(self, callback: Callable[[], None]) -> None:
        """Call this when the future is done, or now. The callback raises nothing."""
        if self._done:
            callback()
        else:
            self._waiting.append(callback)

    def then(self, work: Callable[[V], Any], failed: Callable[[Exception], Any] | None = None) -> "Future[Any]":
        """The future of ``work(value)``, or of ``failed(error)``; either may give a future itself, or raise."""
        after: Future[Any] = Future()

        def step() -> None:
            try:
                if self._error is None:
                    outcome = work(self._value)
                elif failed is not None:
                    outcome = failed(self._error)
                else:
                    after.fail(self._error)
                    return
            except Exception as error:  # noqa: BLE001 - handed on by the new future
                after.fail(error)
                return
            if isinstance(outcome, Future):
                outcome.whenever(lambda: after._finish(outcome._value, outcome._error))
            else:
                after.set(outcome)

        self.whenever(step)
        return after

    def _finish(self, value: Any, error: Exception | None) -> None:
        if self._done:
            raise RuntimeError("this value was given before")
        self._done, self._value, self._error = True, value, error
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()


def gather(futures: Iterable[Future[Any]]) -> Future[list[Any]]:
    """All values in order, once all are there; the first exception as soon as there is one."""
    members = list(futures)
    together: Future[list[Any]] = Future()
    missing = len(members)

    def arrived(member: Future[Any]) -> None:
        nonlocal missing
        missing -= 1
        if together.done:
            return
        if member._error is not None:
            together.fail(member._error)
        elif missing == 0:
            together.set([each._value for each in members])

    if not members:
        together.set([])
    for member in members:
        member.whenever(lambda member=member: arrived(member))  # type: ignore[misc]
    return together


class Loader(Generic[K, V]):
    """Collects keys and fetches them together; each key once an operation.

    A subclass writes :meth:`fetch`; ``call`` is the operation's ``GraphQLCall``, through whose ``loader(cls)`` loaders
    are made, so that the executor of the operation can ask them to fetch.
    """

    def __init__(self, call: Any) -> None:
        self.call = call
        self._known: dict[K, Future[V]] = {}
        self._queue: list[K] = []

    def fetch(self, keys: Sequence[K]) -> Mapping[K, V | Exception]:
        """The values of these keys, an exception for one that has none; a key that is missing has the value None."""
        raise NotImplementedError

    def load(self, key: K) -> Future[V]:
        """The value of a key, later."""
        future = self._known.get(key)
        if future is None:
            future = self._known[key] = Future()
            self._queue.append(key)
        return future

    def load_many(self, keys: Iterable[K]) -> Future[list[Any]]:
        """The values of several keys, in order; fails with the first exception."""
        return gather([self.load(key) for key in keys])

    def prime(self, key: K, value: V) -> None:
        """Tell a value that was read already, so that it is not fetched."""
        if key not in self._known:
            self._known[key] = Future()
            self._known[key].set(value)

    @property
    def waits(self) -> bool:
        """Whether keys were asked for and not fetched yet."""
        return bool(self._queue)

    def dispatch(self) -> None:
        """Fetch what was asked for so far. An exception of the fetch is that of each of its keys."""
        keys, self._queue = self._queue, []
        try:
            values = self.fetch(keys)
        except Exception as error:  # noqa: BLE001 - told to every field that waits for it
            for key in keys:
                self._known[key].fail(error)
            return
        for key in keys:
            value: Any = values.get(key)
            if isinstance(value, Exception):
                self._known[key].fail(value)
            else:
                self._known[key].set(value)


def dispatch_all(loaders: Mapping[Any, Loader[Any, Any]]) -> None:
    """Let loaders fetch until none waits; a fetch may lead to keys of others, and to new loaders."""
    while True:
        waiting = next((loader for loader in list(loaders.values()) if loader.waits), None)
        if waiting is None:
            return
        waiting.dispatch()
