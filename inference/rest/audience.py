"""``/v2/users``, ``/v2/items`` and ``/v2/likes``: a tenant's audience in bulk and one by one, and recommendations for it."""

import base64
import binascii
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response

from billing.admission import Decision
from billing.contracts import contract_of
from billing.http.keyed import peek
from billing.models import Operation
from billing.rest.views import KeyedView
from inference.calls.context import context
from inference.inputs import truncation
from inference.models import EndUser, Item, Like
from inference.recommendations import audience, entries, items, recommendations
from inference.recommendations.audience import Kept, Page
from inference.recommendations.recommendations import MAX_LIMIT, Recommendations
from mlplatform.lib.errors import PlatformError, invalid
from tenants import scopes
from tenants.authentication import Caller
from tenants.http.call import Reply, RestCall

READ, WRITE = "endusers:read", "endusers:write"
MAX_USERS_A_CALL: Final = 1_000
MAX_LIKES_A_CALL: Final = 1_000
MAX_PAGE: Final = 1_000
DEFAULT_PAGE: Final = 100
DEFAULT_LIMIT: Final = 10


class UsersView(KeyedView):
    """The end users: a page of them, and many at once."""

    def get(self, request: Request, path_version: str = "") -> Response:
        call = self.call(request)

        def handle(caller: Caller, api_version: str) -> dict[str, Any]:
            page = audience.user_page(tenant_id=caller.tenant_id, after=_cursor(call), limit=_page_size(call))
            return _page("users", page, _user)

        return self.read(request, READ, handle)

    def post(self, request: Request, path_version: str = "") -> Response:
        call = self.call(request)

        def handle(caller: Caller, api_version: str) -> dict[str, int]:
            found = entries.users(call.json_object(), at_most=MAX_USERS_A_CALL)
            return _kept(audience.upsert_users(tenant_id=caller.tenant_id, entries=found))

        return self.read(request, WRITE, handle)


class UserView(KeyedView):
    """One end user."""

    def get(self, request: Request, external_id: str, path_version: str = "") -> Response:
        return self.read(request, READ, lambda caller, api_version: _user(_the_user(caller, external_id)))

    def delete(self, request: Request, external_id: str, path_version: str = "") -> Response:
        def handle(caller: Caller, api_version: str) -> dict[str, bool]:
            audience.remove_user(tenant_id=caller.tenant_id, external_id=_id(external_id))
            return {"deleted": True}

        return self.read(request, WRITE, handle)


class UserLikesView(KeyedView):
    """What one end user likes."""

    def get(self, request: Request, external_id: str, path_version: str = "") -> Response:
        call = self.call(request)

        def handle(caller: Caller, api_version: str) -> dict[str, Any]:
            user = _the_user(caller, external_id)
            return _page("likes", audience.like_page(user=user, after=_cursor(call), limit=_page_size(call)), _like)

        return self.read(request, READ, handle)


class UserLikeView(KeyedView):
    """One like."""

    def delete(self, request: Request, external_id: str, item_id: str, path_version: str = "") -> Response:
        def handle(caller: Caller, api_version: str) -> dict[str, bool]:
            audience.remove_like(
                tenant_id=caller.tenant_id, user_id=_id(external_id), item_id=_id(item_id, field="item_id")
            )
            return {"deleted": True}

        return self.read(request, WRITE, handle)


class RecommendationsView(KeyedView):
    """What one end user may like."""

    def get(self, request: Request, external_id: str, path_version: str = "") -> Response:
        call = self.call(request)

        def handle(caller: Caller, api_version: str) -> tuple[Any, Decision | None]:
            scopes.require(caller.scopes, READ)
            limit = _number(call, "limit", default=DEFAULT_LIMIT, most=MAX_LIMIT)
            answer = recommendations.answer(
                caller,
                users=[_the_user(caller, external_id)],
                limit=limit,
                context=context(call, Operation.PREDICT, api_version),
            )
            result = answer.results[0]
            if isinstance(result, PlatformError):
                raise result
            body = _recommendations(result) | {"usage": {"units": answer.units, "embedded_items": answer.embedded}}
            return {"user_id": external_id} | body, answer.decision

        return self.answer(request, handle)


