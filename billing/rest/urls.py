"""Addresses of reports, below ``/`` and below ``/{API version}/``."""

from django.urls import path

from billing.rest.reports import ExplainView, LimitsView, MeView, UsageView

urlpatterns = [
    path("usage", UsageView.as_view(), name="usage"),
    path("limits", LimitsView.as_view(), name="limits"),
    path("limits/explain/<str:request_id>", ExplainView.as_view(), name="explain"),
    path("me", MeView.as_view(), name="me"),
]
