"""A tenant in a Redis of its own, whose scripts read a clock that the test walks."""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import redis

from billing import admission
from billing.admission import (
    Charge,
    Decision,
    Limit,
    LimitKind,
    Refusal,
    Settled,
    Settlement,
    Subject,
    scripts,
)
from billing.admission.scripts import JoinedScript

SECOND = 1_000_000
DAY = 86_400 * SECOND
START = 1_768_478_400 * SECOND + 123_456
"""15 January 2026, noon, and a bit."""
SHARD = 3
TENANT = 7
CLOCK = f"{{s{SHARD}}}:test-clock"


class WalkedScript(JoinedScript):
    """A production script whose one look at the server's clock is turned to a key that the test writes."""

    def __init__(self, original: JoinedScript) -> None:
        super().__init__(original.path.name, libraries=original.libraries)
        looks = original.source.count("redis.call('TIME')")
        assert looks == 1, f"{original.path.name} looks at the clock {looks} times"
        # cached_property keeps what is in the instance's dictionary.
        self.__dict__["source"] = original.source.replace(
            "redis.call('TIME')", f"redis.call('HMGET', '{CLOCK}', 's', 'us')"
        )


@contextlib.contextmanager
def walked_clock() -> Iterator[None]:
    """The scripts of this process read the walked clock."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ADMIT", "SETTLE", "RELEASE", "SWEEP"):
            patch.setattr(scripts, name, WalkedScript(getattr(scripts, name)))
        yield


def limit(kind: LimitKind, amount: int, **fields: Any) -> Limit:
    """A limit of the whole tenant on units, unless ``fields`` say else."""
    defaults: dict[str, Any] = {
        "id": f"tenant:{kind}",
        "name": str(kind),
        "counts": "units",
        "scope": "tenant",
        "subject": "",
        "source": "plan Test",
    }
    if kind in {LimitKind.FIXED_WINDOW, LimitKind.SLIDING_WINDOW}:
        defaults["window_s"] = 60
    if kind is LimitKind.TOKEN_BUCKET:
        defaults["rate"] = 10.0
    return Limit(kind=kind, amount=amount, **{**defaults, **fields})


class World:
    """One tenant, acme, and everything that it may do; ``used`` is what the ledger says of this month."""

    def __init__(self, client: "redis.Redis") -> None:
        self.client = client
        self.subject = Subject(tenant_id=TENANT, shard=SHARD, key_id="key_prod", tenant_version=1, key_version=1)
        self.used = 0
        self.ledger_reads = 0
        self.now = START
        self._numbers = itertools.count(1)
        self.start_over()

    def start_over(self, now: int = START) -> None:
        """An empty Redis at a given moment."""
        self.client.flushall()
        self.used = self.ledger_reads = 0
        self.at(now)

    def at(self, now: int) -> None:
        """Set the server's clock, in microseconds; it may go back."""
        self.now = now
        self.client.hset(CLOCK, mapping={"s": now // SECOND, "us": now % SECOND})

    def pass_us(self, duration: int) -> None:
        self.at(self.now + duration)

    def fresh_id(self) -> str:
        return f"hold{next(self._numbers):08d}"

    def charge(
        self,
        units: int = 1,
        *,
        hold_id: str = "",
        model: str = "sentiment",
        requests: int = 1,
        model_requests: int | None = None,
    ) -> Charge:
        """One input, which counts for its model as it counts for the call; its record is no UTF-8 on purpose."""
        return Charge(
            hold_id=hold_id or self.fresh_id(),
            model=model,
            units=units,
            requests=requests,
            record=b"\xff\x00record",
            model_requests=requests if model_requests is None else model_requests,
        )

    def admit(
        self,
        limits: Sequence[Limit],
        *charges: Charge | int,
        request_id: str = "req-1",
        ttl_s: float = 30.0,
        settle_now: bool = False,
        subject: Subject | None = None,
    ) -> Decision:
        """Admit charges, where a number stands for a charge of so many units."""
        return admission.admit(
            subject=subject or self.subject,
            limits=limits,
            charges=[self.charge(charge) if isinstance(charge, int) else charge for charge in charges],
            request_id=request_id,
            hold_ttl_s=ttl_s,
            settle_now=settle_now,
            month_to_date=self.month_to_date,
            client=self.client,
        )

    def spend(self, limits: Sequence[Limit], *charges: Charge | int) -> Decision:
        """Admit and meter in one step, so that nothing comes back by the expiry of a hold."""
        return self.admit(limits, *charges, settle_now=True)

    def month_to_date(self, limit: Limit, subject: Subject) -> int:
        self.ledger_reads += 1
        return self.used

    def peek(self, limits: Sequence[Limit]) -> Decision:
        return admission.peek(subject=self.subject, limits=limits, month_to_date=self.month_to_date, client=self.client)

    def remaining(self, *limits: Limit) -> list[int]:
        return [state.remaining for state in self.peek(limits).states]

    def settle(self, *holds: Settlement | str) -> tuple[Settled, ...]:
        return admission.settle(
            shard=SHARD,
            tenant_id=TENANT,
            holds=[Settlement(hold) if isinstance(hold, str) else hold for hold in holds],
            client=self.client,
        )

    def release(self, *hold_ids: str) -> int:
        return len(admission.release(shard=SHARD, tenant_id=TENANT, hold_ids=hold_ids, client=self.client))

    def void(self, *hold_ids: str) -> int:
        return admission.void(shard=SHARD, tenant_id=TENANT, hold_ids=hold_ids, client=self.client)

    def sweep(self) -> tuple[int, int]:
        """The clockwork's look, at the walked clock."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.client, "time", lambda: divmod(self.now, SECOND))
            return admission.sweep(client=self.client)

    def explain(self, request_id: str) -> Refusal | None:
        return admission.explain(shard=SHARD, tenant_id=TENANT, request_id=request_id, client=self.client)

    def usage(self) -> list[tuple[str, int]]:
        """Hold id and units of every usage record that was not taken back, in the order of settling."""
        entries = [fields for _, fields in self.stream()]
        voided = {fields.get(b"void") for fields in entries}
        return [
            (fields[b"id"].decode(), int(fields[b"units"]))
            for fields in entries
            if b"void" not in fields and fields[b"id"] not in voided
        ]

    def stream(self) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """The shard's stream as it is: ids and fields."""
        entries: Any = self.client.xrange(f"{{s{SHARD}}}:usage")
        return list(entries)

    def holds(self) -> set[str]:
        """The ids of holds that still hold something."""
        found: Any = self.client.hgetall(f"{{s{SHARD}}}:limits:{TENANT}")
        return {
            name[1:].decode() for name, packed in found.items() if name[:1] == b"+" and packed[:1] not in {b"s", b"r"}
        }

    def snapshot(self) -> dict[bytes, Any]:
        """All limits and holds and the stream, to show that nothing changed."""
        tag = f"{{s{SHARD}}}"
        return {
            b"limits": self.client.hgetall(f"{tag}:limits:{TENANT}"),
            b"marks": self.client.zrange(f"{tag}:marks:{TENANT}", 0, -1, withscores=True),
            b"expiry": self.client.zrange(f"{tag}:expiry:{TENANT}", 0, -1, withscores=True),
            b"usage": self.client.xrange(f"{tag}:usage"),
        }
