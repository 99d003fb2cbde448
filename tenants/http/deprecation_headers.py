"""Headers of ending versions: RFC 9745 (Deprecation), RFC 8594 (Sunset), RFC 5829 and 8288 (Link), and two simple ones."""

from email.utils import format_datetime
from urllib.parse import quote

from django.conf import settings

from tenants.deprecations.rules import Deprecation
from tenants.models import SubjectKind


def of(*deprecations: Deprecation | None, path: str) -> dict[str, str]:
    """What the answer says of everything that ends and took part in it; the earliest dates count.

    From the announcement on it says when (``Sunset``) and where to go (``Link``); that it is deprecated when it is.

    ``path`` is the called one below the API version: the successor of an API version has the same.
    """
    present = [one for one in deprecations if one is not None]
    if not present:
        return {}
    first = min(present, key=lambda one: one.sunset_at)
    links = []
    for one in sorted(present, key=lambda one: one.sunset_at):
        guide = f"<{settings.BASE_URL}{quote(one.guide, safe='/@')}>"
        links += [f'{guide}; rel="deprecation"; type="text/html"', f'{guide}; rel="sunset"; type="text/html"']
        if one.kind in SubjectKind.values:  # a GraphQL field's successor has no address of its own
            links.append(f'<{settings.BASE_URL}{quote(_successor(one, path), safe="/@")}>; rel="successor-version"')
    headers = {
        "Sunset": format_datetime(first.sunset_at, usegmt=True),
        "Link": ", ".join(dict.fromkeys(links)),
        "X-API-Sunset-Date": f"{first.sunset_at:%Y-%m-%d}",
    }
    # Sunset must not be earlier than Deprecation, and has whole seconds.
    since = [int(one.deprecated_at.timestamp()) for one in present if one.in_force]
    if since:
        headers |= {"Deprecation": f"@{min(since)}", "X-API-Deprecated": "true"}
    return headers


def _successor(deprecation: Deprecation, path: str) -> str:
    if deprecation.kind == SubjectKind.API_VERSION:
        return f"/{deprecation.successor}{path}"
    return f"/v2/models/{deprecation.successor}/predict"
