"""Model versions: staged with an artefact, verified by a worker, promoted, retired."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db.models import QuerySet, Value
from django.db.models.functions import Concat
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.safestring import SafeString
from kombu.exceptions import OperationalError

from inference.admin.measurements import MeasurementInline
from inference.admin.states import accuracy, state_badge
from inference.admin.uploads import UploadPage
from inference.admin.version_form import CONTRACT, MEASURED, RUNNING, VersionForm
from inference.models import MLModel, ModelVersion, VersionState
from inference.registry import names, versions
from inference.registry.rollouts import sunset
from mlplatform.lib.errors import unavailable
from tenants.admin import formats
from tenants.admin.confirmation import Question, ask
from tenants.admin.kit import action, display
from tenants.models import User

if TYPE_CHECKING:
    from django.contrib.admin import RelatedFieldListFilter as RelatedDropdownFilter
else:
    from unfold.contrib.filters.admin import RelatedDropdownFilter

_POSSIBLE = {
    VersionState.STAGED: {"verify", "retire"},
    VersionState.READY: {"verify", "promote", "retire"},
    VersionState.LIVE: {"verify"},
    VersionState.RETIRED: set(),
}


class ModelFilter(RelatedDropdownFilter):
    """Models by name; a private one's name is its owner's, too, which is read with it."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:
        return [(str(row.pk), str(row)) for row in MLModel.objects.select_related("owner").order_by("name", "pk")]


