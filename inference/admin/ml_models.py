"""Models on sale: which version is live, how good it is, and how much it is called."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin, messages
from django.db.models import BigIntegerField, Case, QuerySet, Sum, Value, When
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from billing.admin import cache_effect
from billing.models import UsageRollup
from inference.admin.rollouts import RolloutPages
from inference.admin.states import accuracy, state_badge
from inference.admin.workers import WorkersPage
from inference.models import MLModel, ModelVersion, VersionState
from inference.registry import names, ownership, versions
from inference.registry.packages import push
from mlplatform.lib import clock
from tenants.admin import formats
from tenants.admin.confirmation import Question, ask
from tenants.admin.kit import StaffTabularInline, action, display

if TYPE_CHECKING:
    from django.contrib.admin.views.main import ChangeList
else:
    from unfold.views import ChangeList

_PERIOD: Final = dt.timedelta(days=30)


def with_calls(models: QuerySet[MLModel]) -> QuerySet[MLModel]:
    """Each model with ``calls_30d``, ``inputs_30d`` and ``cached_30d``: calls, inputs and cached inputs of the last 30 days.

    The month is read once for all models, so the sums go into the statement as numbers: three subqueries for each model read
    the year.
    """
    since = (clock.now() - _PERIOD).date()
    usage = UsageRollup.objects.filter(day__gt=since).exclude(model="").order_by().values_list("model")
    found = usage.annotate(calls=Sum("model_calls"), inputs=Sum("inputs"), cached=Sum("cached_inputs"))
    by_meter = {meter: sums for meter, *sums in found}
    by_pk = {
        pk: by_meter[meter]
        for pk, meter in MLModel.objects.annotate(meter=names.sql()).order_by().values_list("pk", "meter")
        if meter in by_meter
    }
    return models.annotate(
        **{name: _numbers(by_pk, at) for at, name in enumerate(("calls_30d", "inputs_30d", "cached_30d"))}
    )


def _numbers(by_pk: Mapping[int, Sequence[int]], at: int) -> Case:
    whens = [When(pk=pk, then=Value(sums[at])) for pk, sums in by_pk.items()]
    return Case(*whens, default=Value(0), output_field=BigIntegerField())


class _ModelList(ChangeList):
    """Only the list shows calls; a model's page, and fields that find a model, do not read a month of usage."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[MLModel]:
        self.root_queryset = with_calls(self.root_queryset).prefetch_related("versions")
        return super().get_queryset(request, exclude_parameters)


class VersionInline(StaffTabularInline):
    """The versions at a glance; each opens on a page of its own, where it is promoted or retired."""

    model = ModelVersion
    fields = ("opened", "state_now", "measured", "live_since")
    readonly_fields = fields
    can_delete = False
    ordering = ["-created_at"]
    hide_title = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @display(description="Version")
    def opened(self, version: ModelVersion) -> SafeString:
        address = reverse("admin:inference_modelversion_change", args=[version.pk])
        return format_html('<a class="p-link" href="{}">{}</a>', address, version.version)

    @display(description="State")
    def state_now(self, version: ModelVersion) -> SafeString:
        return state_badge(version)

    @display(description="Accuracy")
    def measured(self, version: ModelVersion) -> SafeString:
        return accuracy(version)


