"""One GraphQL operation as resolvers see it: ``info.context``."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from mlplatform.lib.cancellation import Cancellation
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.authentication import Caller
from tenants.deprecations.rules import Deprecation

L = TypeVar("L")


class Charged(Protocol):
    """What predictions answer with: ``inference.engine.predict.Answer``, seen from below."""

    @property
    def results(self) -> Sequence[Any]: ...

    @property
    def units(self) -> int: ...

    @property
    def decision(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class GraphQLCall:
    """Who asks, and what the operation gathers on its way.

    Either ``caller`` is set, or ``session_user_id``: a person signed in with a browser, who may look at the schema only.
    ``charged`` has the units that predictions charged by themselves, ``decisions`` the limits after them.
    """

    caller: Caller | None
    request_id: str
    session_user_id: int | None = None
    client: str = ""
    cache_control: str = ""
    timeout_s: float = 30.0
    cancellation: Cancellation | None = None
    loaders: dict[type, Any] = field(default_factory=dict)
    deprecations: list[Deprecation] = field(default_factory=list)
    charged: list[int] = field(default_factory=list)
    decisions: list[Any] = field(default_factory=list)
    call_ids: list[str] = field(default_factory=list)

    @property
    def irrevocable(self) -> bool:
        """Whether predictions were charged already, so that the operation must not begin anew."""
        return bool(self.charged)

    @property
    def key(self) -> Caller:
        """The caller. Raises UNAUTHENTICATED where there is only a browser's session."""
        if self.caller is None:
            raise PlatformError(
                ErrorKind.UNAUTHENTICATED, "Send your API key in the header 'Authorization: Bearer <API key>'."
            )
        return self.caller

    def loader(self, cls: type[L]) -> L:
        """The operation's one loader of this class, made with the call itself when it is first asked for."""
        if cls not in self.loaders:
            made: Any = cls
            self.loaders[cls] = made(self)
        return self.loaders[cls]  # type: ignore[no-any-return]

    def next_call_id(self) -> str:
        """The request id of the next call that the operation makes: the operation's own, then ``…:2``, ``…:3``."""
        number = len(self.call_ids) + 1
        made = self.request_id if number == 1 else f"{self.request_id[:120]}:{number}"
        self.call_ids.append(made)
        return made

    def note(self, answer: Charged) -> None:
        """Remember what predictions cost, the limits after them, and which model versions they pinned that end."""
        self.charged.append(answer.units)
        if answer.decision is not None:
            self.decisions.append(answer.decision)
        for result in answer.results:
            deprecation = getattr(result, "deprecation", None)
            if deprecation is not None and deprecation not in self.deprecations:
                self.deprecations.append(deprecation)
