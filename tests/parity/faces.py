"""Six ways to ask for the same prediction, and what each says, in one form that tests can compare."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import numpy as np

from inference.grpc.generated import ml_inference_pb2 as pb
from inference.grpc.generated import open_inference_pb2 as oip_pb
from inference.grpc.generated import open_inference_pb2_grpc as oip_pb_grpc
from inference.oip import problems as oip_problems
from mlplatform.lib.errors import ErrorKind
from tenants.http import problems
from tests.support.grpc import Grpc, Problem, text_metadata
from tests.support.rest import Answer, Api

Labels = Sequence[tuple[str, float]]


@dataclass(frozen=True)
class Ask:
    """One call: text or a nested list of numbers for each row; one row is a prediction, several are a batch."""

    model: str
    rows: tuple[Any, ...]
    top_k: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    truncate: bool = False

    @property
    def row(self) -> Any:
        (row,) = self.rows
        return row


@dataclass(frozen=True)
class Row:
    """What is said of one row: labels best first, or a vector, or the kind of its problem and its field. ``cut`` tells of a
    text that was cut: its tokens, and how many of them were read."""

    labels: Labels | None = None
    vector: Sequence[float] | None = None
    kind: ErrorKind | None = None
    cut: tuple[int, int] | None = None
    field: str = ""


@dataclass(frozen=True)
class Said:
    """What a face says. What its protocol has no word for is None. ``headers`` are HTTP's, or metadata; lower-case."""

    rows: tuple[Row, ...] = ()
    kind: ErrorKind | None = None
    kinds: frozenset[ErrorKind] = frozenset()
    """Where the wire cannot tell kinds apart: those that it may be."""
    model: str | None = None
    version: str | None = None
    units: int | None = None
    cached: bool | None = None
    detail: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def is_refused_as(self, kind: ErrorKind) -> bool:
        return self.kind is kind or (self.kind is None and kind in self.kinds)


Face = Callable[[str, Ask], Said]
"""``face(secret, ask)``; an empty secret sends none."""

_TITLES: Final = {wire.title: kind for kind, wire in problems.TABLE.items()}


def lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


# --- REST ---------------------------------------------------------------------------------------------------------------


def rest_v1(secret: str, ask: Ask) -> Said:
    answer = Api(secret=secret).post("/v1/predict", {"model": ask.model, "input": ask.row}, headers=dict(ask.headers))
    if answer.status != 200:
        return _problem(answer)
    cut = cut_by_row(answer.headers.get("X-Input-Truncated", "")).get(0)
    row = Row(labels=[(answer.body["prediction"], answer.body["confidence"])], cut=cut)
    return Said(rows=(row,), version=answer.body.get("model_version"), headers=lower(answer.headers))


def rest_v2(secret: str, ask: Ask) -> Said:
    wanted = ({} if ask.top_k is None else {"top_k": ask.top_k}) | ({"truncate": True} if ask.truncate else {})
    parameters = {"parameters": wanted} if wanted else {}
    requests = [{"model": ask.model, "input": row, **parameters} for row in ask.rows]
    if len(requests) == 1:
        answer = Api(secret=secret).post("/v2/predict", requests[0], headers=dict(ask.headers))
        bodies = [answer.body]
    else:
        answer = Api(secret=secret).post("/v2/batch-predict", {"requests": requests}, headers=dict(ask.headers))
        bodies = (answer.body or {}).get("responses", [])
    if answer.status != 200:
        return _problem(answer)
    good: Mapping[str, Any] = next((body for body in bodies if "title" not in body), {})
    return Said(
        rows=tuple(_rest_row(body) for body in bodies),
        model=good.get("model"),
        version=good.get("model_version"),
        units=answer.body["usage"]["units"],
        cached=good.get("cached"),
        headers=lower(answer.headers),
    )


