"""How long a wave that may leave lingers for more calls.

A wave costs round trips, turns of the loop and a batch at a worker, whatever its size. On a busy machine these take long, calls
come one by one meanwhile, and waves of one or two calls keep it busy. So a wave lingers for about twice the time of the last
waves' round trips. With few open calls, on a machine at ease, and for a call whose answer is at hand it leaves at once.

Everything here belongs to the event loop's thread.
"""

from collections.abc import Sequence
from typing import Final

from inference.cache import store
from inference.engine.wave_call import WaveCall

_ROUND_TRIPS: Final = 2
_SMOOTHED_OVER: Final = 8
_LEAST_S: Final = 0.001
"""Timers of the loop are not finer."""

LONGEST_S: Final = 0.005
"""However slow the round trips are."""

_FEW: Final = 4
"""With fewer open calls none is worth waiting for."""

_SHARE: Final = 2
"""One of so many open calls; when these have gathered, the others wait for workers and come no sooner for waiting."""

_ENOUGH: Final = 16
"""Calls of a wave, which have little left to gain."""

_open = 0
_round_trips_s = 0.0


def begun(calls: int) -> None:
    """So many calls more are open from now on."""
    global _open
    _open += calls


def ended() -> None:
    """A call has ended."""
    global _open
    _open = max(0, _open - 1)


def landed(took_s: float) -> None:
    """The round trips of a wave are over."""
    global _round_trips_s
    _round_trips_s += (took_s - _round_trips_s) / _SMOOTHED_OVER


def open_calls() -> int:
    """How many calls have begun and not ended."""
    return _open


def pause_s(*, gathered: int, newcomers: Sequence[WaveCall]) -> float:
    """How long so many calls, of which these are new, wait for more, in seconds; 0 where they leave at once."""
    pause = min(LONGEST_S, _ROUND_TRIPS * _round_trips_s)
    if pause < _LEAST_S or _open < _FEW or gathered >= min(_ENOUGH, _open // _SHARE + 1):
        return 0.0
    return 0.0 if any(map(_is_at_hand, newcomers)) else pause


def _is_at_hand(call: WaveCall) -> bool:
    return call.context.cache.read and all(store.local.get(item.key) is not None for item in call.items)


def forget() -> None:
    """Begin anew; for tests and forked processes."""
    global _open, _round_trips_s
    _open, _round_trips_s = 0, 0.0
