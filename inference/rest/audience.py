"""``/v2/users`` and ``/v2/likes``: a tenant's end users and what they like, in bulk and one by one."""

from typing import Final

from rest_framework.request import Request
from rest_framework.response import Response

from billing.rest.views import KeyedView
from inference.models import EndUser, Like
from inference.recommendations import audience, entries
from inference.recommendations.messages import EndUsersRequest, LikesRequest
from inference.rest import audience_answers as answers
from inference.rest.audience_calls import (
    READ,
    WRITE,
    cursor,
    id_of,
    next_cursor,
    page_size,
    the_user,
)
from inference.rest.audience_declarations import BODY, EXTERNAL_ID, ID, PAGING, READS, TAG, WRITES, example
from mlplatform.lib.errors import ErrorKind
from tenants.authentication import Caller
from tenants.rest.declarations import (
    ApiOperation,
    documented,
    in_path,
)

_ITEM_ID: Final = in_path("item_id", "Your own id of the item.", ID)


@documented(
    get=ApiOperation(
        id="listUsers",
        tag=TAG,
        summary="End users",
        description=f"In the order of their ids. {READS}",
        answer=answers.EndUsers,
        kinds=(ErrorKind.INVALID_INPUT,),
        parameters=PAGING,
    ),
    post=ApiOperation(
        id="upsertUsers",
        tag=TAG,
        summary="Add or replace end users",
        description=f"All of them or none. A user that is there is replaced by what the call says; its likes stay. {WRITES}",
        request=EndUsersRequest,
        answer=answers.Upserted,
        kinds=(*BODY, ErrorKind.CONFLICT),
        examples=example(
            {"users": [{"external_id": "user-17", "name": "Ada", "preferences": {"categories": ["science", "travel"]}}]}
        ),
    ),
)
class UsersView(KeyedView):
    """The end users: a page of them, and many at once."""

    def get(self, request: Request, path_version: str = "") -> Response:
        call = self.call(request)

        def handle(caller: Caller, api_version: str) -> answers.EndUsers:
            page = audience.user_page(tenant_id=caller.tenant_id, after=cursor(call), limit=page_size(call))
            return answers.EndUsers([_user(row) for row in page.rows], next_cursor(page))

        return self.read(request, READ, handle)

    def post(self, request: Request, path_version: str = "") -> Response:
        call = self.call(request)

        def handle(caller: Caller, api_version: str) -> answers.Upserted:
            kept = audience.upsert_users(tenant_id=caller.tenant_id, entries=entries.users(call.json_object()))
            return answers.Upserted(kept.created, kept.updated)

        return self.read(request, WRITE, handle)


@documented(
    get=ApiOperation(
        id="getUser",
        tag=TAG,
        summary="One end user",
        description=READS,
        answer=answers.EndUser,
        kinds=(ErrorKind.INVALID_INPUT,),
        parameters=[EXTERNAL_ID],
    ),
    delete=ApiOperation(
        id="deleteUser",
        tag=TAG,
        summary="Forget an end user",
        description=f"And all that it likes, at once and for good. {WRITES}",
        answer=answers.Deleted,
        kinds=(ErrorKind.INVALID_INPUT,),
        parameters=[EXTERNAL_ID],
    ),
)
class UserView(KeyedView):
    """One end user."""

    def get(self, request: Request, external_id: str, path_version: str = "") -> Response:
        return self.read(request, READ, lambda caller, api_version: _user(the_user(caller, external_id)))

    def delete(self, request: Request, external_id: str, path_version: str = "") -> Response:
        def handle(caller: Caller, api_version: str) -> answers.Deleted:
            audience.remove_user(tenant_id=caller.tenant_id, external_id=id_of(external_id))
            return answers.Deleted(True)

        return self.read(request, WRITE, handle)


@documented(
    get=ApiOperation(
        id="listLikes",
        tag=TAG,
        summary="What an end user likes",
        description=f"In the order of the items' ids. {READS}",
        answer=answers.Likes,
        kinds=(ErrorKind.INVALID_INPUT,),
        parameters=[EXTERNAL_ID, *PAGING],
    )
)
class UserLikesView(KeyedView):
    """What one end user likes."""

    def get(self, request: Request, external_id: str, path_version: str = "") -> Response:
        call = self.call(request)

        def handle(caller: Caller, api_version: str) -> answers.Likes:
            user = the_user(caller, external_id)
            page = audience.like_page(user=user, after=cursor(call), limit=page_size(call))
            return answers.Likes([_like(row) for row in page.rows], next_cursor(page))

        return self.read(request, READ, handle)


@documented(
    delete=ApiOperation(
        id="deleteLike",
        tag=TAG,
        summary="Forget a like",
        description=WRITES,
        answer=answers.Deleted,
        kinds=(ErrorKind.INVALID_INPUT,),
        parameters=[EXTERNAL_ID, _ITEM_ID],
    )
)
class UserLikeView(KeyedView):
    """One like."""

    def delete(self, request: Request, external_id: str, item_id: str, path_version: str = "") -> Response:
        def handle(caller: Caller, api_version: str) -> answers.Deleted:
            audience.remove_like(
                tenant_id=caller.tenant_id, user_id=id_of(external_id), item_id=id_of(item_id, field="item_id")
            )
            return answers.Deleted(True)

        return self.read(request, WRITE, handle)


@documented(
    post=ApiOperation(
        id="addLikes",
        tag=TAG,
        summary="Add likes",
        description="All of them or none; one that is known stays as it is. A user or item that does not exist is an error that "
        f"names it. {WRITES}",
        request=LikesRequest,
        answer=answers.LikesAdded,
        kinds=BODY,
        examples=example({"likes": [{"user_id": "user-17", "item_id": "book-1"}]}),
    )
)
class LikesView(KeyedView):
    """Many likes at once."""

    def post(self, request: Request, path_version: str = "") -> Response:
        call = self.call(request)

        def handle(caller: Caller, api_version: str) -> answers.LikesAdded:
            kept = audience.add_likes(tenant_id=caller.tenant_id, entries=entries.likes(call.json_object()))
            return answers.LikesAdded(kept.created, kept.updated)

        return self.read(request, WRITE, handle)


def _user(user: EndUser) -> answers.EndUser:
    return answers.EndUser(
        external_id=user.external_id,
        name=user.name,
        preferences=answers.UserPreferences(tuple(user.categories)),
        created_at=user.created_at.isoformat(),
        updated_at=user.updated_at.isoformat(),
    )


def _like(like: Like) -> answers.Like:
    return answers.Like(item_id=like.item.external_id, title=like.item.title, at=like.at.isoformat())