def _rest_row(body: Mapping[str, Any]) -> Row:
    if "title" in body:
        return Row(kind=_TITLES[body["title"]], field=body.get("field", ""))
    cut = (body["truncated"]["tokens"], body["truncated"]["max_tokens"]) if "truncated" in body else None
    if "embedding" in body:
        return Row(vector=body["embedding"], cut=cut)
    return Row(labels=[(each["label"], each["score"]) for each in body["predictions"]], cut=cut)


def cut_by_row(told: str) -> dict[int, tuple[int, int]]:
    """What ``0;tokens=612;max_tokens=256, 3;…`` tells of each row."""
    found = {}
    for member in filter(None, told.split(", ")):
        row, tokens, most = member.split(";")
        found[int(row)] = (int(tokens.removeprefix("tokens=")), int(most.removeprefix("max_tokens=")))
    return found


def _problem(answer: Answer) -> Said:
    return Said(kind=_TITLES[answer.body["title"]], detail=answer.body["detail"], headers=lower(answer.headers))


# --- GraphQL ------------------------------------------------------------------------------------------------------------

_FIELDS: Final = (
    "model { name version } predictions { label score } embedding cached units truncated { tokens maxTokens }"
)
_PREDICT: Final = (
    "query ($model: String, $input: PredictionInput!, $topK: Int, $truncate: Boolean) "
    f"{{ predict(model: $model, input: $input, topK: $topK, truncate: $truncate) {{ {_FIELDS} }} }}"
)
_BATCH: Final = (
    "query ($models: [String!]!, $inputs: [String!]!, $truncate: Boolean) "
    f"{{ batchPredict(models: $models, inputs: $inputs, truncate: $truncate) {{ {_FIELDS} error {{ code field }} }} }}"
)


def graphql(secret: str, ask: Ask) -> Said:
    variables: dict[str, Any] = {"truncate": True} if ask.truncate else {}
    if len(ask.rows) == 1:
        variables |= {"model": ask.model or None, "input": _graphql_input(ask.row), "topK": ask.top_k}
        answer = _post_graphql(secret, _PREDICT, variables, ask)
    else:
        variables |= {"models": [ask.model], "inputs": list(ask.rows)}
        answer = _post_graphql(secret, _BATCH, variables, ask)
    headers = lower(answer.headers)
    data = (answer.body or {}).get("data") or {}
    found = [data["predict"]] if data.get("predict") else [each[0] for each in data.get("batchPredict") or ()]
    if not found:
        error = answer.body["errors"][0]
        return Said(kind=ErrorKind[error["extensions"]["code"]], detail=error["message"], headers=headers)
    good: Mapping[str, Any] = next((each for each in found if not each.get("error")), {})
    cost = answer.body["extensions"]["cost"]
    return Said(
        rows=tuple(_graphql_row(each) for each in found),
        model=good.get("model", {}).get("name"),
        version=good.get("model", {}).get("version"),
        units=cost["actual"],
        cached=good.get("cached"),
        headers=headers,
    )


def _post_graphql(secret: str, query: str, variables: Mapping[str, Any], ask: Ask) -> Answer:
    return Api(secret=secret).post("/graphql", {"query": query, "variables": variables}, headers=dict(ask.headers))


def _graphql_input(row: Any) -> dict[str, Any]:
    if isinstance(row, str):
        return {"text": row}
    return {"tensor": {"shape": _shape(row), "values": _flat(row)}}


def _graphql_row(found: Mapping[str, Any]) -> Row:
    if found.get("error"):
        return Row(kind=ErrorKind[found["error"]["code"]], field=found["error"]["field"] or "")
    cut = (found["truncated"]["tokens"], found["truncated"]["maxTokens"]) if found.get("truncated") else None
    if found.get("embedding"):
        return Row(vector=found["embedding"], cut=cut)
    return Row(labels=[(each["label"], each["score"]) for each in found["predictions"]], cut=cut)


# --- gRPC ---------------------------------------------------------------------------------------------------------------


