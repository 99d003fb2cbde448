"""Addresses of predictions and models, below ``/`` and below ``/{API version}/``."""

from django.urls import path

from inference.rest.catalogue import ModelsView, ModelView
from inference.rest.predictions import BatchPredictView, ModelPredictView, PredictView

urlpatterns = [
    path("predict", PredictView.as_view(), name="predict"),
    path("batch-predict", BatchPredictView.as_view(), name="batch-predict"),
    path("models", ModelsView.as_view(), name="models"),
    path("models/<str:model>", ModelView.as_view(), name="model"),
    path("models/<str:model>/predict", ModelPredictView.as_view(), name="model-predict"),
]
