"""A tenant's model as any other runtime, computed by a process of its own.

What the process raises is raised here as a fault of the model. What breaks a limit (time, processor, memory) ends the process,
and is raised as :class:`LimitBroken`; the next batch starts another.
"""

import logging
import signal
from collections.abc import Sequence
from typing import Final

import msgspec
from prometheus_client import Counter, Gauge

from inference.isolation import frames
from inference.isolation.forks import Child, Forker
from inference.isolation.limits import ComputeLimits
from inference.isolation.patience import Patience
from inference.isolation.specs import spec_to
from inference.runtimes.protocol import Array, Input, LoadError, Read, RuntimeFault, RuntimeSpec

logger = logging.getLogger(__name__)

_MAX_FAULT_BYTES: Final = 64 * 1024
_FLOAT_BYTES: Final = 4
_ID_BYTES: Final = 8
_OVERHEAD_BYTES: Final = 4096
_OF_SIGNAL: Final[dict[int, tuple[str, str]]] = {
    signal.SIGXCPU: ("processor", "took more processor time than it may"),
    signal.SIGABRT: ("memory", "took more memory than it may"),
    signal.SIGSEGV: ("crash", "crashed"),
    signal.SIGKILL: ("killed", "was killed, perhaps for its memory"),
}
"""The reason of the metric, and the words, by what the process ended of."""

_ended = Counter(
    "mlplatform_private_processes_ended_total", "Processes of tenants' models that were ended, by reason.", ["reason"]
)
_running = Gauge(
    "mlplatform_private_processes", "Processes that compute tenants' models now.", multiprocess_mode="livesum"
)


class LimitBroken(RuntimeFault):
    """The model took more time or memory than a tenant's model may; its process is gone."""


class Isolated:
    """The worker's side. One thread at a time uses it, as any runtime."""

    def __init__(self, limits: ComputeLimits, forker: Forker) -> None:
        self._limits = limits
        self._forker = forker
        self._child: Child | None = None
        self._spec: RuntimeSpec | None = None
        self.weights_bytes = 0
        self.walls: tuple[str, ...] = ()

    @property
    def pid(self) -> int | None:
        """The process that computes now, if there is one."""
        return self._child.pid if self._child is not None else None

    def load(self, spec: RuntimeSpec) -> None:
        """Start the process and have it load the model. Raises LoadError, or LimitBroken."""
        self._spec = spec
        self._start()

    def warmup(self) -> None:
        """Done by the process when it loads."""

    def forward(self, inputs: Sequence[Input]) -> Array:
        """As ``Runtime.forward``; raises RuntimeFault for a fault of the model, LimitBroken for one too many."""
        outputs = self._loaded().outputs
        answer = self._compute(frames.pack(inputs), most=len(inputs) * outputs * _FLOAT_BYTES)
        try:
            if isinstance(answer, frames.Rows):
                return frames.rows_of(answer, outputs=outputs)
        except ValueError as error:
            raise RuntimeFault(f"The model gave {error}.") from error
        raise self._broken("protocol", "said something else than a result")

    def _note(self, answer: frames.Loaded) -> None:
        """What a subclass wants to know of the loaded model."""

    def _loaded(self) -> RuntimeSpec:
        """The description of the model, whose process runs."""
        if self._spec is None:
            raise LoadError("no model was loaded")
        if self._child is None:
            self._start()
        return self._spec

    def _compute(self, order: frames.Read | frames.Forward, *, most: int) -> frames.Answer:
        """The answer, of about ``most`` bytes. A fault of the model is raised."""
        answer = self._ask(order, within_s=self._limits.wall_s, most=max(most + _OVERHEAD_BYTES, _MAX_FAULT_BYTES))
        if isinstance(answer, frames.Fault):
            raise RuntimeFault(f"{answer.kind}: {answer.reason}")
        return answer

    def close(self) -> None:
        """End the process; the next batch would start another."""
        if self._child is not None:
            self._child.end()
            self._child = None
            _running.dec()

    def __del__(self) -> None:
        # A version that makes room in memory is dropped by letting go of it.
        self.close()

    def _start(self) -> None:
        spec = self._spec
        if spec is None:
            raise LoadError("no model was named")
        self._child = self._forker.fork()
        _running.inc()
        order = frames.Load(spec_to(spec), self._limits.to_json())
        answer = self._ask(order, within_s=self._limits.load_s, most=_MAX_FAULT_BYTES)
        if isinstance(answer, frames.Fault):
            self.close()
            raise LoadError(f"{answer.kind}: {answer.reason}")
        if not isinstance(answer, frames.Loaded):
            raise self._broken("protocol", "said something else than that it is loaded")
        self.weights_bytes, self.walls = answer.weights_bytes, tuple(answer.walls)
        self._note(answer)

    def _ask(self, order: frames.Order, *, within_s: float, most: int) -> frames.Answer:
        child = self._child
        if child is None:
            raise LoadError("the model's process is gone")
        patience = Patience(child.pid, within_s)
        try:
            child.channel.settimeout(within_s)
            frames.send(child.channel, order)
            return frames.decode_answer(frames.receive(child.channel, most=most, patience=patience))
        except TimeoutError as error:
            raise self._broken("time", f"took longer than {within_s:g} s") from error
        except (EOFError, OSError) as error:
            raise self._broken("limit", "took more than it may") from error
        except msgspec.MsgspecError as error:
            raise self._broken("protocol", "said what cannot be read") from error

    def _broken(self, reason: str, what: str) -> LimitBroken:
        child, self._child = self._child, None
        signal_number = child.end() if child is not None else 0
        if reason == "limit":
            reason, what = _OF_SIGNAL.get(signal_number, (reason, what))
        _running.dec()
        _ended.labels(reason).inc()
        name = f"{self._spec.name}@{self._spec.version}" if self._spec else "a model"
        logger.warning("the process of %s was ended: it %s (signal %d)", name, what, signal_number)
        return LimitBroken(f"The model {what}; its process was ended.")


class IsolatedTexts(Isolated):
    """One that reads texts, whose tokens are made in its process too."""

    max_tokens = 0

    def _note(self, answer: frames.Loaded) -> None:
        self.max_tokens = answer.max_tokens or 0

    def read(self, inputs: Sequence[Input], truncate: Sequence[int]) -> list[Read]:
        """As ``ReadsTexts.read``; raises as :meth:`forward` does."""
        self._loaded()
        per_text = 2 * self.max_tokens * _ID_BYTES + _OVERHEAD_BYTES
        answer = self._compute(frames.pack_texts(inputs, truncate), most=len(inputs) * per_text)
        try:
            if isinstance(answer, frames.Texts) and len(answer.found) == len(inputs):
                return frames.read_of(answer)
        except ValueError as error:
            raise RuntimeFault(f"The model gave {error}.") from error
        raise self._broken("protocol", "said something else than what it has read")


def of(spec: RuntimeSpec, limits: ComputeLimits, forker: Forker) -> Isolated:
    """A runtime for what the model takes, not loaded."""
    reads_texts = spec.runtime.partition("-")[0] in {"text", "pair"}
    return IsolatedTexts(limits, forker) if reads_texts else Isolated(limits, forker)