def grpc_of(target: str) -> Face:
    def ask_grpc(secret: str, ask: Ask) -> Said:
        requests = [_request(ask, row) for row in ask.rows]
        with Grpc(target, secret=secret) as client:
            if len(requests) == 1:
                said, answer = _call(client, client.stub.Predict, requests[0], ask)
            else:
                said, answer = _call(client, client.stub.BatchPredict, pb.BatchPredictRequest(requests=requests), ask)
        if answer is None:
            return said
        answers = [answer] if len(requests) == 1 else answer.responses
        good = next((each for each in answers if not each.HasField("status")), pb.PredictResponse())
        return Said(
            rows=tuple(_grpc_row(each) for each in answers),
            model=good.model_name,
            version=good.model_version,
            units=answer.units,
            cached=good.cached,
            headers=said.headers,
        )

    return ask_grpc


def grpc_stream_of(target: str) -> Face:
    """A stream of one input; what its end says of limits and versions counts as headers."""

    def ask_stream(secret: str, ask: Ask) -> Said:
        headers = tuple((name.lower(), value) for name, value in ask.headers.items())
        with Grpc(target, secret=secret) as client:
            try:
                call = client.stream(iter([_request(ask, ask.row)]), headers=headers)
                (answer,) = list(call)
            except grpc.RpcError as error:
                problem = Problem(error)
                return Said(kind=ErrorKind[problem.reason], detail=problem.message, headers=problem.trailers)
            said = text_metadata(call.initial_metadata()) | text_metadata(call.trailing_metadata())
        if answer.HasField("status"):
            status = answer.status
            if status.retry_after_s:
                said["retry-after"] = str(math.ceil(status.retry_after_s))
            return Said(kind=ErrorKind[status.reason], detail=status.message, headers=said)
        return Said(
            rows=(_grpc_row(answer),),
            model=answer.model_name,
            version=answer.model_version,
            units=answer.units,
            cached=answer.cached,
            headers=said,
        )

    return ask_stream


def _request(ask: Ask, row: Any) -> pb.PredictRequest:
    made = pb.PredictRequest(model_name=ask.model, truncate=ask.truncate)
    if ask.top_k is not None:
        made.top_k = ask.top_k
    if isinstance(row, str):
        made.text = row
    else:
        made.features.extend(np.array(_flat(row), dtype=np.float64).astype(np.float32))
    return made


def _grpc_row(answer: pb.PredictResponse) -> Row:
    if answer.HasField("status"):
        return Row(kind=ErrorKind[answer.status.reason], field=answer.status.field)
    cut = (answer.truncated.tokens, answer.truncated.max_tokens) if answer.HasField("truncated") else None
    if answer.embedding:
        return Row(vector=list(answer.embedding), cut=cut)
    return Row(labels=[(each.label, each.score) for each in answer.predictions], cut=cut)


def _call(client: Grpc, method: Any, request: Any, ask: Ask) -> tuple[Said, Any]:
    metadata = tuple((name.lower(), value) for name, value in ask.headers.items())
    try:
        answered = client.call(method, request, headers=metadata, timeout=30)
    except Problem as problem:
        return Said(kind=ErrorKind[problem.reason], detail=problem.message, headers=problem.trailers), None
    return Said(headers=answered.headers), answered.message


# --- Open Inference Protocol --------------------------------------------------------------------------------------------


