"""``StreamPredict``: many inputs of one call are under way at the same time, and are answered in order.

Three tasks of the event loop work on a stream. One reads ahead, and stops while too many inputs are unanswered, so that HTTP/2's
flow control stops the client. One admits: whatever has arrived, up to a group, goes in one round trip to Redis. The call's own
task waits for the groups in order and sends their answers. A group that is out of the ordinary is begun and finished by threads.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Final, TypeVar

from billing.contracts import contract_of
from billing.models import Operation
from inference.calls import deprecated_use
from inference.grpc import calls, door, messages, metrics
from inference.grpc.calls import CallInfo
from inference.grpc.exchange import Exchange
from inference.grpc.groups import Group, Item, ItemResult, share_of
from inference.types import CallContext
from mlplatform.lib import sql_connections, tracing
from mlplatform.lib.errors import PlatformError, unavailable
from tenants.authentication import Caller
from tenants.deprecations.rules import Deprecation, Ended

T = TypeVar("T")

MOST_UNANSWERED: Final = 512
"""Inputs that were read and not answered; nothing more is read until an answer was sent."""

MOST_BYTES: Final = 16 * 1024 * 1024
"""The same for the bytes of what was read."""

GROUP: Final = 64
"""Inputs that are admitted in one round trip at most."""

HELPERS: Final = 2
"""Threads of a stream at most."""

_UNDER_WAY: Final = 3
"""Groups that were begun and not answered; while there are so many, what arrives is gathered for the next."""

Read = Callable[[], Awaitable[bytes | None]]

live: "Final[set[Stream]]" = set()
"""The streams of this process that are open."""

_tasks: "Final[set[asyncio.Task[None]]]" = set()
"""Kept until they are done: the loop itself holds no task."""


def drain() -> None:
    """Have every stream answer what it has read, and end; of the loop's thread."""
    for stream in list(live):
        stream.drain()


