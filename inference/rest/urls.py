"""Addresses of predictions, models, deprecations and audiences, below ``/`` and below ``/{API version}/``."""

from django.urls import path

from inference.rest.audience import (
    LikesView,
    UserLikesView,
    UserLikeView,
    UsersView,
    UserView,
)
from inference.rest.deprecations import BrownoutView, DeprecationsView, DeprecationView, RehearsalView
from inference.rest.items import ItemsView, ItemView, RecommendationsView
from inference.rest.model_list import ModelsView, ModelView
from inference.rest.packages import RetireView, VersionsView, VersionView
from inference.rest.predictions import BatchPredictView, ModelPredictView, PredictView
from inference.rest.rollouts import (
    CanaryView,
    PromoteView,
    PurgeView,
    RollbackView,
    RolloutsView,
    ShadowView,
    UpdateModelView,
)

urlpatterns = [
    path("predict", PredictView.as_view(), name="predict"),
    path("batch-predict", BatchPredictView.as_view(), name="batch-predict"),
    path("models", ModelsView.as_view(), name="models"),
    path("models/<str:model>", ModelView.as_view(), name="model"),
    path("models/<str:model>/predict", ModelPredictView.as_view(), name="model-predict"),
    path("models/<str:model>/versions", VersionsView.as_view(), name="model-versions"),
    path("models/<str:model>/versions/<str:version>", VersionView.as_view(), name="model-version"),
    path("models/<str:model>/versions/<str:version>/retire", RetireView.as_view(), name="model-version-retire"),
    path("models/<str:model>/rollouts", RolloutsView.as_view(), name="model-rollouts"),
    path("models/<str:model>/promote", PromoteView.as_view(), name="model-promote"),
    path("models/<str:model>/rollback", RollbackView.as_view(), name="model-rollback"),
    path("models/<str:model>/canary", CanaryView.as_view(), name="model-canary"),
    path("models/<str:model>/shadow", ShadowView.as_view(), name="model-shadow"),
    path("models/<str:model>/purge", PurgeView.as_view(), name="model-purge"),
    path("admin/update-model", UpdateModelView.as_view(), name="update-model"),
    path("deprecations", DeprecationsView.as_view(), name="deprecations"),
    path("deprecations/<str:deprecation_id>", DeprecationView.as_view(), name="deprecation"),
    path("deprecations/<str:deprecation_id>/brownout", BrownoutView.as_view(), name="deprecation-brownout"),
    path("deprecations/<str:deprecation_id>/rehearsal", RehearsalView.as_view(), name="deprecation-rehearsal"),
    path("users", UsersView.as_view(), name="users"),
    path("users/<str:external_id>", UserView.as_view(), name="user"),
    path("users/<str:external_id>/likes", UserLikesView.as_view(), name="user-likes"),
    path("users/<str:external_id>/likes/<str:item_id>", UserLikeView.as_view(), name="user-like"),
    path("users/<str:external_id>/recommendations", RecommendationsView.as_view(), name="recommendations"),
    path("items", ItemsView.as_view(), name="items"),
    path("items/<str:external_id>", ItemView.as_view(), name="item"),
    path("likes", LikesView.as_view(), name="likes"),
]
