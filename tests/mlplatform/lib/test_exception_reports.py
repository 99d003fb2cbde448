"""The settings on the page of an error under ``DEBUG`` show no password of a server."""

from django.test import RequestFactory
from django.views.debug import ExceptionReporter

from tests.support.redis_server import RedisServer


def test_an_error_page_shows_no_url_with_a_password(state_redis: RedisServer, cache_redis: RedisServer) -> None:
    # Some servers put the environment of the process beside the headers.
    request = RequestFactory().get("/")
    request.META["REDIS_URL"] = state_redis.url
    try:
        raise RuntimeError("something broke")
    except RuntimeError as error:
        reporter = ExceptionReporter(request, type(error), error, error.__traceback__)
    page = reporter.get_traceback_html() + reporter.get_traceback_text()
    assert "CELERY_BROKER_URL" in page
    assert "CACHE_REDIS_URL" in page
    for server in (state_redis, cache_redis):
        assert server.password not in page
