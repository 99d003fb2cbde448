"""The form that stages a version: its artefact is read and digested before anything is stored."""

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ValidationError

from inference.models import ModelVersion
from inference.registry import artefacts, versions
from inference.registry.artefacts import ArtefactError
from mlplatform.lib.errors import PlatformError
from tenants.admin.kit import ModelForm

CONTRACT = ["input_schema", "output_schema", "labels"]
RUNNING = ["max_batch_size", "device", "max_batch_tokens", "max_queue_delay_ms", "precision", "acceleration"]
MEASURED = ["accuracy", "accuracy_note", "speed_note", "licence"]


class VersionForm(ModelForm[ModelVersion]):
    """Stages a version, or changes how it runs and what was measured; its artefact, contract and precision never change."""

    class Meta:
        model = ModelVersion
        fields = [
            "model",
            "version",
            "runtime",
            "artefact_path",
            *CONTRACT,
            *RUNNING,
            *MEASURED,
        ]

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        path = self.cleaned_data.get("artefact_path")
        if path and not self.instance.pk:
            self._check_artefact(path)
        return cleaned

    def clean_labels(self) -> list[str]:
        labels = self.cleaned_data["labels"]
        if not isinstance(labels, list) or not all(isinstance(label, str) and label for label in labels):
            raise ValidationError(
                'Write a list of texts such as ["negative", "positive"], or [] for an embedding or scores.'
            )
        return labels

    def clean_input_schema(self) -> dict[str, Any]:
        return _with_kind(self.cleaned_data["input_schema"], ("image", "pair", "tensor", "text"))

    def clean_output_schema(self) -> dict[str, Any]:
        return _with_kind(self.cleaned_data["output_schema"], ("classification", "embedding", "scores"))

    def _check_artefact(self, path: str) -> None:
        try:
            folder = versions.artefact_folder(ModelVersion(artefact_path=path))
            self.instance.sha256 = artefacts.digest(folder)
        except (ArtefactError, PlatformError, OSError) as error:
            self.add_error("artefact_path", str(error))


def _with_kind(schema: Any, kinds: Sequence[str]) -> dict[str, Any]:
    if not isinstance(schema, dict) or schema.get("kind") not in kinds:
        raise ValidationError(f'Write an object whose "kind" is {" or ".join(kinds)}.')
    return schema
