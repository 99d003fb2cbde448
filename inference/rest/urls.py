"""Addresses of predictions, models and deprecations, below ``/`` and below ``/{API version}/``."""

from django.urls import path

from inference.rest.catalogue import ModelsView, ModelView
from inference.rest.deprecations import BrownoutView, DeprecationsView, DeprecationView, RehearsalView
from inference.rest.predictions import BatchPredictView, ModelPredictView, PredictView

urlpatterns = [
    path("predict", PredictView.as_view(), name="predict"),
    path("batch-predict", BatchPredictView.as_view(), name="batch-predict"),
    path("models", ModelsView.as_view(), name="models"),
    path("models/<str:model>", ModelView.as_view(), name="model"),
    path("models/<str:model>/predict", ModelPredictView.as_view(), name="model-predict"),
    path("deprecations", DeprecationsView.as_view(), name="deprecations"),
    path("deprecations/<str:deprecation_id>", DeprecationView.as_view(), name="deprecation"),
    path("deprecations/<str:deprecation_id>/brownout", BrownoutView.as_view(), name="deprecation-brownout"),
    path("deprecations/<str:deprecation_id>/rehearsal", RehearsalView.as_view(), name="deprecation-rehearsal"),
]