@admin.register(ModelVersion)
class ModelVersionAdmin(UploadPage):
    form = VersionForm
    list_display = [
        "reference",
        "state_now",
        "measured",
        "runtime",
        "max_batch_size",
        "digest",
        "created",
    ]
    list_filter = ["state", ("model", ModelFilter), "runtime"]
    list_select_related = ["model"]
    search_fields = ["reference", "=sha256"]
    search_help_text = "Model, version, both such as acme/sentiment@1.0.0, or the SHA-256 of an artefact in full"
    autocomplete_fields = ["model"]
    inlines = [MeasurementInline]
    actions_list = ["upload"]
    actions_detail = ["verify", "promote", "retire"]

    def get_fieldsets(self, request: HttpRequest, obj: ModelVersion | None = None) -> Any:
        what = ["model", "version", "runtime", "artefact_path"]
        sets: list[Any] = [
            (
                None,
                {
                    "fields": what
                    if obj is None
                    else ["state_now", *what, "digest_full", "load_error_text", "live_since", "created_at"]
                },
            ),
            ("How it runs", {"fields": [tuple(RUNNING[:2]), tuple(RUNNING[2:4]), tuple(RUNNING[4:])]}),
            ("How good it is", {"fields": MEASURED}),
            ("Contract", {"fields": CONTRACT if obj is None else [*CONTRACT, "tokens_read"]}),
        ]
        return sets

    def get_readonly_fields(self, request: HttpRequest, obj: ModelVersion | None = None) -> list[str]:
        facts = ["state_now", "digest_full", "load_error_text", "live_since", "created_at", "tokens_read"]
        # Precision and acceleration change answers: another one is another version, measured and verified on its own.
        fixed = ["model", "version", "runtime", "artefact_path", "precision", "acceleration", *CONTRACT]
        return facts if obj is None else [*fixed, *facts]

    def get_inlines(self, request: HttpRequest, obj: ModelVersion | None) -> Any:
        return [] if obj is None else super().get_inlines(request, obj)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ModelVersion]:
        rows = super().get_queryset(request).select_related("model__owner")
        return rows.annotate(reference=Concat(names.sql(of="model"), Value("@"), "version"))

    def has_delete_permission(self, request: HttpRequest, obj: ModelVersion | None = None) -> bool:
        # Usage and cached answers name it: retire it instead.
        return False

    def save_model(self, request: HttpRequest, obj: ModelVersion, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        fields = {name: form.cleaned_data[name] for name in ("runtime", *CONTRACT, *RUNNING, *MEASURED)}
        row = versions.stage(model=obj.model, version=obj.version, artefact_path=obj.artefact_path, **fields)
        obj.__dict__.update(row.__dict__)
        versions.request_verification(version=obj)

    def get_changeform_initial_data(self, request: HttpRequest) -> Any:
        """A classifier of texts, as an example of the three JSON fields."""
        example = {"input_schema": {"kind": "text", "max_chars": 10000}, "output_schema": {"kind": "classification"}}
        return {**example, "labels": ["negative", "positive"], **super().get_changeform_initial_data(request)}

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        try:
            return super().add_view(request, form_url, extra_context)
        except OperationalError:
            # The task is sent after the commit, so the version is there; only the worker was not told.
            messages.warning(
                request, "The version is staged, but the broker does not answer: verify it when it is back."
            )
            return HttpResponseRedirect(reverse("admin:inference_modelversion_changelist"))

    def publish(self, obj: ModelVersion) -> None:
        versions.changed()

    @display(description="Version", ordering="model__name")
    def reference(self, version: ModelVersion) -> str:
        return str(version)

    @display(description="State", ordering="state")
    def state_now(self, version: ModelVersion) -> SafeString:
        return state_badge(version)

    @display(description="Accuracy", ordering="accuracy")
    def measured(self, version: ModelVersion) -> SafeString:
        return accuracy(version)

    @display(description="Artefact")
    def digest(self, version: ModelVersion) -> SafeString:
        return formats.code(version.sha256[:12])

    @display(description="Artefact SHA-256")
    def digest_full(self, version: ModelVersion) -> SafeString:
        return formats.code(version.sha256, wrap=True)

    @display(description="Tokens read")
    def tokens_read(self, version: ModelVersion) -> str:
        """Of one input; what is longer is refused, or cut where the call says so."""
        most = version.input_schema.get("max_tokens")
        if most is not None:
            return f"{most:,} at most"
        return "Told by the worker that loads it" if versions.reference(version).reads_text else "It reads no texts"

    @display(description="Staged", ordering="created_at")
    def created(self, version: ModelVersion) -> SafeString:
        return formats.age(version.created_at)

    @display(description="Loading")
    def load_error_text(self, version: ModelVersion) -> str:
        return version.load_error or "No worker reported a problem."

    @action(description="Verify", permissions=["change"], icon="fact_check")
    def verify(self, request: HttpRequest, object_id: str) -> HttpResponse:
        version = get_object_or_404(ModelVersion.objects.select_related("model__owner"), pk=object_id)

        def act() -> str:
            try:
                versions.request_verification(version=version)
            except OperationalError as error:
                raise unavailable("The broker does not answer, so no worker was asked; please try again.") from error
            return f"A worker was asked to load {version}; this page shows the outcome when it is loaded again."

        return ask(
            request,
            self,
            question=Question(
                title=f"Verify {version}",
                question="Have a worker load and warm this version?",
                consequences=["Its files are compared with the digest. If it loads, a staged version becomes ready."],
                subjects=[str(version)],
                button="Verify",
                danger=False,
            ),
            act=act,
            back=self._page(version),
        )

    @action(description="Promote", permissions=["change"], icon="rocket_launch")
    def promote(self, request: HttpRequest, object_id: str) -> HttpResponse:
        version = get_object_or_404(ModelVersion.objects.select_related("model__owner"), pk=object_id)
        live = ModelVersion.objects.filter(model=version.model, state=VersionState.LIVE).first()
        now = (
            f"Now {live.version} answers; it stays ready for callers that pin it, and for going back."
            if live
            else "Now none answers."
        )

        def act() -> str:
            versions.promote(version=version, by=request.user if isinstance(request.user, User) else None)
            return f"{version} is live."

        return ask(
            request,
            self,
            question=Question(
                title=f"Promote {version}",
                question=f"Let {version.version} answer every call that names {version.model.name} without a version?",
                consequences=[
                    now,
                    "Every process follows within a second. Answers in the cache of the other version are not used.",
                ],
                subjects=[str(version)],
                button="Promote",
                danger=False,
            ),
            act=act,
            back=self._page(version),
        )

    @action(description="Retire", permissions=["change"], icon="archive")
    def retire(self, request: HttpRequest, object_id: str) -> HttpResponse:
        version = get_object_or_404(ModelVersion.objects.select_related("model__owner"), pk=object_id)

        def act() -> str:
            versions.retire(version=version)
            return f"{version} is retired."

        return ask(
            request,
            self,
            question=Question(
                title=f"Retire {version}",
                question="Stop answering calls that pin this version, for good?",
                consequences=[
                    "Such calls get “no such model”. This cannot be undone; the same artefact can be staged under a new version."
                ],
                subjects=[str(version)],
                button="Retire",
            ),
            act=act,
            back=self._page(version),
        )

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[Any]:
        """Only what the version's state allows."""
        version = ModelVersion.objects.select_related("model__owner").filter(pk=object_id).first()
        possible = _POSSIBLE[VersionState(version.state)] if version is not None else set()
        if version is not None and "promote" in possible and sunset.has_ended(version):
            possible = possible - {"promote"}
        found: list[Any] = super().get_actions_detail(request, object_id)  # type: ignore[misc]  # unfold's
        return [entry for entry in found if entry.action_name.rpartition("_")[2] in possible]

    def _page(self, version: ModelVersion) -> str:
        return reverse("admin:inference_modelversion_change", args=[version.pk])
