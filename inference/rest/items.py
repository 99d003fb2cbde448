"""``/v2/items``, and what of them is recommended to an end user."""

from dataclasses import asdict
from typing import Any, Final

from rest_framework.request import Request
from rest_framework.response import Response

from billing.admission import Decision
from billing.contracts import contract_of
from billing.http.keyed import peek
from billing.models import Operation
from billing.rest.views import KeyedView
from inference.calls.context import context
from inference.inputs import truncation
from inference.models import Item
from inference.recommendations import audience, entries, items, recommendations
from inference.recommendations.messages import ItemsRequest
from inference.recommendations.recommendations import MAX_LIMIT, Recommendations
from inference.rest import audience_answers as answers
from inference.rest.audience_calls import (
    DEFAULT_LIMIT,
    READ,
    WRITE,
    cursor,
    flag,
    id_of,
    next_cursor,
    number,
    page_size,
    the_user,
)
from inference.rest.audience_declarations import BODY, EXTERNAL_ID, PAGING, READS, TAG, WRITES, example
from inference.rest.prediction_declarations import CUT
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants import scopes
from tenants.authentication import Caller
from tenants.http.call import Reply
from tenants.rest.declarations import (
    ApiOperation,
    documented,
    query,
)

_CHARGED: Final = (
    ErrorKind.INVALID_INPUT,
    ErrorKind.CHARGE_TOO_LARGE,
    ErrorKind.QUOTA_EXCEEDED,
    ErrorKind.OVERLOADED,
    ErrorKind.TIMEOUT,
)


