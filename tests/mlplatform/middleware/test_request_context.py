"""Request ids and traces: the caller's if sane, else fresh; on every answer and every log line."""

import logging
import re

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from mlplatform.middleware.request_context import RequestContextMiddleware, RequestIdFilter, child_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def answer(**headers: str) -> HttpResponse:
    middleware = RequestContextMiddleware(lambda request: HttpResponse(getattr(request, "request_id", "")))
    return middleware(RequestFactory().get("/", headers=headers))


def test_a_sane_id_is_kept_and_any_other_replaced() -> None:
    kept = answer(**{"X-Request-Id": "mine-1"})
    assert kept.headers["X-Request-Id"] == kept.content.decode() == "mine-1"
    made = answer(**{"X-Request-Id": "not mine"}).headers["X-Request-Id"]
    assert re.fullmatch("[0-9a-f]{32}", made)
    assert answer().headers["X-Request-Id"] != made


def test_every_log_line_has_the_id_of_its_request() -> None:
    answer(**{"X-Request-Id": "logged-1"})
    record = logging.LogRecord("x", logging.INFO, __file__, 1, "hello", None, None)
    assert RequestIdFilter().filter(record)
    assert record.request_id == "logged-1"  # type: ignore[attr-defined]


def test_a_trace_goes_on_with_a_span_of_our_own() -> None:
    offered = f"00-{TRACE}-{SPAN}-01"
    version, trace, span, flags = answer(traceparent=offered).headers["traceparent"].split("-")
    assert (version, trace, flags) == ("00", TRACE, "01")
    assert span != SPAN


@pytest.mark.parametrize(
    "broken",
    [
        None,
        "",
        "x",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"ff-{TRACE}-{SPAN}-01",
    ],
)
def test_a_broken_trace_is_replaced_by_a_new_one(broken: str | None) -> None:
    made = child_traceparent(broken)
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", made)
    assert TRACE not in made
