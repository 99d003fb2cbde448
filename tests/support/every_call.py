"""One good call with a body for each HTTP address that takes one, for what must hold on every face."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.support import packages
from tests.support.rest import Answer, Api

BOUNDARY = "limit-of-parts"
DIGIT = [[(row * column) % 17 for column in range(8)] for row in range(8)]


@dataclass(frozen=True)
class Call:
    """``status`` is that of the answer. ``problem`` reads the words of a refusal in the shape of the face."""

    path: str
    content: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200
    problem: Callable[[Any], str] = lambda body: str(body["detail"])
    once: bool = False
    """Whether the same call cannot succeed twice."""

    def send(
        self, api: Api, *, content: bytes | None = None, chunked: bool = False, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send it, or other content in its place."""
        return api.call(
            "POST",
            self.path,
            content=self.content if content is None else content,
            content_type=self.content_type,
            headers=self.headers | dict(headers or {}),
            chunked=chunked,
        )


def form(*parts: tuple[str, str, bytes]) -> bytes:
    """A form with parts of name, file name (empty for a text) and content."""
    pieces = []
    for name, file, content in parts:
        disposition = f'form-data; name="{name}"' + (f'; filename="{file}"' if file else "")
        pieces.append(f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + content + b"\r\n")
    return b"".join(pieces) + f"--{BOUNDARY}--\r\n".encode()


FORM = f"multipart/form-data; boundary={BOUNDARY}"


def _json(body: Any) -> bytes:
    return json.dumps(body).encode()


def _oip(body: Any) -> str:
    return str(body["error"])


def _openai(body: Any) -> str:
    return str(body["error"]["message"])


def _graphql(body: Any) -> str:
    return str(body["errors"][0]["message"])


def _binary() -> Call:
    tensor = np.array([DIGIT], dtype="<f4")
    head = _json(
        {
            "inputs": [
                {
                    "name": "input",
                    "datatype": "FP32",
                    "shape": list(tensor.shape),
                    "parameters": {"binary_data_size": tensor.nbytes},
                }
            ]
        }
    )
    length = {"inference-header-content-length": str(len(head))}
    return Call(
        "/oip/v2/models/digits/infer", head + tensor.tobytes(), "application/octet-stream", length, problem=_oip
    )


_BROWSER = {"origin": "https://app.example"}
"""Calls with it go through Django, predictions too."""
_ONE = {"input": "What a wonderful morning!"}
_QUERY = '{ predict(model: "sentiment", inputData: "What a wonderful morning!") { units } }'

CALLS = {
    "v1": Call("/v1/predict", _json({"input": "A wonderful morning", "model": "sentiment"})),
    "v1.1": Call("/v1.1/predict", _json({"input": "A wonderful morning", "model": "sentiment"})),
    "v2": Call("/v2/predict", _json({"model": "sentiment", **_ONE})),
    "v2 form": Call("/v2/predict", form(("model", "", b"sentiment"), ("input", "", b"A wonderful morning")), FORM),
    "v2 from a browser": Call("/v2/predict", _json({"model": "sentiment", **_ONE}), headers=_BROWSER),
    "v2 form from a browser": Call(
        "/v2/predict", form(("model", "", b"sentiment"), ("input", "", b"A wonderful morning")), FORM, _BROWSER
    ),
    "batch from a browser": Call(
        "/v2/batch-predict", _json({"requests": [{"model": "sentiment", **_ONE}]}), headers=_BROWSER
    ),
    "v2 model": Call("/v2/models/sentiment/predict", _json(_ONE)),
    "batch": Call("/v2/batch-predict", _json({"requests": [{"model": "sentiment", **_ONE}]})),
    "users": Call("/v2/users", _json({"users": [{"external_id": "u1", "name": "Ada"}]})),
    "items": Call("/v2/items", _json({"items": [{"external_id": "i1", "title": "A lamp"}]})),
    "graphql": Call("/graphql", _json({"query": _QUERY}), problem=_graphql),
    "oip": Call(
        "/oip/v2/models/sentiment/infer",
        _json({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["A wonderful morning"]}]}),
        problem=_oip,
    ),
    "oip binary": _binary(),
    "openai": Call("/openai/v1/embeddings", _json({"model": "minilm", "input": "A lamp"}), problem=_openai),
    "push": Call("/v2/models/shapes/versions", packages.zipped(), "application/zip", status=201, once=True),
    "push form": Call(
        "/v2/models/shapes/versions", form(("package", "shapes.zip", packages.zipped())), FORM, status=201, once=True
    ),
}
"""By a short name; for a customer with every scope, the demo models and a folder for pushed ones."""