def oip_http(secret: str, ask: Ask) -> Said:
    name, _, version = ask.model.partition("@")
    path = f"/oip/v2/models/{name}{f'/versions/{version}' if version else ''}/infer"
    text = isinstance(ask.rows[0], str)
    tensor = {
        "name": "text" if text else "input",
        "datatype": "BYTES" if text else "FP32",
        "shape": [len(ask.rows), *([] if text else _shape(ask.rows[0]))],
        "data": list(ask.rows) if text else [number for row in ask.rows for number in _flat(row)],
    }
    body: dict[str, Any] = {"inputs": [tensor]}
    body["parameters"] = {"top_k": ask.top_k, "truncate": ask.truncate or None}
    answer = Api(secret=secret).post(path, body, headers=dict(ask.headers))
    headers = lower(answer.headers)
    if answer.status != 200:
        assert set(answer.body) == {"error"}
        kinds = frozenset(kind for kind, status in oip_problems.TABLE.items() if status == answer.status)
        return Said(kinds=kinds, detail=answer.body["error"], headers=headers)
    outputs = {each["name"]: (each["shape"], each["data"]) for each in answer.body["outputs"]}
    return Said(
        rows=_oip_rows(outputs, answer.body["parameters"].get("truncated", "")),
        model=answer.body["model_name"],
        version=answer.body["model_version"],
        headers=headers,
        **_oip_parameters(answer.body.get("parameters", {})),
    )


def oip_grpc_of(target: str) -> Face:
    def ask_oip(secret: str, ask: Ask) -> Said:
        name, _, version = ask.model.partition("@")
        request = oip_pb.ModelInferRequest(model_name=name, model_version=version)
        if ask.top_k is not None:
            request.parameters["top_k"].int64_param = ask.top_k
        if ask.truncate:
            request.parameters["truncate"].bool_param = True
        tensor = request.inputs.add(name="text" if isinstance(ask.rows[0], str) else "input")
        if isinstance(ask.rows[0], str):
            tensor.datatype = "BYTES"
            tensor.shape.extend([len(ask.rows)])
            tensor.contents.bytes_contents.extend(row.encode() for row in ask.rows)
        else:
            tensor.datatype = "FP32"
            tensor.shape.extend([len(ask.rows), *_shape(ask.rows[0])])
            numbers = np.array([_flat(row) for row in ask.rows], dtype=np.float64).astype("<f4")
            request.raw_input_contents.append(numbers.tobytes())
        with Grpc(target, secret=secret) as client:
            stub: Any = oip_pb_grpc.GRPCInferenceServiceStub(client.channel)
            said, answer = _call(client, stub.ModelInfer, request, ask)
        if answer is None:
            return said
        outputs = {
            each.name: (list(each.shape), _raw(each.datatype, raw))
            for each, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
        }
        parameters = {key: value.int64_param or value.bool_param for key, value in answer.parameters.items()}
        return Said(
            rows=_oip_rows(
                outputs, answer.parameters["truncated"].string_param if "truncated" in answer.parameters else ""
            ),
            model=answer.model_name,
            version=answer.model_version,
            headers=said.headers,
            **_oip_parameters(parameters),
        )

    return ask_oip


def _raw(datatype: str, raw: bytes) -> list[Any]:
    if datatype == "FP32":
        return np.frombuffer(raw, "<f4").tolist()  # type: ignore[no-any-return]
    found, at = [], 0
    while at < len(raw):
        length = int.from_bytes(raw[at : at + 4], "little")
        found.append(raw[at + 4 : at + 4 + length].decode())
        at += 4 + length
    return found


def _oip_rows(outputs: Mapping[str, tuple[Sequence[int], Sequence[Any]]], truncated: str) -> tuple[Row, ...]:
    cut = cut_by_row(truncated)
    if "embedding" in outputs:
        (rows, columns), data = outputs["embedding"]
        return tuple(Row(vector=data[row * columns : (row + 1) * columns], cut=cut.get(row)) for row in range(rows))
    (rows, columns), labels = outputs["labels"]
    scores = outputs["scores"][1]
    pairs = list(zip(labels, scores, strict=True))
    return tuple(Row(labels=pairs[row * columns : (row + 1) * columns], cut=cut.get(row)) for row in range(rows))


def _oip_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: parameters[name] for name in ("units", "cached") if name in parameters}


# --- Numbers ------------------------------------------------------------------------------------------------------------


def _shape(row: Any) -> list[int]:
    return [len(row), *_shape(row[0])] if isinstance(row, list) and row else []


def _flat(row: Any) -> list[float]:
    return [number for each in row for number in _flat(each)] if isinstance(row, list) else [row]
