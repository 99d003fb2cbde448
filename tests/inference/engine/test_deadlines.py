"""How long a call waits, as its headers say: ``X-Request-Timeout`` and ``Prefer: wait``."""

import pytest
from pytest_django import Settings

from inference.calls import context
from mlplatform.lib.errors import ErrorKind, PlatformError
from tests.conftest import Customer
from tests.support import ledger
from tests.support.rest import Api
from tests.support.tiny_model import TinyWorker, make_version

pytestmark = pytest.mark.usefixtures("prices")


@pytest.mark.parametrize(
    ("timeout", "prefer", "seconds"),
    [
        ("", "", 30.0),
        ("2.5", "", 2.5),
        ("0.001", "", 0.001),
        ("999", "", 30.0),
        ("", "wait=4", 4.0),
        ("", "respond-async, wait = 10", 10.0),
        ("", 'handling=lenient; x=1, WAIT="7"', 7.0),
        ("3", "wait=4", 3.0),
        ("5", "wait=4", 4.0),
        ("", "wait=99999", 30.0),
        ("", "wait=0", 30.0),
        ("", "wait=-1, wait=soon", 30.0),
        ("", "await=2", 30.0),
    ],
)
def test_the_least_of_what_is_said_counts(timeout: str, prefer: str, seconds: float, settings: Settings) -> None:
    settings.PREDICT_TIMEOUT_S = 30.0
    assert context.timeout_s(timeout, prefer) == seconds


@pytest.mark.parametrize("timeout", ["0", "0.0", "-1", "soon", "1e3", "nan", "inf", "1,5", "٣", "1234567"])
def test_a_timeout_that_is_none_is_refused(timeout: str) -> None:
    with pytest.raises(PlatformError) as caught:
        context.timeout_s(timeout, "")
    assert (caught.value.kind, caught.value.field) == (ErrorKind.MALFORMED, "X-Request-Timeout")


def test_a_call_gives_up_when_it_said_so(acme: Customer, tiny_worker: TinyWorker) -> None:
    tiny_worker.serve(make_version())
    tiny_worker.go.clear()
    answer = Api(acme).post("/v2/predict", {"model": "tiny", "input": "hello"}, headers={"X-Request-Timeout": "0.2"})
    assert answer.status == 503
    assert answer.body["type"].endswith("temporary-reduced-capacity")
    assert answer.headers["Retry-After"]
    ledger.assert_untouched(acme)


def test_a_bad_timeout_costs_nothing(acme: Customer, tiny_worker: TinyWorker) -> None:
    tiny_worker.serve(make_version())
    answer = Api(acme).post("/v2/predict", {"model": "tiny", "input": "hello"}, headers={"X-Request-Timeout": "soon"})
    assert answer.status == 400
    assert answer.body["field"] == "X-Request-Timeout"
    assert tiny_worker.batches == []
    ledger.assert_untouched(acme)
