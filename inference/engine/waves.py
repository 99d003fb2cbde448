"""Calls travel in waves: those that gather while a round trip is under way go on together.

At low load a wave is one call, which leaves at once; no timer is needed. While a wave is with Redis the next one gathers, for at
most 10 ms. (Two at a time cost 1.3 to 1.5 times as much, for each was half as large.) Of many open calls it lingers for more of
them, see :mod:`inference.engine.linger`.
"""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Final

from inference.engine import linger
from inference.engine.stages import admission, completion, dispatch, lookup
from inference.engine.wave_call import WaveCall
from mlplatform.lib import event_loop

logger = logging.getLogger(__name__)

_UNDER_WAY: Final = 1
_PATIENCE_S: Final = 0.01
_MOST_INPUTS: Final = 256
"""Of a wave, unless one call alone has more: the loop does no more in one turn."""


class Waves:
    """Those of this process; every method belongs to the loop's thread."""

    def __init__(self) -> None:
        self._loop = event_loop.get()
        self._gathered: list[WaveCall] = []
        self._under_way: set[_Wave] = set()
        self._leaves_soon = False
        self._timer: asyncio.TimerHandle | None = None
        self._leaves_by = 0.0
        """When the timer lets what gathers leave, on the loop's clock."""

    def join(self, calls: Sequence[WaveCall]) -> None:
        """Have these calls leave with the next wave."""
        self._gathered += calls
        linger.begun(len(calls))
        if self._leaves_soon:
            return
        if len(self._under_way) < _UNDER_WAY:
            self._leave_or_linger(calls)
        else:
            self._leave_within(_PATIENCE_S)

    def _leave_or_linger(self, newcomers: Sequence[WaveCall]) -> None:
        pause_s = linger.pause_s(gathered=len(self._gathered), newcomers=newcomers)
        if pause_s:
            self._leave_within(pause_s)
        else:
            self._leave_soon()

    def _leave_within(self, seconds: float) -> None:
        """Unless what gathers leaves sooner anyway."""
        leaves_by = self._loop.time() + seconds
        if self._timer is not None:
            if self._leaves_by <= leaves_by:
                return
            self._timer.cancel()
        self._leaves_by = leaves_by
        self._timer = self._loop.call_later(seconds, self._leave_late)

    def _leave_soon(self) -> None:
        self._leaves_soon = True
        self._loop.call_soon(self._leave)

    def _leave_late(self) -> None:
        """It has lingered long enough, or Redis is slow and is not waited for any longer."""
        self._timer = None
        if self._gathered and not self._leaves_soon:
            self._leave()

    def _leave(self) -> None:
        self._leaves_soon = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        calls = self._take()
        if not calls:
            return
        if self._gathered:
            self._leave_within(_PATIENCE_S)
        wave = _Wave(calls, self._loop.time())
        self._under_way.add(wave)
        try:
            lookup.look(calls, partial(self._looked_up, wave), partial(self._break_off, wave))
        except Exception as error:  # noqa: BLE001 - logged, and told to the calls
            self._break_off(wave, error)

    def _looked_up(self, wave: "_Wave", calls: Sequence[WaveCall]) -> None:
        try:
            admission.admit(calls, partial(self._admitted, wave))
        except Exception as error:  # noqa: BLE001 - logged, and told to the calls
            self._break_off(wave, error)

    def _admitted(self, wave: "_Wave", calls: Sequence[WaveCall]) -> None:
        self._land(wave)
        try:
            if calls:
                dispatch.dispatch(calls, partial(self._break_off, wave))
        except Exception as error:  # noqa: BLE001 - logged, and told to the calls
            self._break_off(wave, error)

    def _take(self) -> list[WaveCall]:
        """What leaves now; of too many, tenants in turns."""
        gathered = self._gathered
        if sum([len(call.items) for call in gathered]) <= _MOST_INPUTS:
            self._gathered = []
            return gathered
        tenants: dict[int, deque[WaveCall]] = {}
        for call in gathered:
            tenants.setdefault(call.contract.subject.tenant_id, deque()).append(call)
        taken: list[WaveCall] = []
        left = _MOST_INPUTS
        while left > 0 and tenants:
            for tenant_id, calls in [*tenants.items()]:
                taken.append(calls.popleft())
                left -= len(taken[-1].items)
                if not calls:
                    del tenants[tenant_id]
                if left <= 0:
                    break
        chosen = set(taken)
        self._gathered = [call for call in gathered if call not in chosen]
        return taken

    def _land(self, wave: "_Wave") -> None:
        """Its round trips are over: the next one may leave."""
        self._under_way.discard(wave)
        linger.landed(self._loop.time() - wave.left_at)
        if self._gathered and not self._leaves_soon and len(self._under_way) < _UNDER_WAY:
            self._leave_or_linger(self._gathered)

    def _break_off(self, wave: "_Wave", error: Exception) -> None:
        logger.error("a wave of %s calls broke off", len(wave.calls), exc_info=error)
        for call in wave.calls:
            completion.fail(call, error)
        self._land(wave)


class _Wave:
    """Calls that travel together since ``left_at``, on the loop's clock."""

    __slots__ = ("calls", "left_at")

    def __init__(self, calls: Sequence[WaveCall], left_at: float) -> None:
        self.calls = calls
        self.left_at = left_at


_waves: Waves | None = None


def join(calls: Sequence[WaveCall]) -> None:
    """Have these calls leave with the next wave of this process; of the loop's thread."""
    global _waves
    if _waves is None:
        _waves = Waves()
    _waves.join(calls)


def forget() -> None:
    """Begin anew, with whatever loop there is; for tests and forked processes."""
    global _waves
    _waves = None
    linger.forget()


# A forked child has another loop.
os.register_at_fork(after_in_child=forget)
