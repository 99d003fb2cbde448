"""A models folder of a test's own, so that no other test sees what it pushes."""

from pathlib import Path

import pytest
from django.core.files.storage import storages
from pytest_django import Settings


@pytest.fixture
def models_dir(tmp_path: Path, settings: Settings) -> Path:
    """The folder of ``STORAGES["models"]``."""
    folder = tmp_path / "models"
    entry = {**settings.STORAGES["models"], "OPTIONS": {"location": str(folder)}}
    settings.STORAGES = {**settings.STORAGES, "models": entry}
    settings.MODELS_DIR = folder
    assert storages["models"].path("") in {str(folder), f"{folder}/"}
    return folder


def stored(folder: Path) -> set[str]:
    """Every file below the models folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
