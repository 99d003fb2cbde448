"""From the description of a model version to a model that runs, with its contract checked as it runs."""

from collections.abc import Mapping, Sequence

import numpy as np

from inference.registry import artefacts
from inference.runtimes import contract, memory
from inference.runtimes.image_classification import ImageClassification
from inference.runtimes.pairs import PairClassification, PairScoring
from inference.runtimes.panics import contained
from inference.runtimes.protocol import (
    Array,
    ComputesElsewhere,
    ContractError,
    Input,
    LoadError,
    Read,
    ReadsTexts,
    Runtime,
    RuntimeSpec,
)
from inference.runtimes.scoring import TensorScoring
from inference.runtimes.tensor_classification import TensorClassification
from inference.runtimes.tensor_echo import TensorEcho
from inference.runtimes.text_classification import TextClassification
from inference.runtimes.text_embedding import TextEmbedding

RUNTIMES: Mapping[str, type[Runtime]] = {
    "text-classification": TextClassification,
    "text-embedding": TextEmbedding,
    "tensor-classification": TensorClassification,
    "tensor-scoring": TensorScoring,
    "tensor-echo": TensorEcho,
    "image-classification": ImageClassification,
    "pair-classification": PairClassification,
    "pair-scoring": PairScoring,
}


def load(spec: RuntimeSpec, *, runtime: Runtime | None = None) -> "CheckedRuntime":
    """Verify the artefact, load it, warm it up and prove on samples that its rows belong to its inputs.

    ``runtime`` stands in for the class that the description names, such as one that computes elsewhere. Raises ArtefactError
    (wrong digest, forbidden file), LoadError (weights do not fit the declaration) or ContractError (the model answers, but not
    as declared).
    """
    runtime_class = RUNTIMES.get(spec.runtime)
    if runtime_class is None:
        raise LoadError(f"Unknown runtime {spec.runtime!r}: known are {', '.join(sorted(RUNTIMES))}.")
    kind = spec.runtime.partition("-")[0]  # what a runtime takes is the first word of its name
    if spec.input_schema.get("kind") != kind:
        raise LoadError(f"The runtime {spec.runtime} takes {kind} inputs, which the input schema does not declare.")
    artefacts.verify(spec.artefact, expected=spec.digest)
    runtime = runtime or runtime_class()
    with contained():
        runtime.load(spec)
        runtime.warmup()
    checked = CheckedRuntime(spec, runtime)
    checked.prove_order()
    return checked


class CheckedRuntime:
    """A runtime whose every batch is checked: as many rows as inputs, declared columns, float32, finite numbers."""

    def __init__(self, spec: RuntimeSpec, runtime: Runtime) -> None:
        self.spec = spec
        self._runtime = runtime
        self._texts = runtime if isinstance(runtime, ReadsTexts) else None

    @property
    def max_tokens(self) -> int | None:
        """How many tokens of a text are read at most; None for what has no tokens."""
        return self._texts.max_tokens if self._texts is not None else None

    def read(self, inputs: Sequence[Input], truncate: Sequence[int]) -> list[Read]:
        """Each input as :meth:`run` takes it best: texts as their tokens, so that it is known which are too long. What is no
        text is given back. `truncate` says of each input whether it may be cut (see `inference.inputs.truncation`).

        Raises ContractError when an input is not what the version declares, and ValueError for a text without any token.
        """
        if self._texts is None:
            return [Read(one) for one in inputs]
        contract.check_inputs(self.spec, inputs)
        with contained():
            return self._texts.read(inputs, truncate)

    @property
    def weights_bytes(self) -> int:
        """What the model's weights take, in this process or in its own."""
        if isinstance(self._runtime, ComputesElsewhere):
            return self._runtime.weights_bytes
        return memory.weights_bytes(self._runtime)

    def run(self, inputs: Sequence[Input]) -> Array:
        """Return float32 [len(inputs), spec.outputs]; runs as many batches of `max_batch_size` as are needed. Texts that were
        not read by :meth:`read` are cut where they are too long.

        Raises ContractError when an input is not what the version declares or the model breaks its contract.
        """
        contract.check_inputs(self.spec, inputs)
        if not inputs:
            return np.empty((0, self.spec.outputs), dtype=np.float32)
        size = self.spec.max_batch_size
        parts = [self._run_batch(inputs[start : start + size]) for start in range(0, len(inputs), size)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def prove_order(self) -> None:
        """Check that a batch gives each sample the row that it gets alone; ContractError if not.

        The shape of a result cannot tell whether its rows were swapped. A runtime that sorts or packs its inputs and
        forgets to restore their order would hand one customer's answer to another, so it must not come up at all.
        """
        samples = contract.samples(self.spec)[: self.spec.max_batch_size]
        together = self.run(samples)
        tolerance = contract.BATCH_TOLERANCE[self.spec.precision]
        for row, sample in enumerate(samples):
            alone = self.run([sample])[0]
            if not np.allclose(together[row], alone, rtol=0, atol=tolerance):
                raise ContractError(f"{self._who()}: row {row} of a batch is not the answer to input {row}.")

    def _run_batch(self, inputs: Sequence[Input]) -> Array:
        with contained():
            result = self._runtime.forward(inputs)
        problem = contract.result_problem(result, rows=len(inputs), columns=self.spec.outputs)
        if problem:
            raise ContractError(f"{self._who()} {problem}.")
        return result

    def _who(self) -> str:
        return f"{self.spec.name}@{self.spec.version}"
