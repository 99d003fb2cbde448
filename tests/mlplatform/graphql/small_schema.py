"""A small schema whose every answer a test can tell, so that these tests depend on no field of the product's own.

``RAN`` tells which resolvers ran: a refused document must have run none.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import graphene
from graphene import relay

from inference.engine import predict as prediction
from inference.types import CallContext, PredictRequest
from mlplatform.lib.deferred import Loader, gather
from mlplatform.lib.errors import ErrorKind, PlatformError
from mlplatform.lib.graphql_cost import cost

RAN: list[str] = []
FETCHED: list[list[int]] = []


class NumbersLoader(Loader[int, str]):
    """Numbers as words: 13 has none, 99 takes the whole fetch down."""

    def fetch(self, keys: Sequence[int]) -> Mapping[int, str | Exception]:
        FETCHED.append(list(keys))
        if 99 in keys:
            raise RuntimeError("secret inside: 99")
        return {key: LookupError("13") if key == 13 else f"word {key}" for key in keys}


class Thing(graphene.ObjectType):
    number = graphene.Int(required=True)
    word = graphene.String()
    needed_word = graphene.String(required=True)
    next = graphene.Field(lambda: Thing)
    others = cost(
        graphene.List(graphene.NonNull(lambda: Thing), first=graphene.Int(default_value=2)), multiplier="first"
    )
    boom = graphene.String()
    needed_boom = graphene.String(required=True)

    @staticmethod
    def resolve_number(root: int, info: Any) -> int:
        RAN.append("number")
        return root

    @staticmethod
    def resolve_word(root: int, info: Any) -> Any:
        return info.context.loader(NumbersLoader).load(root)

    @staticmethod
    def resolve_needed_word(root: int, info: Any) -> Any:
        return info.context.loader(NumbersLoader).load(root).then(lambda word: word.upper())

    @staticmethod
    def resolve_next(root: int, info: Any) -> Any:
        return info.context.loader(NumbersLoader).load(root).then(lambda _: root + 1)

    @staticmethod
    def resolve_others(root: int, info: Any, first: int) -> Any:
        loader = info.context.loader(NumbersLoader)
        return gather([loader.load(root + step) for step in range(1, first + 1)]).then(
            lambda words: [root + 1 + index for index, _ in enumerate(words)]
        )

    @staticmethod
    def resolve_boom(root: int, info: Any) -> str:
        raise RuntimeError("secret inside: boom")

    @staticmethod
    def resolve_needed_boom(root: int, info: Any) -> str:
        raise PlatformError(ErrorKind.CONFLICT, "This thing is busy.", field="thing", extra={"busy_until": "noon"})


class ThingConnection(relay.Connection):
    class Meta:
        node = Thing


class Prediction(graphene.ObjectType):
    label = graphene.String()
    score = graphene.Float()


class ModelPrediction(graphene.ObjectType):
    predictions = graphene.List(graphene.NonNull(Prediction))
    units = graphene.Int()
    cached = graphene.Boolean()
    thing = graphene.Field(Thing)

    @staticmethod
    def resolve_thing(root: Any, info: Any) -> int:
        return 1


class PredictLoader(Loader[tuple[int, str, str], Any]):
    """All predictions of an operation in one admission."""

    def fetch(self, keys: Sequence[tuple[int, str, str]]) -> Mapping[tuple[int, str, str], Any]:
        call = self.call
        requests = [
            PredictRequest(model=model, input=text, field="inputData", call_id=call.next_call_id())
            for _, model, text in keys
        ]
        context = CallContext(
            request_id=call.request_id, operation="predict", api_version="graphql", timeout_s=call.timeout_s
        )
        answer = prediction.predict_each(call.key, requests, context)
        call.note(answer)
        return dict(zip(keys, answer.results, strict=True))


class Query(graphene.ObjectType):
    thing = graphene.Field(Thing, number=graphene.Int(required=True))
    things = cost(relay.ConnectionField(ThingConnection), multiplier="first", assumed=10, scope="usage:read")
    dear = cost(graphene.String(), complexity=100)
    hello = graphene.String(name=graphene.String(), names=graphene.List(graphene.String))
    predict = cost(
        graphene.Field(ModelPrediction, model=graphene.String(), input_data=graphene.String(required=True)),
        predicts=lambda arguments: [("predict", [arguments.get("model") or ""])],
    )

    @staticmethod
    def resolve_thing(root: None, info: Any, number: int) -> int:
        RAN.append("thing")
        if number == 404:
            raise PlatformError(ErrorKind.NOT_FOUND, "There is no thing 404.")
        return number

    @staticmethod
    def resolve_things(root: None, info: Any, first: int | None = None, **page: Any) -> list[int]:
        RAN.append("things")
        return list(range(1, 4))[:first]

    @staticmethod
    def resolve_dear(root: None, info: Any) -> str:
        RAN.append("dear")
        return "dear"

    @staticmethod
    def resolve_hello(root: None, info: Any, name: str = "you", names: Sequence[str] = ()) -> str:
        RAN.append("hello")
        return f"Hello {', '.join(names) or name}"

    @staticmethod
    def resolve_predict(root: None, info: Any, input_data: str, model: str = "") -> Any:
        RAN.append("predict")
        loader = info.context.loader(PredictLoader)
        return loader.load((len(RAN), model, input_data))


class Rename(graphene.Mutation):
    class Arguments:
        name = graphene.String(required=True)

    name = graphene.String()

    @staticmethod
    def mutate(root: None, info: Any, name: str) -> "Rename":
        RAN.append("rename")
        return Rename(name=name)


class Mutation(graphene.ObjectType):
    rename = Rename.Field()


schema = graphene.Schema(query=Query, mutation=Mutation)
