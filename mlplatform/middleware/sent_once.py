"""A form takes effect once, however often the browser sends it: a double click, a reload, a retry over a bad line.

Django writes a fresh ``csrfmiddlewaretoken`` into every page that it renders, so a POST with the same token and the same
fields is the same form again. The second one does nothing: it waits for the first and gives its redirect, with the
cookies that the browser missed when it gave the first answer up. Back, another name, Save has other fields, so it is a
form of its own; so is one whose first try was answered with a page (a mistake in a field) and no redirect.

While the state Redis is away forms take effect unguarded: staff must be able to suspend a tenant then.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from prometheus_client import Counter

from mlplatform.lib import redis, sealed
from mlplatform.middleware.audit_context import PEOPLES_PAGES

logger = logging.getLogger(__name__)

PATIENCE_S: Final = 10.0
"""How long the same form again waits for the first answer."""

UNGUARDED: Final = Counter("mlplatform_forms_unguarded_total", "Forms that were sent while nothing could be compared.")

_GROUP: Final = "sent-once"
_TOKEN: Final = "csrfmiddlewaretoken"  # noqa: S105 - a field's name
_KEPT_S: Final = 600
_PAUSE_S: Final = 0.05
_CLAIM: Final = b"-"
_CLAIMED_AS: Final = "_sent_once_name"


class SentOnceMiddleware:
    """Stands before the middleware of messages, whose cookie belongs to an answer, and behind the one of bodies."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        name: str | None = getattr(request, _CLAIMED_AS, None)
        if name is not None:
            _note(request, response, name)
        return response

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        """Runs after Django has compared the token with the browser's cookie."""
        if not _is_guarded(request):
            return None
        name = sealed.name(_fingerprint(request), group=_GROUP)
        try:
            return _claimed_or_answered(request, name)
        except redis.FAILURES as error:
            UNGUARDED.inc()
            logger.warning("a form is not guarded against being sent twice: %s", error)
            return None


def _is_guarded(request: HttpRequest) -> bool:
    if request.method != "POST" or not request.path_info.startswith(PEOPLES_PAGES):
        return False
    return request.user.is_authenticated and bool(request.POST.get(_TOKEN))


def _fingerprint(request: HttpRequest) -> str:
    files = [(field, file.name, file.size) for field in sorted(request.FILES) for file in request.FILES.getlist(field)]
    parts = [request.get_full_path(), str(request.user.pk), request.POST.urlencode(), repr(files)]
    return hashlib.sha256("\x00".join(parts).encode(errors="surrogatepass")).hexdigest()


def _claimed_or_answered(request: HttpRequest, name: str) -> HttpResponse | None:
    """None when this request is the first and shall go on; else the answer of the one that was."""
    client = redis.state()
    give_up_at = time.monotonic() + PATIENCE_S
    while not client.set(name, _CLAIM, nx=True, ex=_KEPT_S):
        found = client.get(name)
        if found is not None and redis.as_bytes(found) != _CLAIM:
            return _again(request, redis.as_bytes(found))
        if time.monotonic() > give_up_at:
            messages.warning(
                request, "This form was sent before and is still being worked on. Look before you send it anew."
            )
            return HttpResponse(status=303, headers={"Location": request.get_full_path()})
        time.sleep(_PAUSE_S)
    setattr(request, _CLAIMED_AS, name)
    return None


def _note(request: HttpRequest, response: HttpResponse, name: str) -> None:
    """Keep a redirect for the same form again; after any other answer the form may be sent again."""
    try:
        if response.status_code not in {302, 303}:
            redis.state().delete(name)
            return
        cookies = [morsel.OutputString() for morsel in response.cookies.values()]
        answer = json.dumps({"location": response.headers["Location"], "cookies": cookies})
        # The cookies may open what the answer did not say: they are kept for the browser that has the token.
        redis.state().set(name, sealed.seal(answer.encode(), secret=request.POST[_TOKEN]), ex=_KEPT_S)
    except redis.FAILURES as error:
        logger.warning("the answer to a form is not kept: %s", error)


def _again(request: HttpRequest, kept: bytes) -> HttpResponse:
    text = sealed.unseal(kept, secret=request.POST[_TOKEN])
    answer = json.loads(text) if text else {"location": request.get_full_path(), "cookies": []}
    response = HttpResponse(status=303, headers={"Location": answer["location"]})
    for cookie in answer["cookies"]:
        response.cookies.load(cookie)
    return response