@admin.register(MLModel)
class MLModelAdmin(RolloutPages, WorkersPage):
    list_display = [
        "title_and_name",
        "live_version",
        "versions_all",
        "measured",
        "calls",
        "cached",
    ]
    search_fields = ["meter", "title", "description"]
    search_help_text = "Name, such as sentiment or acme/sentiment, title or description"
    ordering = ["name", "owner__slug"]
    inlines = [VersionInline]
    autocomplete_fields = ["owner"]
    actions_detail = ["rollouts", "stage_version", "purge_cache"]
    fieldsets = [
        (None, {"fields": ["name", "title", "description"]}),
        ("Who may use it", {"fields": ["owner"]}),
        ("Workers", {"fields": ["pool"]}),
        ("Cache", {"fields": ["cache_ttl_s", "shared_cache"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[MLModel]:
        return super().get_queryset(request).select_related("owner").annotate(meter=names.sql())

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return _ModelList

    def get_readonly_fields(self, request: HttpRequest, obj: MLModel | None = None) -> list[str]:
        # Customers' programs, prices, limits and usage name the model by its name.
        return [] if obj is None else ["name", "cache_effect"]

    def get_fieldsets(self, request: HttpRequest, obj: MLModel | None = None) -> Any:
        own = super().get_fieldsets(request, obj)
        return own if obj is None else [*own, ("Usage", {"fields": ["cache_effect"]})]

    def get_inlines(self, request: HttpRequest, obj: MLModel | None) -> Any:
        return [] if obj is None else super().get_inlines(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: MLModel | None = None) -> bool:
        # Usage names it for years: retire its versions instead.
        return False

    def has_stage_version_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return request.user.has_perm("inference.add_modelversion")

    def publish(self, obj: MLModel) -> None:
        versions.changed()

    def save_model(self, request: HttpRequest, obj: MLModel, form: Any, change: bool) -> None:
        before = MLModel.objects.select_related("owner").get(pk=obj.pk) if change else None
        super().save_model(request, obj, form, change)
        if before is not None and before.owner_id != obj.owner_id:
            _say_what_is_left(request, obj, before.qualified_name)
        if obj.owner is None and (told := push.namesakes_told(obj.name)):
            messages.warning(request, told)

    @display(description="Model", ordering="name", header=True)
    def title_and_name(self, model: MLModel) -> list[str]:
        return [model.qualified_name, model.title]

    @display(description="Live")
    def live_version(self, model: MLModel) -> SafeString:
        live = _live(model)
        return (
            formats.badge(live.version, "success") if live else formats.badge("none", "warning", why="Calls get 404.")
        )

    @display(description="Versions")
    def versions_all(self, model: MLModel) -> SafeString:
        rows = ((version.version, f" {version.get_state_display().lower()}") for version in model.versions.all())
        return format_html_join("", '<span class="p-version"><b>{}</b>{}</span>', rows) or format_html("{}", "none")

    @display(description="Accuracy")
    def measured(self, model: MLModel) -> SafeString:
        live = _live(model)
        return accuracy(live) if live else format_html("{}", "–")

    @display(description="Calls, 30 days", ordering="calls_30d")
    def calls(self, model: MLModel) -> SafeString:
        return formats.number(model.calls_30d)  # type: ignore[attr-defined]  # annotated by with_calls

    @display(description="Cache", ordering="cache_ttl_s")
    def cached(self, model: MLModel) -> str | SafeString:
        if not model.cache_ttl_s:
            return "off"
        hits = formats.share(model.cached_30d, model.inputs_30d)  # type: ignore[attr-defined]  # annotated by with_calls
        kept = f"{model.cache_ttl_s:,} s, {'shared' if model.shared_cache else 'each tenant its own'}"
        return format_html('<span class="p-number">{} hits</span><span class="p-note">{}</span>', hits, kept)

    @display(description=cache_effect.TITLE)
    def cache_effect(self, model: MLModel) -> SafeString:
        return cache_effect.of_model(model.qualified_name)

    @action(description="Stage a version", permissions=["stage_version"], icon="add")
    def stage_version(self, request: HttpRequest, object_id: str) -> HttpResponse:
        address = f"{reverse('admin:inference_modelversion_add')}?model={int(object_id)}"
        return HttpResponse(status=302, headers={"Location": address})

    @action(description="Purge cache", permissions=["change"], icon="mop")
    def purge_cache(self, request: HttpRequest, object_id: str) -> HttpResponse:
        model = get_object_or_404(MLModel, pk=object_id)

        def act() -> str:
            versions.purge_cache(model=model)
            return f"The cache of {model} is empty."

        return ask(
            request,
            self,
            question=Question(
                title=f"Purge the cache of {model}",
                question="Forget every cached answer of this model?",
                consequences=[
                    "All its versions compute each input anew, so the workers are busier until the cache is warm.",
                    "Customers pay the price of computed inputs again.",
                ],
                subjects=[str(model)],
                button="Purge",
            ),
            act=act,
            back=reverse("admin:inference_mlmodel_change", args=[object_id]),
        )


def _live(model: MLModel) -> ModelVersion | None:
    return next((version for version in model.versions.all() if version.state == VersionState.LIVE), None)


def _say_what_is_left(request: HttpRequest, model: MLModel, before: str) -> None:
    left = ownership.changed(model=model, before=before)
    messages.warning(
        request,
        f"It is {model.qualified_name} on meters and in reports from now on, and was {before}; its schedules were renamed.",
    )
    if left:
        messages.warning(request, f"Still of {before}, and so of this model no more: {', '.join(left)}.")
