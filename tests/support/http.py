"""Calls of a real web process over TCP, one connection a call, and a load of many clients."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

_TIMEOUT_S = 60.0
NO_ANSWER = 0


@dataclass(frozen=True)
class Answer:
    """One answer. ``status`` is 0 when the connection was refused or broke; ``took_s`` is what the client waited."""

    status: int
    headers: Mapping[str, str]
    body: Any
    text: str
    took_s: float
    began_at: float

    @property
    def may_be_repeated(self) -> bool:
        """A 503 as the product promises it: a problem that says when to try again."""
        return (
            self.status == 503
            and self.headers.get("content-type") == "application/problem+json"
            and int(self.headers.get("retry-after", 0)) >= 1
        )


class Http:
    """One web process."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str, **headers: str) -> Answer:
        return self.call("GET", path, headers=headers)

    def predict(self, secret: str, text: str, *, model: str = "sentiment", timeout_s: float | None = None) -> Answer:
        """``POST /v2/predict`` with a key; ``timeout_s`` is what the call says of its own deadline, if it says any."""
        deadline = {} if timeout_s is None else {"X-Request-Timeout": f"{timeout_s:g}"}
        return self._post("/v2/predict", secret, {"model": model, "input": text}, **deadline)

    def batch_predict(self, secret: str, requests: Sequence[Mapping[str, Any]]) -> Answer:
        """``POST /v2/batch-predict`` with a key."""
        return self._post("/v2/batch-predict", secret, {"requests": list(requests)})

    def _post(self, path: str, secret: str, body: Mapping[str, Any], **more: str) -> Answer:
        headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json", **more}
        return self.call("POST", path, body=json.dumps(body).encode(), headers=headers)

    def call(self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """Any call; a connection that fails is an answer with status 0 and the reason as its text."""
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_TIMEOUT_S)
        try:
            connection.request(method, path, body=body or None, headers={"Connection": "close", **(headers or {})})
            response = connection.getresponse()
            raw = response.read()
        except (OSError, http.client.HTTPException) as error:
            return Answer(NO_ANSWER, {}, None, repr(error), time.monotonic() - began, began)
        finally:
            connection.close()
        found = {name.lower(): value for name, value in response.getheaders()}
        text = raw.decode(errors="replace")
        is_json = "json" in found.get("content-type", "")
        return Answer(
            response.status, found, json.loads(text) if is_json else None, text, time.monotonic() - began, began
        )


@dataclass
class Load:
    """Clients that call without a pause, each time with a new text; ``answers`` by text. ``timeout_s`` is the deadline that
    each call states, if any."""

    webs: Sequence[Http]
    secret: str
    clients: int = 16
    about: str = "load"
    timeout_s: float | None = None
    answers: dict[str, Answer] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _numbers: Any = field(default_factory=itertools.count)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        for number in range(self.clients):
            web = self.webs[number % len(self.webs)]
            thread = threading.Thread(target=self._run, args=(web,), name=f"client-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Send nothing more and wait for what is under way."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def statuses(self) -> Counter[int]:
        return Counter(answer.status for answer in list(self.answers.values()))

    def since(self, moment: float) -> list[Answer]:
        """Answers of the calls that began after a moment of the monotonic clock."""
        return [answer for answer in list(self.answers.values()) if answer.began_at >= moment]

    def _run(self, web: Http) -> None:
        while not self._stop.is_set():
            number = next(self._numbers)
            mood = ("I love it", "this is awful", "a wonderful day", "never again")[number % 4]
            text = f"{self.about} {number}: {mood}"
            answer = self.answers[text] = web.predict(self.secret, text, timeout_s=self.timeout_s)
            if answer.status != 200:
                self._stop.wait(0.1)  # As a client that heeds Retry-After, only in more of a hurry.
