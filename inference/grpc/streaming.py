"""``StreamPredict``: many inputs of one call are under way at the same time, and are answered in order.

Three threads work on a stream. One reads ahead, and stops while too many inputs are unanswered, so that HTTP/2's flow
control stops the client. One admits: whatever has arrived, up to a group, goes in one round trip to Redis. The call's own
thread waits for the groups in order and sends their answers.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Final

import grpc

from billing.contracts import contract_of
from billing.models import Operation
from inference.calls import deprecated_use
from inference.grpc import calls, messages, metrics
from inference.grpc.calls import CallInfo
from inference.grpc.generated import ml_inference_pb2 as pb
from inference.grpc.groups import Group, Item, share_of
from mlplatform.lib import sql_connections, tracing
from mlplatform.lib.errors import PlatformError, unavailable
from tenants.authentication import Caller
from tenants.deprecations.rules import Deprecation, Ended

MOST_UNANSWERED: Final = 512
"""Inputs that were read and not answered; nothing more is read until an answer was sent."""

MOST_BYTES: Final = 16 * 1024 * 1024
"""The same for the bytes of what was read."""

GROUP: Final = 64
"""Inputs that are admitted in one round trip at most."""

HELPERS: Final = 2
"""Threads of a stream beside that of its call."""

_UNDER_WAY: Final = 3
"""Groups that were begun and not answered; while there are so many, what arrives is gathered for the next."""

live: "Final[set[Stream]]" = set()
"""The streams of this process that are open."""


def drain() -> None:
    """Have every stream answer what it has read, and end."""
    for stream in list(live):
        stream.drain()


@dataclass(slots=True, eq=False)
class Stream:
    """One call of ``StreamPredict``."""

    info: CallInfo
    context: grpc.ServicerContext
    requests: Iterator[Item]
    helpers: Executor
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _arrived: deque[Item] = field(default_factory=deque)
    _groups: deque[Group] = field(default_factory=deque)
    _unanswered: int = 0
    _bytes: int = 0
    _begun: int = 0
    _share: int = 1
    _numbered: int = 0
    _all_read: bool = False
    _all_begun: bool = False
    _over: bool = False
    _end: Exception | None = None
    """Why the stream ends before the client's end of it; the first cause is kept."""
    _ending: dict[Deprecation, None] = field(default_factory=dict)

    def answers(self, caller: Caller) -> Iterator[pb.PredictResponse]:
        """Answer in order until the client has no more, then end the call. Runs in the call's own thread."""
        self._share = share_of(contract_of(caller))
        live.add(self)
        try:
            if not self.context.add_callback(self._close):
                self._close()
            for work in (self._read, self._admit):
                self.helpers.submit(self._run, work)
            while (group := self._next_group()) is not None:
                yield from self._answer(group)
                with self._changed:
                    self._groups.popleft()
                    self._unanswered -= len(group.items)
                    self._bytes -= sum(map(messages.weight, group.items))
                    self._begun -= len(group.items)
                    self._changed.notify_all()
            if self._end is not None:
                raise self._end
        finally:
            live.discard(self)
            self._close()
            self._finish_what_was_begun()

    def stop_reading(self, reason: Exception | None) -> None:
        """Begin what has arrived already, read nothing more; ``reason`` becomes the status of the call."""
        with self._changed:
            self._all_read = True
            self._end = self._end or reason
            self._changed.notify_all()

    def drain(self) -> None:
        """Read nothing more; a stream whose client has sent all that it had ends as it would have."""
        with self._changed:
            if not self._all_read:
                self.stop_reading(unavailable("The server is being stopped; open the stream anew."))

    def deprecations(self) -> tuple[Deprecation, ...]:
        """Of the model versions that the inputs pinned."""
        return tuple(self._ending)

    # --- Reading ------------------------------------------------------------------------------------------------------

    def _run(self, work: Callable[[], None]) -> None:
        tracing.enter_request(self.info.request_id)
        work()

    def _read(self) -> None:
        try:
            for item in self.requests:
                with self._changed:
                    if self._all_read:
                        return
                    self._arrived.append(item)
                    self._unanswered += 1
                    self._bytes += messages.weight(item)
                    self._changed.notify_all()
                    while (self._unanswered >= MOST_UNANSWERED or self._bytes >= MOST_BYTES) and not self._over:
                        self._changed.wait()
        except grpc.RpcError:
            pass  # So comes the end of a call that was canceled.
        except Exception as error:  # noqa: BLE001 - the call's thread makes a status of it, and logs it
            self.stop_reading(error)
        finally:
            self.stop_reading(None)

    # --- Admitting ----------------------------------------------------------------------------------------------------

    def _admit(self) -> None:
        try:
            while items := self._next_items():
                group = self._begin(items)
                with self._changed:
                    if self._over:
                        # The thread that answers has gone; equal inputs of others wait for what was begun.
                        group.give_up()
                        return
                    self._groups.append(group)
                    self._begun += len(items)
                    self._changed.notify_all()
        except Exception as error:  # noqa: BLE001 - the call's thread makes a status of it, and logs unexpected ones
            self.stop_reading(error)
        finally:
            with self._changed:
                self._all_begun = True
                self._changed.notify_all()
            sql_connections.let_go(after_failure=self._end is not None)

    def _next_items(self) -> list[Item]:
        """What has arrived, up to a group; empty at the end."""
        with self._changed:
            while not self._over and not self._may_begin():
                self._changed.wait()
            if self._over:
                return []
            number = min(GROUP, len(self._arrived), self._share - self._begun)
            return [self._arrived.popleft() for _ in range(number)]

    def _may_begin(self) -> bool:
        if not self._arrived:
            return self._all_read
        return len(self._groups) < _UNDER_WAY and self._begun < self._share

    def _begin(self, items: list[Item]) -> Group:
        """Admit and submit. Raises what ends the stream."""
        group = Group(items)
        group.read(request_id=self.info.request_id, first=self._numbered + 1)
        self._numbered += len(items)
        if group.wanted:
            self.info.timeout_s = calls.timeout_of(self.context)
            context = replace(self.info.context(Operation.PREDICT), holds_thread=False)

            def begin(caller: Caller) -> None:
                self._share = share_of(contract_of(caller))
                group.begin(caller, context)

            calls.as_caller(self.info, begin)
        return group

    # --- Answering ----------------------------------------------------------------------------------------------------

    def _next_group(self) -> Group | None:
        with self._changed:
            while not self._groups and not self._all_begun and not self._over:
                self._changed.wait()
            return self._groups[0] if self._groups and not self._over else None

    def _answer(self, group: Group) -> Iterator[pb.PredictResponse]:
        outcomes = group.outcomes(open_=lambda: not self._over)
        if group.answer is not None and group.caller is not None:
            self.info.decision = group.answer.decision or self.info.decision
            deprecated_use.sample(group.caller, group.wanted, group.answer.results, client=self.info.client)
        answered = 0
        for item, item_id, outcome in zip(group.items, group.ids, outcomes, strict=True):
            if isinstance(outcome, PlatformError):
                if isinstance(outcome, Ended):
                    self._ending[outcome.deprecation] = None
                metrics.items_answered(outcome.kind.name, 1)
                yield messages.problem(outcome, item, request_id=item_id)
                continue
            answered += 1
            if outcome.deprecation is not None:
                self._ending[outcome.deprecation] = None
            yield messages.response(outcome, item, request_id=item_id)
        if answered:
            metrics.items_answered("OK", answered)

    # --- The end ------------------------------------------------------------------------------------------------------

    def _close(self) -> None:
        """The stream waits for no more answers, or all were sent."""
        with self._changed:
            self._over = self._all_read = True
            self._changed.notify_all()

    def _finish_what_was_begun(self) -> None:
        self.info.cancellation.cancel()
        with self._changed:
            left = list(self._groups)
            self._groups.clear()
        for group in left:
            group.give_up()
