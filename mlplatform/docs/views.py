"""The pages themselves. They are the same for everybody, load nothing from elsewhere and run no inline script."""

from dataclasses import dataclass

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from mlplatform.docs import openapi
from tenants.rest import problems
from tenants.rest.problems import Wire


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
def api(request: HttpRequest, version: str = "v2") -> HttpResponse:
    """``/docs`` and ``/docs/v1``: every operation, to read and to try."""
    if version not in openapi.VERSIONS:
        raise Http404
    return render(request, "docs/api.html", {"page": version, "version": version})


@require_safe
def problem_list(request: HttpRequest) -> HttpResponse:
    """``/docs/problems``: every problem, what it means and what to do."""
    rows = [Row(anchor=kind.value, type=problems.type_of(kind), wire=wire) for kind, wire in problems.TABLE.items()]
    return render(request, "docs/problems.html", {"page": "problems", "rows": rows})


@require_safe
def document(request: HttpRequest, version: str) -> HttpResponse:
    """``/v1/openapi.json`` and ``/v2/openapi.json``."""
    return HttpResponse(
        openapi.document(version), content_type="application/json", headers={"Cache-Control": "max-age=300"}
    )
