"""The page "Push a package": a zip with card, weights and tokenizer becomes a staged version, with everything the card says."""

from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from kombu.exceptions import OperationalError

from inference.models import ModelVersion
from inference.registry.packages import push
from mlplatform.lib import prose
from mlplatform.lib.errors import PlatformError
from tenants.admin.kit import StaffAdmin, action
from tenants.models import Tenant, User

if TYPE_CHECKING:
    from django.forms import FileInput as UnfoldAdminFileFieldWidget
    from django.forms import Select as UnfoldAdminSelectWidget
else:
    from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminSelectWidget


class PackageForm(forms.Form):
    """A zip, and whose model it is where the model is new."""

    package = forms.FileField(
        label="Package (zip)",
        widget=UnfoldAdminFileFieldWidget,
        help_text="model.toml, weights as safetensors, tokenizer files: docs/serve-your-model.md has an example of each kind.",
    )
    owner = forms.ModelChoiceField(
        queryset=Tenant.objects.order_by("slug"),
        required=False,
        empty_label="No owner: on sale to all",
        widget=UnfoldAdminSelectWidget,
        help_text="Of a new model: the only tenant that sees and calls it.",
    )


class UploadPage(StaffAdmin[ModelVersion]):
    """The view, for the admin of versions."""

    def has_upload_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return self.has_add_permission(request)

    @action(description="Push a package", permissions=["upload"], icon="upload", url_path="upload")
    def upload(self, request: HttpRequest) -> HttpResponse:
        form = PackageForm(request.POST, request.FILES) if request.method == "POST" else PackageForm()
        if request.method == "POST" and form.is_valid():
            try:
                version = push.push(
                    source=form.cleaned_data["package"],
                    owner=form.cleaned_data["owner"],
                    by=cast(User, request.user),
                    operator=True,
                )
            except PlatformError as error:
                told = f"`{error.field}`: {error.detail}" if error.field else error.detail
                form.add_error("package", prose.html(told))
            except OperationalError:
                # The task is sent after the commit, so the version is there; only the worker was not told.
                messages.warning(
                    request, "The version is staged, but the broker does not answer: verify it when it is back."
                )
                return HttpResponseRedirect(reverse("admin:inference_modelversion_changelist"))
            else:
                messages.success(request, f"{version} is staged; a worker loads it and runs its examples.")
                for notice in push.notices(version):
                    messages.warning(request, notice)
                return HttpResponseRedirect(reverse("admin:inference_modelversion_change", args=[version.pk]))
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Push a package",
            "form": form,
            "fields": list(form),
            "notes": [
                f"At most {settings.MAX_PACKAGE_BYTES // 1024**2:,} MiB. Nothing in it is run: weights are safetensors, never "
                "pickles.",
                "It is checked at once; then a worker loads it, and it is ready when its examples give what its card says.",
            ],
            "back": reverse("admin:inference_modelversion_changelist"),
            "button": "Push",
            "media": self.media,
        }
        return TemplateResponse(request, "admin/inference/upload.html", context)
