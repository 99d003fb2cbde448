"""Addresses of the documents."""

from django.urls import path
from django.views.generic import RedirectView

from mlplatform.docs import openapi, views

urlpatterns = [
    path("", views.landing, name="landing"),
    path("docs", views.overview, name="docs"),
    path("docs/", RedirectView.as_view(pattern_name="docs")),
    path("docs/problems", views.problem_list, name="docs-problems"),
    path("docs/migrate", views.migration_list, name="docs-migrate"),
    path("docs/migrate/<path:pair>", views.migrate, name="docs-migration"),
    path("docs/changelog", views.change_list, name="docs-changelog"),
    path("docs/changelog.atom", views.change_feed, name="docs-changelog-feed"),
    *(path(f"docs/{version}", views.api, {"version": version}, name=f"docs-{version}") for version in openapi.VERSIONS),
    path("docs/<path:slug>", views.guide, name="docs-guide"),
    *(
        path(f"{version}/openapi.json", views.document, {"version": version}, name=f"openapi-{version}")
        for version in openapi.VERSIONS
    ),
]
