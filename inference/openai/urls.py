"""Addresses of the OpenAI-compatible API, below ``/openai/v1/``."""

from django.urls import path

from inference.openai import http

urlpatterns = [
    path("embeddings", http.EmbeddingsView.as_view(), name="openai-embeddings"),
    path("models", http.ModelsView.as_view(), name="openai-models"),
    path("models/<str:model>", http.ModelView.as_view(), name="openai-model"),
    path("<path:rest>", http.NothingView.as_view(), name="openai-nothing"),
]
