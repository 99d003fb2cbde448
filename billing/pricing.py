"""What a call costs, in units, before it is made."""

from collections.abc import Mapping
from dataclasses import dataclass

from billing.models import Price
from mlplatform.lib.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Tariff:
    """Units of one operation on one model."""

    per_call: int
    per_input: int
    cached_per_input: int


# What the platform computes for its own reasons, such as after a change of its models.
FREE = Tariff(per_call=0, per_input=0, cached_per_input=0)
# What a model costs for which staff have set no price at all: never free by accident.
FALLBACK = Tariff(per_call=0, per_input=1, cached_per_input=1)


def _load() -> Mapping[tuple[str, str], Tariff]:
    return {
        (price.operation, price.model): Tariff(price.per_call, price.per_input, price.cached_per_input)
        for price in Price.objects.all()
    }


_tariffs: Snapshot[Mapping[tuple[str, str], Tariff]] = Snapshot("prices", _load)


def at_hand() -> object | None:
    """What :func:`tariff` reads, without a look into SQL: another object when prices have changed, None where SQL is needed."""
    return _tariffs.at_hand()


def tariff(*, operation: str, model: str) -> Tariff:
    """The model's own price, else the price of any model, else one unit an input."""
    tariffs = _tariffs.get()
    return tariffs.get((operation, model)) or tariffs.get((operation, "")) or FALLBACK


def call_fee(*, operation: str, models: set[str]) -> int:
    """Units for the call as a whole: the highest ``per_call`` among the models that it names."""
    return max((tariff(operation=operation, model=model).per_call for model in models), default=0)


@dataclass(frozen=True, slots=True)
class Quote:
    """What a sample call would cost, part by part."""

    call_fee: int
    computed: int
    cached: int

    @property
    def total(self) -> int:
        return self.call_fee + self.computed + self.cached


def quote(*, operation: str, model: str, inputs: int, cached_inputs: int = 0) -> Quote:
    """The cost of a call of ``inputs`` inputs, of which the cache answers ``cached_inputs``."""
    price = tariff(operation=operation, model=model)
    return Quote(
        call_fee=price.per_call,
        computed=(inputs - cached_inputs) * price.per_input,
        cached=cached_inputs * price.cached_per_input,
    )


def changed() -> None:
    """To be called after prices were saved: every process reads them again within a second."""
    _tariffs.publish()


def forget() -> None:
    """Drop the prices that this process holds; for tests."""
    _tariffs.forget()
