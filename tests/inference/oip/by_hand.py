"""Calls of the HTTP face by hand, and how they are refused."""

from typing import Any

from tests.support.rest import Answer

INFER = "/oip/v2/models/tiny/infer"


def call(*texts: Any, **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": list(texts)}], **more}


def assert_refused(answer: Answer, status: int, *words: str) -> None:
    assert answer.status == status, answer.content
    assert list(answer.body) == ["error"]
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Request-Id"]
    for word in words:
        assert word in answer.body["error"], answer.body["error"]