@documented(
    get=ApiOperation(
        id="recommend",
        tag=TAG,
        summary="Recommend items to an end user",
        description="The items that the user has not liked and that fit its taste best. One call of the scope `predict` beside "
        f"`{READ}`: each 128 items that are looked at are one input of the model `recommender`, at the price of "
        "`predict`. Items without a vector of the present embedding model get one first, free of charge.",
        answer=answers.Recommendations,
        kinds=_CHARGED,
        parameters=[
            EXTERNAL_ID,
            query(
                "limit",
                "How many items at most.",
                {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
            ),
        ],
    )
)
class RecommendationsView(KeyedView):
    """What one end user may like."""

    def get(self, request: Request, external_id: str, path_version: str = "") -> Response:
        call = self.call(request)

        def handle(caller: Caller, api_version: str) -> tuple[Any, Decision | None]:
            scopes.require(caller.scopes, READ)
            limit = number(call, "limit", default=DEFAULT_LIMIT, most=MAX_LIMIT)
            answer = recommendations.answer(
                caller,
                users=[the_user(caller, external_id)],
                limit=limit,
                context=context(call, Operation.PREDICT, api_version),
            )
            result = answer.results[0]
            if isinstance(result, PlatformError):
                raise result
            usage = answers.EmbeddingUsage(answer.units, answer.embedded)
            return _recommendations(external_id, result, usage), answer.decision

        return self.answer(request, handle)


@documented(
    get=ApiOperation(
        id="listItems",
        tag=TAG,
        summary="Items",
        description=f"In the order of their ids. {READS}",
        answer=answers.Items,
        kinds=(ErrorKind.INVALID_INPUT,),
        parameters=PAGING,
    ),
    post=ApiOperation(
        id="upsertItems",
        tag=TAG,
        summary="Add or replace items",
        description="All of them or none. Items whose text is new are turned into vectors by the model `minilm` in the same call,"
        " of which a longer text's beginning counts (the header `X-Input-Truncated` then says so), and which is charged as a "
        "batch of them; the others cost nothing. When that is refused or fails, nothing is kept. With "
        "`dry_run=true` nothing is kept or charged, and `quote` says what it would cost. "
        f"Needs the scope `{WRITE}`, and `batch` where a text is new.",
        parameters=[
            query(
                "dry_run",
                "Only say what the call would do and cost.",
                {"type": "string", "enum": ["true", "false"], "default": "false"},
            ),
            CUT,
        ],
        request=ItemsRequest,
        answer=answers.ItemsUpserted,
        kinds=(*BODY, *_CHARGED, ErrorKind.CONFLICT),
        examples=example(
            {
                "items": [
                    {
                        "external_id": "book-1",
                        "title": "A brief walk through deep time",
                        "description": "How rocks tell the story of the Earth.",
                        "categories": ["science"],
                    }
                ]
            }
        ),
    ),
)
class ItemsView(KeyedView):
    """The items: a page of them, and many at once."""

    def get(self, request: Request, path_version: str = "") -> Response:
        call = self.call(request)

        def handle(caller: Caller, api_version: str) -> answers.Items:
            page = audience.item_page(tenant_id=caller.tenant_id, after=cursor(call), limit=page_size(call))
            return answers.Items([_item(row) for row in page.rows], next_cursor(page))

        return self.read(request, READ, handle)

    def post(self, request: Request, path_version: str = "") -> Response:
        call = self.call(request)

        def handle(caller: Caller, api_version: str) -> tuple[Any, Decision | None]:
            scopes.require(caller.scopes, WRITE)
            found = entries.items(call.json_object())
            # The guard first: a call that embeds nothing is not admitted anywhere, and a revoked key must change nothing.
            before = peek(contract_of(caller))
            made = items.upsert_items(
                caller,
                entries=found,
                context=context(call, Operation.BATCH, api_version),
                dry_run=flag(call, "dry_run"),
            )
            body = answers.ItemsUpserted(
                created=made.kept.created,
                updated=made.kept.updated,
                usage=answers.EmbeddingUsage(made.units, made.embedded),
                quote=answers.ItemsQuote(**asdict(made.quote)),
            )
            return Reply(body, headers=truncation.told(made.truncated)), made.decision or before

        return self.answer(request, handle)


@documented(
    get=ApiOperation(
        id="getItem",
        tag=TAG,
        summary="One item",
        description=READS,
        answer=answers.Item,
        kinds=(ErrorKind.INVALID_INPUT,),
        parameters=[EXTERNAL_ID],
    ),
    delete=ApiOperation(
        id="deleteItem",
        tag=TAG,
        summary="Forget an item",
        description=f"And all likes of it. {WRITES}",
        answer=answers.Deleted,
        kinds=(ErrorKind.INVALID_INPUT,),
        parameters=[EXTERNAL_ID],
    ),
)
class ItemView(KeyedView):
    """One item."""

    def get(self, request: Request, external_id: str, path_version: str = "") -> Response:
        def handle(caller: Caller, api_version: str) -> answers.Item:
            item = audience.item(tenant_id=caller.tenant_id, external_id=id_of(external_id))
            if item is None:
                raise audience.no_item(external_id)
            return _item(item)

        return self.read(request, READ, handle)

    def delete(self, request: Request, external_id: str, path_version: str = "") -> Response:
        def handle(caller: Caller, api_version: str) -> answers.Deleted:
            audience.remove_item(tenant_id=caller.tenant_id, external_id=id_of(external_id))
            return answers.Deleted(True)

        return self.read(request, WRITE, handle)


def _item(item: Item) -> answers.Item:
    return answers.Item(
        external_id=item.external_id,
        title=item.title,
        description=item.description,
        categories=item.categories,
        embedded_by=item.embedded_by or None,
        created_at=item.created_at.isoformat(),
        updated_at=item.updated_at.isoformat(),
    )


def _recommendations(user_id: str, result: Recommendations, usage: answers.EmbeddingUsage) -> answers.Recommendations:
    return answers.Recommendations(
        user_id=user_id,
        items=[
            answers.RecommendedItem(item_id=one.item_id, title=one.title, score=one.score, categories=one.categories)
            for one in result.items
        ],
        basis=result.basis,
        model=result.model,
        model_version=result.model_version,
        cached=result.cached,
        usage=usage,
    )
