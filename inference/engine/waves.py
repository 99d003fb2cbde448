"""Calls of one input travel in waves: those that gather while a round trip is under way go on together.

At low load a wave is one call, which leaves at once; no timer is needed. While a wave is with Redis the next one gathers, for at
most 10 ms. (Two at a time cost 1.3 to 1.5 times as much, for each was half as large.)
"""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Final

from inference.engine.stages import admission, completion, dispatch, lookup
from inference.engine.wave_call import WaveCall
from mlplatform.lib import event_loop

logger = logging.getLogger(__name__)

_UNDER_WAY: Final = 1
_PATIENCE_S: Final = 0.01
_MOST_CALLS: Final = 256
"""Of a wave: the loop does no more in one turn."""


class Waves:
    """Those of this process; every method belongs to the loop's thread."""

    def __init__(self) -> None:
        self._loop = event_loop.get()
        self._gathered: list[WaveCall] = []
        self._under_way: set[_Wave] = set()
        self._leaves_soon = False
        self._timer: asyncio.TimerHandle | None = None

    def join(self, calls: Sequence[WaveCall]) -> None:
        """Have these calls leave with the next wave."""
        self._gathered += calls
        if self._leaves_soon:
            return
        if len(self._under_way) < _UNDER_WAY:
            self._leave_soon()
        elif self._timer is None:
            self._timer = self._loop.call_later(_PATIENCE_S, self._leave_late)

    def _leave_soon(self) -> None:
        self._leaves_soon = True
        self._loop.call_soon(self._leave)

    def _leave_late(self) -> None:
        """Redis is slow: what gathers does not wait for it any longer."""
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
            self._timer = self._loop.call_later(_PATIENCE_S, self._leave_late)
        wave = _Wave(calls)
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
        if len(gathered) <= _MOST_CALLS:
            self._gathered = []
            return gathered
        tenants: dict[int, deque[WaveCall]] = {}
        for call in gathered:
            tenants.setdefault(call.contract.subject.tenant_id, deque()).append(call)
        taken: list[WaveCall] = []
        while len(taken) < _MOST_CALLS:
            for tenant_id, calls in [*tenants.items()]:
                taken.append(calls.popleft())
                if not calls:
                    del tenants[tenant_id]
        chosen = set(taken)
        self._gathered = [call for call in gathered if call not in chosen]
        return taken

    def _land(self, wave: "_Wave") -> None:
        """Its round trips are over: the next one may leave."""
        self._under_way.discard(wave)
        if self._gathered and not self._leaves_soon and len(self._under_way) < _UNDER_WAY:
            self._leave_soon()

    def _break_off(self, wave: "_Wave", error: Exception) -> None:
        logger.error("a wave of %s calls broke off", len(wave.calls), exc_info=error)
        for call in wave.calls:
            completion.fail(call, error)
        self._land(wave)


class _Wave:
    """Calls that travel together."""

    __slots__ = ("calls",)

    def __init__(self, calls: Sequence[WaveCall]) -> None:
        self.calls = calls


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


# A forked child has another loop.
os.register_at_fork(after_in_child=forget)
