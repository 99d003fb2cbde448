"""One OpenAPI document for each major API version, of what the views of the API declare."""

import datetime as dt
import logging
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import orjson
from django.conf import settings
from django.db import Error as DatabaseError
from django.urls import include, path

from mlplatform.api_urls import api
from mlplatform.docs.dates import moment
from mlplatform.lib import clock
from tenants.deprecations import catalogue

logger = logging.getLogger(__name__)

_TITLE: Final = "mlplatform API"
_TEXT: Final = (
    "Predictions of machine-learning models, authenticated, limited, cached and metered.\n\n"
    "Send your API key as `Authorization: Bearer <API key>` or `X-API-Key: <API key>`. Every answer tells what is left of "
    "your limits in its `RateLimit` header; every error is a problem (RFC 9457), all of which stand at "
    "[/docs/problems](/docs/problems).\n\n"
    "Bodies may come with their length or in chunks, and packed with `Content-Encoding: gzip`; limits hold for what comes out. "
    "Answers above 1 kB come as gzip where `Accept-Encoding` allows it."
)
_ADDRESSES: Final = {
    "v1": [path("v1/", include(api)), path("v1.1/", include(api))],
    "v2": [path("v2/", include(api)), path("", include(api))],
}
_SUBJECT: Final = {
    "v1": ("1.1", "API versions v1 and v1.1; a minor version only adds. New programs take v2."),
    "v2": ("2", "API version v2."),
}
VERSIONS: Final = tuple(_ADDRESSES)


@dataclass(frozen=True, slots=True)
class DeprecatedVersion:
    """A deprecated API version, as its operations say it. ``guide`` is a path."""

    api_version: str
    deprecated_at: dt.datetime
    sunset_at: dt.datetime
    successor: str
    guide: str
    ended: bool


def deprecated(version: str) -> tuple[DeprecatedVersion, ...]:
    """The API versions of a document that are deprecated at this moment.

    A database that cannot be read leaves the document as it is without them: it is of more use than an error.
    """
    now = clock.now()
    try:
        known = catalogue.current().api_versions.values()
    except DatabaseError:
        logger.exception("the OpenAPI document of %s does not say what is deprecated: no database", version)
        return ()
    return tuple(
        DeprecatedVersion(
            one.name,
            one.schedule.deprecate_at,
            one.schedule.sunset_at,
            one.schedule.successor,
            one.schedule.guide,
            ended=now >= one.schedule.sunset_at,
        )
        for one in known
        if one.schedule is not None
        and one.schedule.announced(now)
        and now >= one.schedule.deprecate_at
        and one.name.partition(".")[0] == version
    )


@lru_cache(maxsize=16)
def document(version: str, deprecated: tuple[DeprecatedVersion, ...] = ()) -> bytes:
    """The document of ``v1`` (with v1.1) or ``v2`` as JSON; operations of the ``deprecated`` ones are marked."""
    if not deprecated:
        return orjson.dumps(_build(version))
    marked = orjson.loads(document(version))
    for one in deprecated:
        for address, item in marked["paths"].items():
            if address.startswith(f"/{one.api_version}/"):
                for operation in item.values():
                    _mark(operation, one)
    return orjson.dumps(marked)


def _mark(operation: dict[str, Any], version: DeprecatedVersion) -> None:
    operation["deprecated"] = True
    operation["x-sunset"] = version.sunset_at.isoformat()
    said = (
        f"API version {version.api_version} ended on {moment(version.sunset_at)}: calls get 410."
        if version.ended
        else f"API version {version.api_version} is deprecated since {moment(version.deprecated_at)} and ends on "
        f"{moment(version.sunset_at)}."
    )
    guide = f"[{version.guide}]({settings.BASE_URL}{version.guide})"
    operation["description"] = (
        f"**{said}** Use {version.successor}; the guide is at {guide}.\n\n{operation['description']}"
    )


def _build(version: str) -> dict[str, Any]:
    # The first request of a document waits for what writes it; processes that only serve never load it.
    from mlplatform.docs import building

    number, subject = _SUBJECT[version]
    info = {"title": _TITLE, "version": number, "description": f"{subject} {_TEXT}"}
    return building.build(_ADDRESSES[version], info=info)
