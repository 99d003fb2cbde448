"""Addresses of the Open Inference Protocol, below ``/oip/``."""

from django.urls import path

from inference.oip import http

urlpatterns = [
    path("v2", http.ServerView.as_view(), name="oip-server"),
    path("v2/health/live", http.LiveView.as_view(), name="oip-live"),
    path("v2/health/ready", http.ReadyView.as_view(), name="oip-ready"),
    path("v2/models/<str:model>", http.ModelView.as_view(), name="oip-model"),
    path("v2/models/<str:model>/ready", http.ModelReadyView.as_view(), name="oip-model-ready"),
    path("v2/models/<str:model>/infer", http.InferView.as_view(), name="oip-infer"),
    path("v2/models/<str:model>/versions/<str:version>", http.ModelView.as_view(), name="oip-version"),
    path("v2/models/<str:model>/versions/<str:version>/ready", http.ModelReadyView.as_view(), name="oip-version-ready"),
    path("v2/models/<str:model>/versions/<str:version>/infer", http.InferView.as_view(), name="oip-version-infer"),
    path("<path:rest>", http.NothingView.as_view(), name="oip-nothing"),
]
