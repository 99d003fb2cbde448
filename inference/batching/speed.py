"""How fast a model version is: what a batch takes however small it is, and what each token adds, learned from batches.

A forward pass takes a while for one input, and little more for a few. How much more decides how small batches may be: where the
fixed part is most of a batch, to halve it halves what the workers do.
"""

from dataclasses import dataclass, field
from typing import Final

_QUICK: Final = 0.2
"""What a batch counts beside all before it, for the mean: it follows what the worker's machine does now."""

_SLOW: Final = 0.05
"""The same for the parts, which many batches of different sizes tell apart."""

_ALIKE: Final = 0.1
"""Batches whose sizes deviate by less of their mean are too much alike to tell."""

_FLATTEST: Final = 0.1
"""Of the mean of a token, what one more takes at least: a line through batches of a busy machine may even fall."""


@dataclass(slots=True)
class _Line:
    """The line through points that fade, by least squares."""

    weight: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0

    def add(self, x: float, y: float) -> None:
        kept = 1 - _SLOW
        self.weight = kept * self.weight + 1
        self.x = kept * self.x + x
        self.y = kept * self.y + y
        self.xx = kept * self.xx + x * x
        self.xy = kept * self.xy + x * y

    def means(self) -> tuple[float, float]:
        return self.x / self.weight, self.y / self.weight

    def slope(self) -> float | None:
        """From nearly nothing to what goes through the origin; None where the points are too much alike to tell."""
        mean_x, mean_y = self.means()
        variance = self.xx / self.weight - mean_x * mean_x
        if variance < (_ALIKE * mean_x) ** 2:
            return None
        steepest = mean_y / mean_x
        return min(steepest, max(_FLATTEST * steepest, (self.xy / self.weight - mean_x * mean_y) / variance))


@dataclass(slots=True)
class Speed:
    """Seconds of a worker; 0 while unknown. For what has no tokens an input counts as one.

    ``token_s`` is the mean of a token in batches as they are now, its part of what is fixed included. A batch takes
    ``fixed_s`` and ``more_s`` for each of its tokens; where these are unknown, all of the mean.
    """

    token_s: float = 0.0
    fixed_s: float = 0.0
    more_s: float = 0.0
    _spent: float = 0.0
    _tokens: float = 0.0
    _inputs: float = 0.0
    _least: float = 0.0
    _line: _Line = field(default_factory=_Line)

    def batch_s(self, tokens: float) -> float:
        """What a batch of so many tokens takes."""
        return self.fixed_s + (self.more_s or self.token_s) * tokens

    @property
    def alone_s(self) -> float:
        """What a batch of one usual input takes."""
        return self.batch_s(self._tokens / self._inputs) if self._inputs else 0.0

    def learn(self, *, compute_s: float, tokens: int, inputs: int) -> None:
        """A batch of so many inputs, and tokens in all of them, took the model so many seconds."""
        if compute_s <= 0 or tokens <= 0 or inputs <= 0:
            return
        # Sums that fade, not an average of quotients: a large batch tells more of the speed than a small one.
        self._spent = (1 - _QUICK) * self._spent + compute_s
        self._tokens = (1 - _QUICK) * self._tokens + tokens
        self._inputs = (1 - _QUICK) * self._inputs + inputs
        self.token_s = self._spent / self._tokens
        self._line.add(tokens, compute_s)
        # No batch takes less than what is fixed; the least rises again, for a machine may become slower.
        self._least = min(compute_s, (1 + _SLOW) * self._least) if self._least else compute_s
        slope = self._line.slope()
        if slope is not None:
            self.more_s = slope
        if self.more_s:
            mean_tokens, mean_s = self._line.means()
            self.fixed_s = min(self._least, max(0.0, mean_s - self.more_s * mean_tokens))
