"""Demo models as rows: what ``manage.py install_demo_models`` does, idempotently."""

from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.db import transaction

from inference.demo.cards import DemoCard, cards
from inference.demo.installation import assemble
from inference.models import MLModel, ModelVersion, VersionState
from inference.registry import artefacts, names, versions

_TITLES = {
    "sentiment": ("Sentiment", "Whether a text is positive or negative."),
    "digits": ("Digits", "Which digit an 8×8 grey image shows."),
    "minilm": ("MiniLM", "A text as a vector of 384 numbers, for search and comparison."),
    "recommender": ("Recommender", "How well each of 128 items fits what a user likes."),
}


def install() -> Iterator[str]:
    """Put each demo model's artefact below the models folder and register it; yields one line for each.

    What staff changed since the first start (live version, texts) stays; a version whose artefact is missing or
    changed on disk is put together again.
    """
    for card in cards():
        folder = f"{card.name}/{card.version}"
        existing = names.version(f"{card.name}@{card.version}")
        if existing is not None and _intact(existing):
            yield f"{card.name}@{card.version} is installed"
            continue
        target = assemble(card, Path(settings.MODELS_DIR) / folder)
        if existing is None:
            _register(card, folder)
            yield f"{card.name}@{card.version} was installed"
        else:
            existing.sha256 = artefacts.digest(target)
            existing.save(update_fields=["sha256"])
            versions.changed()
            yield f"{card.name}@{card.version} was repaired"


def _intact(version: ModelVersion) -> bool:
    try:
        artefacts.verify(versions.artefact_folder(version), expected=version.sha256)
    except artefacts.ArtefactError:
        return False
    return True


@transaction.atomic
def _register(card: DemoCard, folder: str) -> None:
    title, description = _TITLES.get(card.name, (card.name.title(), card.description))
    model, _ = MLModel.objects.get_or_create(
        name=card.name, owner=None, defaults={"title": title, "description": description}
    )
    version = versions.stage(
        model=model,
        version=card.version,
        artefact_path=folder,
        runtime=card.runtime,
        input_schema=dict(card.input_schema),
        output_schema=dict(card.output_schema),
        labels=list(card.labels),
        max_batch_size=card.max_batch_size,
        accuracy=card.accuracy,
        accuracy_note=card.accuracy_note,
    )
    versions.mark_verified(version_id=version.pk, error="")
    if not ModelVersion.objects.filter(model=model, state=VersionState.LIVE).exists():
        versions.promote(version=version, before_workers=True)