class ItemsView(KeyedView):
    """The items: a page of them, and many at once."""

    def get(self, request: Request, path_version: str = "") -> Response:
        call = self.call(request)

        def handle(caller: Caller, api_version: str) -> dict[str, Any]:
            page = audience.item_page(tenant_id=caller.tenant_id, after=_cursor(call), limit=_page_size(call))
            return _page("items", page, _item)

        return self.read(request, READ, handle)

    def post(self, request: Request, path_version: str = "") -> Response:
        call = self.call(request)

        def handle(caller: Caller, api_version: str) -> tuple[Any, Decision | None]:
            scopes.require(caller.scopes, WRITE)
            found = entries.items(call.json_object(), at_most=settings.MAX_BATCH_REQUESTS)
            # The guard first: a call that embeds nothing is not admitted anywhere, and a revoked key must change nothing.
            before = peek(contract_of(caller))
            made = items.upsert_items(
                caller,
                entries=found,
                context=context(call, Operation.BATCH, api_version),
                dry_run=_flag(call, "dry_run"),
            )
            usage = {"units": made.units, "embedded_items": made.embedded}
            body = _kept(made.kept) | {"usage": usage, "quote": asdict(made.quote)}
            return Reply(body, headers=truncation.told(made.truncated)), made.decision or before

        return self.answer(request, handle)


class ItemView(KeyedView):
    """One item."""

    def get(self, request: Request, external_id: str, path_version: str = "") -> Response:
        def handle(caller: Caller, api_version: str) -> dict[str, Any]:
            item = audience.item(tenant_id=caller.tenant_id, external_id=_id(external_id))
            if item is None:
                raise audience.no_item(external_id)
            return _item(item)

        return self.read(request, READ, handle)

    def delete(self, request: Request, external_id: str, path_version: str = "") -> Response:
        def handle(caller: Caller, api_version: str) -> dict[str, bool]:
            audience.remove_item(tenant_id=caller.tenant_id, external_id=_id(external_id))
            return {"deleted": True}

        return self.read(request, WRITE, handle)


class LikesView(KeyedView):
    """Many likes at once."""

    def post(self, request: Request, path_version: str = "") -> Response:
        call = self.call(request)

        def handle(caller: Caller, api_version: str) -> dict[str, int]:
            found = entries.likes(call.json_object(), at_most=MAX_LIKES_A_CALL)
            kept = audience.add_likes(tenant_id=caller.tenant_id, entries=found)
            return {"created": kept.created, "existing": kept.updated}

        return self.read(request, WRITE, handle)


# --- What a call says -------------------------------------------------------------------------------------------------------


def _id(external_id: str, *, field: str = "external_id") -> str:
    return entries.external_id(external_id, field=field)


def _the_user(caller: Caller, external_id: str) -> EndUser:
    """Raises NOT_FOUND for whoever is no end user of the tenant."""
    user = audience.user(tenant_id=caller.tenant_id, external_id=_id(external_id))
    if user is None:
        raise audience.no_user(external_id)
    return user


def _page_size(call: RestCall) -> int:
    return _number(call, "limit", default=DEFAULT_PAGE, most=MAX_PAGE)


def _number(call: RestCall, name: str, *, default: int, most: int) -> int:
    text = call.query_once(name)
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and 1 <= int(text) <= most):
        raise invalid(name, f"The {name} is a whole number from 1 to {most:,}.")
    return int(text)


def _flag(call: RestCall, name: str) -> bool:
    text = call.query_once(name)
    if text not in {"", "true", "false"}:
        raise invalid(name, f"Write {name}=true or {name}=false.")
    return text == "true"


def _cursor(call: RestCall) -> str:
    """The id after which the page begins."""
    text = call.query_once("cursor", may_be_empty=True)
    try:
        after = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True).decode("ascii")
        return _id(after) if after else ""
    except (ValueError, binascii.Error, PlatformError) as error:
        raise invalid("cursor", "The cursor is the next_cursor of the page before; this is none.") from error


# --- What an answer says ----------------------------------------------------------------------------------------------------


def _page(name: str, page: Page[Any], render: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    cursor = base64.urlsafe_b64encode(page.next.encode()).decode() if page.next else None
    return {name: [render(row) for row in page.rows], "next_cursor": cursor}


def _kept(kept: Kept) -> dict[str, Any]:
    return {"created": kept.created, "updated": kept.updated}


def _user(user: EndUser) -> dict[str, Any]:
    return {
        "external_id": user.external_id,
        "name": user.name,
        "preferences": {"categories": user.categories},
        "created_at": user.created_at.isoformat(),
        "updated_at": user.updated_at.isoformat(),
    }


def _item(item: Item) -> dict[str, Any]:
    return {
        "external_id": item.external_id,
        "title": item.title,
        "description": item.description,
        "categories": item.categories,
        "embedded_by": item.embedded_by or None,
        "created_at": item.created_at.isoformat(),
        "updated_at": item.updated_at.isoformat(),
    }


def _like(like: Like) -> dict[str, Any]:
    return {"item_id": like.item.external_id, "title": like.item.title, "at": like.at.isoformat()}


def _recommendations(result: Recommendations) -> dict[str, Any]:
    return {
        "items": [
            {"item_id": one.item_id, "title": one.title, "score": one.score, "categories": list(one.categories)}
            for one in result.items
        ],
        "basis": result.basis,
        "model": result.model,
        "model_version": result.model_version,
        "cached": result.cached,
    }
