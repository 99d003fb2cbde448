"""Second stage: one run of the admission script for all calls of a caller that its limits count alike. A call of several inputs
has a run of its own, for all of them are admitted or none.

A group that is refused as a whole is asked for call by call, in one write, so that only those are refused for which there is no
room, each under its own request id.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial

from billing import charging, late_releases
from billing.admission import Decision, Limit, Unanswered, on_loop
from billing.admission.on_loop import Admission
from inference.engine.charges import HOLD_MARGIN_S, charges_of
from inference.engine.stages import completion
from inference.engine.wave_call import WaveCall
from mlplatform.lib.errors import PlatformError

logger = logging.getLogger(__name__)

Next = Callable[[Sequence[WaveCall]], None]

_Alike = tuple[int, tuple[Limit, ...], bool, float] | int


def admit(calls: Sequence[WaveCall], then: Next) -> None:
    """Admit all that may be; ``then`` gets, once all are decided, those that must be computed."""
    try:
        late_releases.require_room()
    except PlatformError as problem:
        for call in calls:
            completion.end(call, problem.copy())
        then([])
        return
    groups: dict[_Alike, list[WaveCall]] = {}
    for call in calls:
        alike: _Alike = id(call)
        if len(call.items) == 1 and not call.fee:
            alike = (id(call.contract), call.limits, call.is_cached, call.context.timeout_s)
        groups.setdefault(alike, []).append(call)
    round_trip = _RoundTrip(then)
    for group in groups.values():
        round_trip.ask(group)
    for shard in {group[0].contract.subject.shard for group in groups.values()}:
        on_loop.state_link(shard).flush()
    round_trip.close()


class _RoundTrip:
    """The groups of a wave that are asked for, until all are decided."""

    def __init__(self, then: Next) -> None:
        self._then = then
        self._open = 1  # This one is closed when all are asked for.
        self._granted: list[WaveCall] = []

    def ask(self, group: Sequence[WaveCall]) -> None:
        """Admit these together. The calls of a group are alike but for their inputs."""
        self._open += 1
        first = group[0]
        try:
            on_loop.admit(
                Admission(
                    subject=first.contract.subject,
                    limits=first.limits,
                    charges=tuple([charge for call in group for charge in charges_of(call)]),
                    request_id=first.request_id if len(group) == 1 else "",
                    hold_ttl_s=first.context.timeout_s + HOLD_MARGIN_S,
                    settle_now=first.is_cached,
                    done=partial(self._decided, group),
                    corked=True,
                )
            )
        except Exception as error:  # noqa: BLE001 - of these calls; the others go on
            self._decided(group, error)

    def close(self) -> None:
        """One question less is open; after the last one the wave goes on."""
        self._open -= 1
        if not self._open:
            self._then(self._granted)

    def _decided(self, group: Sequence[WaveCall], decision: Decision | Exception) -> None:
        try:
            if isinstance(decision, Exception):
                self._failed(group, decision)
            elif decision.granted:
                self._grant(group, decision)
            elif len(group) == 1:
                group[0].decision = decision
                completion.end(group[0], charging.refusal(decision))
            else:
                for call in group:
                    self.ask([call])
                on_loop.state_link(group[0].contract.subject.shard).flush()
        except Exception as error:
            logger.exception("the decision about %s calls could not be carried out", len(group))
            for call in group:
                completion.fail(call, error)
        finally:
            self.close()

    def _grant(self, group: Sequence[WaveCall], decision: Decision) -> None:
        for call in group:
            if call.has_ended:  # Its wave broke off meanwhile.
                late_releases.owe(call.contract.subject, call.hold_ids)
                continue
            call.decision = decision
            call.is_admitted = True
            if call.is_cached:
                completion.answer_cached(call)
            else:
                call.is_held = True
                self._granted.append(call)

    @staticmethod
    def _failed(group: Sequence[WaveCall], error: Exception) -> None:
        if isinstance(error, Unanswered):
            # It may have taken what it was asked for; the words that nothing was charged must be made true.
            late_releases.owe(group[0].contract.subject, [hold_id for call in group for hold_id in call.hold_ids])
        for call in group:
            completion.end(call, error.copy() if isinstance(error, PlatformError) else error)