@dataclass(slots=True, eq=False)
class Stream:
    """One call of ``StreamPredict``; every method belongs to the loop's thread."""

    info: CallInfo
    exchange: Exchange
    read: Read
    helpers: Executor
    _room: asyncio.Event = field(default_factory=asyncio.Event)
    _to_begin: asyncio.Event = field(default_factory=asyncio.Event)
    _to_answer: asyncio.Event = field(default_factory=asyncio.Event)
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

    async def answers(self, caller: Caller) -> None:
        """Answer in order until the client has no more, then end the call."""
        self._share = share_of(contract_of(caller))
        live.add(self)
        try:
            if not self.exchange.add_callback(self._close):
                self._close()
            # They end by themselves: what grpcio does for them must not be broken off.
            for work in (self._read_ahead(), self._admit()):
                task = asyncio.create_task(work)
                _tasks.add(task)
                task.add_done_callback(_tasks.discard)
            while (group := await self._next_group()) is not None:
                await self._answer(group)
                self._groups.popleft()
                self._unanswered -= len(group.items)
                self._bytes -= sum(map(messages.weight, group.items))
                self._begun -= len(group.items)
                self._room.set()
                self._to_begin.set()
            if self._end is not None:
                raise self._end
        finally:
            live.discard(self)
            self._close()
            self._leave_what_was_begun()

    async def in_thread(self, work: Callable[[], T]) -> T:
        """What ``work`` returns or raises on one of the stream's threads."""
        return await asyncio.get_running_loop().run_in_executor(self.helpers, self._run, work)

    def stop_reading(self, reason: Exception | None) -> None:
        """Begin what has arrived already, read nothing more; ``reason`` becomes the status of the call."""
        self._all_read = True
        self._end = self._end or reason
        self._changed()

    def drain(self) -> None:
        """Read nothing more; a stream whose client has sent all that it had ends as it would have."""
        if not self._all_read:
            self.stop_reading(unavailable("The server is being stopped; open the stream anew."))

    def deprecations(self) -> tuple[Deprecation, ...]:
        """Of the model versions that the inputs pinned."""
        return tuple(self._ending)

    def _is_closed(self) -> bool:
        return self._all_read

    def _changed(self) -> None:
        self._room.set()
        self._to_begin.set()
        self._to_answer.set()

    def _run(self, work: Callable[[], T]) -> T:
        tracing.enter_request(self.info.request_id)
        try:
            return work()
        finally:
            sql_connections.let_go(after_failure=self._end is not None)

    # --- Reading ------------------------------------------------------------------------------------------------------

    async def _read_ahead(self) -> None:
        try:
            while not self._all_read and (data := await self.read()) is not None:
                if self._is_closed():
                    return
                item: Item = messages.read(data) if len(data) <= door.MOST_BYTES else data
                self._arrived.append(item)
                self._unanswered += 1
                self._bytes += messages.weight(item)
                self._to_begin.set()
                while (self._unanswered >= MOST_UNANSWERED or self._bytes >= MOST_BYTES) and not self._over:
                    self._room.clear()
                    await self._room.wait()
        except Exception as error:  # noqa: BLE001 - the call's task makes a status of it, and logs it
            if not self._over:
                self.stop_reading(error)
        finally:
            self.stop_reading(None)

    # --- Admitting ----------------------------------------------------------------------------------------------------

    async def _admit(self) -> None:
        try:
            while items := await self._next_items():
                group = await self._begin(items)
                if self._over:
                    # The task that answers has gone; equal inputs of others wait for what was begun.
                    group.leave()
                    return
                self._groups.append(group)
                self._begun += len(items)
                self._to_answer.set()
        except Exception as error:  # noqa: BLE001 - the call's task makes a status of it, and logs unexpected ones
            self.stop_reading(error)
        finally:
            self._all_begun = True
            self._to_answer.set()

    async def _next_items(self) -> list[Item]:
        """What has arrived, up to a group; empty at the end."""
        while not self._over and not self._may_begin():
            self._to_begin.clear()
            await self._to_begin.wait()
        if self._over:
            return []
        number = min(GROUP, len(self._arrived), self._share - self._begun)
        return [self._arrived.popleft() for _ in range(number)]

    def _may_begin(self) -> bool:
        if not self._arrived:
            return self._all_read
        return len(self._groups) < _UNDER_WAY and self._begun < self._share

    async def _begin(self, items: list[Item]) -> Group:
        """Admit and submit. Raises what ends the stream."""
        group, first = Group(items), self._numbered + 1
        self._numbered += len(items)
        self.info.timeout_s = calls.timeout_of(self.exchange)
        context = self.info.context(Operation.PREDICT, holds_thread=False)
        if not group.is_large:
            group.read(request_id=self.info.request_id, first=first)
            if not group.wanted:
                return group
            plan = door.plan_of(self.info)
            if plan is not None:
                self._share = share_of(plan.contract)
                if await group.join(plan, context):
                    return group
        await self.in_thread(lambda: self._begin_in_thread(group, context, first))
        return group

    def _begin_in_thread(self, group: Group, context: CallContext, first: int) -> None:
        if group.is_large:
            group.read(request_id=self.info.request_id, first=first)
        if not group.wanted:
            return

        def begin(caller: Caller) -> None:
            self._share = share_of(contract_of(caller))
            group.begin(caller, context)

        calls.as_caller(self.info, begin)

    # --- Answering ----------------------------------------------------------------------------------------------------

    async def _next_group(self) -> Group | None:
        while not self._groups and not self._all_begun and not self._over:
            self._to_answer.clear()
            await self._to_answer.wait()
        return self._groups[0] if self._groups and not self._over else None

    async def _answer(self, group: Group) -> None:
        await group.settled()
        written: list[bytes] | None = None
        if group.needs_thread:
            outcomes, written = await self.in_thread(lambda: self._finished(group))
        else:
            # What has an end, and is sampled, goes by threads.
            outcomes = group.outcomes(open_=lambda: not self._over)
        if group.answer is not None:
            self.info.decision = group.answer.decision or self.info.decision
        answered = 0
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, PlatformError):
                metrics.items_answered(outcome.kind.name, 1)
            else:
                answered += 1
            self._note(outcome)
            await self._send(_written(group, index, outcome) if written is None else written[index])
        if answered:
            metrics.items_answered("OK", answered)

    def _finished(self, group: Group) -> tuple[list[ItemResult], list[bytes]]:
        """Of a thread: the outcomes, and the messages that tell them, which may be large."""
        outcomes = group.outcomes(open_=lambda: not self._over)
        if group.answer is not None and group.caller is not None:
            deprecated_use.sample(group.caller, group.wanted, group.answer.results, client=self.info.client)
        return outcomes, [_written(group, index, outcome) for index, outcome in enumerate(outcomes)]

    def _note(self, outcome: ItemResult) -> None:
        deprecation = outcome.deprecation if not isinstance(outcome, PlatformError) else None
        if isinstance(outcome, Ended):
            deprecation = outcome.deprecation
        if deprecation is not None:
            self._ending[deprecation] = None

    async def _send(self, data: bytes) -> None:
        try:
            await self.exchange.write(data)
        except Exception as error:
            # So grpcio tells that the client has gone, where it does not cancel the call's task first.
            raise asyncio.CancelledError from error

    # --- The end ------------------------------------------------------------------------------------------------------

    def _close(self) -> None:
        """The stream waits for no more answers, or all were sent."""
        self._over = self._all_read = True
        self._changed()

    def _leave_what_was_begun(self) -> None:
        self.info.cancellation.cancel()
        left = list(self._groups)
        self._groups.clear()
        for group in left:
            group.leave()


def _written(group: Group, index: int, outcome: ItemResult) -> bytes:
    item, item_id = group.items[index], group.ids[index]
    assert not isinstance(item, bytes)  # noqa: S101 (it was read)
    if isinstance(outcome, PlatformError):
        message = messages.problem(outcome, item, request_id=item_id)
    else:
        message = messages.response(outcome, item, request_id=item_id)
    data: bytes = message.SerializeToString()
    return data
