"""One name for a page: the sidebar's, in the breadcrumbs and in the browser's tab too."""

from collections.abc import Mapping
from typing import Any

from django import template
from django.conf import settings
from django.db.models import Model
from django.http import HttpRequest
from django.template.context import Context
from django.utils.module_loading import import_string
from django.utils.text import capfirst

register = template.Library()


@register.simple_tag(takes_context=True)
def page_name(context: Context, part: Mapping[str, Any]) -> str:
    """The name of a part of the breadcrumbs; a row is called as it is written, ``owner@acme.example``."""
    title = part["title"]
    if isinstance(title, Model):
        return str(title)
    return _in_the_sidebar(context["request"], str(part.get("link", ""))) or str(capfirst(title))


@register.simple_tag(takes_context=True)
def page_title(context: Context) -> str:
    """The title of the browser's tab: of a list its name, of every other page what it says itself."""
    changelist = context.get("cl")
    here = context["request"].path if changelist is not None else ""
    return _in_the_sidebar(context["request"], here) or own_name(context) or str(context.get("title") or "")


@register.simple_tag(takes_context=True)
def own_name(context: Context) -> str:
    """The last part of the breadcrumbs on a page that is neither a list nor a row's: what is done there. Else empty."""
    form = context.get("adminform")
    if context.get("cl") is not None or not context.get("opts"):
        return ""
    if form is None:
        title, row = str(context.get("title") or ""), context.get("original")
        return "" if row is not None and title == str(row) else title
    return str(form.model_admin.add_words) if context.get("add") else ""


def _in_the_sidebar(request: HttpRequest, address: str) -> str:
    """People and staff share a list; the entry that is open names it then."""
    if not address:
        return ""
    groups = import_string(settings.UNFOLD["SIDEBAR"]["navigation"])(request)
    entries = [entry for group in groups for entry in group["items"] if entry["link"].partition("?")[0] == address]
    opened = [entry for entry in entries if entry["active"](request)]
    return next((str(entry["title"]) for entry in [*opened, *entries]), "")
