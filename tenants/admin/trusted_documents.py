"""Trusted documents: the GraphQL documents that a tenant's programs send by their hash."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from mlplatform.lib.errors import PlatformError
from tenants import trusted_documents
from tenants.admin import formats
from tenants.admin.kit import ModelForm, StaffAdmin, display
from tenants.models import TrustedDocument


class TrustedDocumentForm(ModelForm[TrustedDocument]):
    """Registers a document or renames it. ``judge`` is set by the admin: this floor does not know the schema."""

    judge: trusted_documents.Judge

    class Meta:
        model = TrustedDocument
        fields = ["tenant", "name", "text"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "text" in self.fields:
            # Line ends and spaces are part of what is hashed.
            self.fields["text"].strip = False  # type: ignore[attr-defined]

    def clean_text(self) -> str:
        # Browsers send every line end as two characters; programs know the text with one.
        return str(self.cleaned_data["text"]).replace("\r\n", "\n")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        text, tenant = cleaned.get("text"), cleaned.get("tenant")
        if text is None:
            return cleaned
        try:
            trusted_documents.check(name=cleaned.get("name") or "unnamed", text=text, judge=type(self).judge)
        except PlatformError as error:
            raise ValidationError({error.field or "text": error.detail}) from error
        known = TrustedDocument.objects.filter(tenant=tenant, sha256=trusted_documents.digest(text)).first()
        if known is not None:
            raise ValidationError({"text": f"The tenant has this document already: {known.name}."})
        return cleaned


class TrustedDocumentAdmin(StaffAdmin[TrustedDocument]):
    form = TrustedDocumentForm
    list_display = ["title", "tenant", "document_id", "created_at"]
    list_filter = ["tenant"]
    list_select_related = ["tenant"]
    search_fields = ["name", "sha256", "tenant__name", "tenant__slug"]
    search_help_text = "Name, hash, or tenant"
    autocomplete_fields = ["tenant"]

    def judge(self, text: str) -> str:
        """What is wrong with a document; the roof knows."""
        return ""

    def get_queryset(self, request: HttpRequest) -> QuerySet[TrustedDocument]:
        return super().get_queryset(request).defer("text")

    def get_form(
        self, request: HttpRequest, obj: TrustedDocument | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        form.judge = staticmethod(self.judge)  # type: ignore[attr-defined]  # TrustedDocumentForm's
        return form

    def get_fields(self, request: HttpRequest, obj: TrustedDocument | None = None) -> Any:
        if obj is None:
            return ["tenant", "name", "text"]
        return ["tenant", "name", "document", "document_id", "created_at"]

    def get_readonly_fields(self, request: HttpRequest, obj: TrustedDocument | None = None) -> list[str]:
        # Another text has another hash: it is another document.
        return [] if obj is None else ["tenant", "document", "document_id", "created_at"]

    def save_model(self, request: HttpRequest, obj: TrustedDocument, form: Any, change: bool) -> None:
        if not change:
            obj.sha256 = trusted_documents.digest(obj.text)
        super().save_model(request, obj, form, change)

    @display(description="Document", ordering="name")
    def title(self, document: TrustedDocument) -> str:
        return document.name

    @display(description="Text")
    def document(self, document: TrustedDocument) -> SafeString:
        return format_html('<pre class="p-pre">{}</pre>', document.text)

    @display(description="Document id")
    def document_id(self, document: TrustedDocument) -> SafeString:
        return formats.code(f"sha256:{document.sha256}", wrap=True)
