"""A page between the wish and the deed: it says what will happen and asks for a POST.

Nothing depends on scripts, so it cannot be skipped by a link, a prefetch or a browser without JavaScript.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse

from mlplatform.lib import prose
from mlplatform.lib.errors import PlatformError

CONFIRMED = "confirmed"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: ``consequences`` are full sentences, ``subjects`` the rows that are meant."""

    title: str
    question: str
    consequences: Sequence[str]
    subjects: Sequence[str]
    button: str
    danger: bool = True


def ask(
    request: HttpRequest,
    model_admin: "admin.ModelAdmin[Any]",
    *,
    question: Question,
    act: Callable[[], str],
    back: str,
    hidden: Sequence[tuple[str, str]] = (),
) -> HttpResponse:
    """Show the question, or on its confirmed POST call ``act`` and go ``back`` with the message that it returns.

    A :class:`PlatformError` of ``act`` becomes an error message. ``hidden`` names form fields which the POST must
    repeat, such as the rows that were chosen in a list.
    """
    if request.method == "POST" and request.POST.get(CONFIRMED) == "yes":
        do(request, act)
        return HttpResponseRedirect(back)
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "title": question.title,
        "question": question,
        "back": back,
        "hidden": hidden,
        "media": model_admin.media,
    }
    return TemplateResponse(request, "admin/confirm.html", context)


def do(request: HttpRequest, act: Callable[[], str]) -> None:
    """Call a service; its sentence, or the reason of its refusal, is shown on the next page."""
    try:
        messages.success(request, act())
    except PlatformError as error:
        messages.error(request, prose.html(error.detail))
