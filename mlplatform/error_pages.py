"""Answers for addresses that do not exist and for mistakes of the service: problems for programs, pages for people."""

from django.http import HttpRequest, HttpResponse
from django.views import defaults

from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.http import problems

PEOPLES_PAGES = ("/admin", "/portal", "/docs", "/static")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404: a problem unless the address is one of a page."""
    if request.path_info.startswith(PEOPLES_PAGES):
        return defaults.page_not_found(request, exception)
    error = PlatformError(
        ErrorKind.NOT_FOUND, f"There is nothing at {request.path_info[:200]}; /docs lists the addresses."
    )
    return problems.plain_response(error, request)


def server_error(request: HttpRequest) -> HttpResponse:
    """500: Django has logged the error with the request id."""
    if request.path_info.startswith(PEOPLES_PAGES):
        return defaults.server_error(request)
    error = PlatformError(ErrorKind.INTERNAL, "Something went wrong here; the request id helps us to find it.")
    return problems.plain_response(error, request)
