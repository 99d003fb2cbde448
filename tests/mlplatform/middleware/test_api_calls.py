"""What every API answer gets: a count and a metric, whatever the answer is; CORS only where it is switched on."""

import pytest
from django.http import HttpResponse
from django.test import Client, RequestFactory, override_settings
from prometheus_client import REGISTRY

from mlplatform.lib import redis, tally
from mlplatform.middleware.api_calls import ApiCallsMiddleware
from mlplatform.middleware.content_security import ContentSecurityMiddleware
from mlplatform.observability import traffic

pytestmark = pytest.mark.django_db


def counted() -> int:
    traffic.gather()
    return traffic.today().total.requests


def answers(operation: str, status: int) -> float:
    labels = {"operation": operation, "status": str(status)}
    tally.flush()
    return REGISTRY.get_sample_value("mlplatform_api_answers_total", labels) or 0.0


@pytest.mark.parametrize(("path", "status"), [("/v2/me", 401), ("/v2/models/a/b/c/d", 404), ("/predict/nothing", 404)])
def test_every_answer_is_counted_even_where_nothing_is(path: str, status: int) -> None:
    operation = path.removeprefix("/v2").split("/")[1]
    traffic.gather()
    redis.state().flushall()
    before = answers(operation, status)
    response = Client(raise_request_exception=False).get(path)
    assert response.status_code == status
    assert response.headers["X-Request-Id"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert answers(operation, status) == before + 1
    assert counted() == 1


def test_a_mistake_of_ours_is_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    traffic.gather()
    redis.state().flushall()

    def explode(request: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("tenants.http.authentication.secret_of", explode)
    response = Client(raise_request_exception=False).get("/v2/me")
    assert response.status_code == 500
    traffic.gather()
    assert traffic.today().total.failed == 1


def test_pages_of_people_are_left_alone() -> None:
    middleware = ApiCallsMiddleware(lambda request: HttpResponse("page"))
    response = middleware(RequestFactory().get("/admin/models/"))
    assert response.content == b"page"
    assert "X-Content-Type-Options" not in response.headers


def test_cors_is_off_unless_an_origin_is_named() -> None:
    headers = {"origin": "https://app.example", "access-control-request-method": "POST"}
    assert "Access-Control-Allow-Origin" not in Client().options("/v2/predict", headers=headers).headers
    with override_settings(CORS_ALLOWED_ORIGINS=["https://app.example"]):
        client = Client()
        preflight = client.options("/v2/predict", headers=headers)
        assert (preflight.status_code, preflight.headers["Access-Control-Allow-Origin"]) == (204, "https://app.example")
        stranger = client.options("/v2/predict", headers=headers | {"origin": "https://evil.example"})
        assert "Access-Control-Allow-Origin" not in stranger.headers
        answer = client.get("/v2/me", headers={"origin": "https://app.example"})
        assert answer.status_code == 401
        assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert "Origin" in answer.headers["Vary"]


def test_pages_load_nothing_from_elsewhere() -> None:
    middleware = ContentSecurityMiddleware(lambda request: HttpResponse("<p>"))
    strict = middleware(RequestFactory().get("/portal/")).headers["Content-Security-Policy"]
    admin = middleware(RequestFactory().get("/admin/")).headers["Content-Security-Policy"]
    assert "unsafe-eval" not in strict
    assert "unsafe-eval" in admin
    for policy in (strict, admin):
        assert "default-src 'self'" in policy
        assert "http" not in policy
    json = ContentSecurityMiddleware(lambda request: HttpResponse("{}", content_type="application/json"))
    assert "Content-Security-Policy" not in json(RequestFactory().get("/x")).headers
