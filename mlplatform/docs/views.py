"""The pages themselves. They load nothing from elsewhere and run no inline script, and are the same for all readers, but that
the owner of a private model reads its migration guide with a key."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_safe

from mlplatform.docs import changelog, guides, migration, openapi, readers
from mlplatform.lib.errors import PlatformError
from tenants.http import problems
from tenants.http.problems import Wire

_LONGEST_NAME: Final = 200


@dataclass(frozen=True, slots=True)
class Row:
    """One problem on its page; ``anchor`` is what our own types point to."""

    anchor: str
    type: str
    wire: Wire


@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    """``/``: what this is and where to go."""
    return render(request, "docs/landing.html", {"page": "home"})


@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    """``/docs``: every guide, and the ways to try and to read on."""
    return render(request, "docs/overview.html", {"page": "guides", "groups": guides.GROUPS})


@require_safe
def guide(request: HttpRequest, slug: str) -> HttpResponse:
    """``/docs/quickstart``: a guide, or one of the texts that guides refer to."""
    text = guides.text_of(request.path_info)
    if text is not None:
        return HttpResponse(text, content_type="text/plain; charset=utf-8")
    found = guides.find(slug)
    if found is None:
        raise Http404
    context = {"page": "guides", "guide": found, "document": guides.page_of(found), "groups": guides.GROUPS}
    return render(request, "docs/guide.html", context)


@require_safe
def api(request: HttpRequest, version: str) -> HttpResponse:
    """``/docs/v2`` and ``/docs/v1``: every operation, to read and to try."""
    return render(request, "docs/api.html", {"page": version, "version": version})


@require_safe
def problem_list(request: HttpRequest) -> HttpResponse:
    """``/docs/problems``: every problem, what it means and what to do."""
    rows = [Row(anchor=kind.value, type=problems.type_of(kind), wire=wire) for kind, wire in problems.TABLE.items()]
    return render(request, "docs/problems.html", {"page": "problems", "rows": rows})


@require_safe
def migration_list(request: HttpRequest) -> HttpResponse:
    """``/docs/migrate``: every guide; those that an announcement recommends come first."""

    def page(tenant_id: int | None) -> HttpResponse:
        ways = sorted(migration.ways(tenant_id=tenant_id), key=lambda way: not way.recommended)
        return render(request, "docs/migrations.html", {"page": "migrate", "ways": ways})

    return _for_its_reader(request, page)


@require_safe
def migrate(request: HttpRequest, pair: str) -> HttpResponse:
    """``/docs/migrate/v1-v2``: what changes from one version to another, with both forms side by side."""

    def page(tenant_id: int | None) -> HttpResponse:
        found = migration.find(pair, tenant_id=tenant_id)
        if found is None:
            raise Http404
        return render(request, "docs/migration.html", {"page": "migrate", "migration": found})

    return _for_its_reader(request, page)


def _for_its_reader(request: HttpRequest, page: Callable[[int | None], HttpResponse]) -> HttpResponse:
    """The page as the owner of the key in the call may see it, and not cached then; a problem for a wrong key."""
    try:
        tenant_id = readers.tenant_id_of(request)
    except PlatformError as error:
        response = problems.plain_response(error, request)
    else:
        response = page(tenant_id)
        if tenant_id is not None:
            response.headers["Cache-Control"] = "private, no-store"
    patch_vary_headers(response, ["Authorization", "X-API-Key"])
    return response


@require_safe
def change_list(request: HttpRequest) -> HttpResponse:
    """``/docs/changelog``: what happened to versions, newest first, and what will; ``?about=v1`` or a model's name filters."""
    log, name = changelog.current(), request.GET.get("about", "")[:_LONGEST_NAME]
    shown = changelog.about(log, name) if name else log
    return render(request, "docs/changelog.html", {"page": "changelog", "log": shown, "about": name})


@require_safe
def change_feed(request: HttpRequest) -> HttpResponse:
    """``/docs/changelog.atom``: the same for feed readers."""
    return HttpResponse(
        changelog.atom(request.GET.get("about", "")[:_LONGEST_NAME]),
        content_type="application/atom+xml; charset=utf-8",
        headers={"Cache-Control": "max-age=300"},
    )


@require_safe
def document(request: HttpRequest, version: str) -> HttpResponse:
    """``/v1/openapi.json`` and ``/v2/openapi.json``, in which what is deprecated now is marked."""
    content = openapi.document(version, openapi.deprecated(version))
    return HttpResponse(content, content_type="application/json", headers={"Cache-Control": "max-age=300"})
