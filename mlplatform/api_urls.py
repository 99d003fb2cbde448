"""Addresses of the REST API: ``urls.py`` serves them, and ``docs/openapi.py`` documents them."""

from django.urls import URLPattern, URLResolver, include, path

api: list[URLPattern | URLResolver] = [
    path("", include("inference.rest.urls")),
    path("", include("billing.rest.urls")),
]
