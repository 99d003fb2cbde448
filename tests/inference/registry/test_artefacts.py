import hashlib
import os
from pathlib import Path

import pytest

from inference.registry import artefacts
from inference.registry.artefacts import ArtefactError


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    directory = tmp_path / "artefact"
    (directory / "tokens").mkdir(parents=True)
    (directory / "head.safetensors").write_bytes(b"weights")
    (directory / "tokens" / "tokenizer.json").write_bytes(b"{}")
    return directory


def test_the_digest_is_the_one_that_the_documentation_describes(artefact: Path) -> None:
    lines = [
        f"head.safetensors\0{hashlib.sha256(b'weights').hexdigest()}\n",
        f"tokens/tokenizer.json\0{hashlib.sha256(b'{}').hexdigest()}\n",
    ]
    assert artefacts.digest(artefact) == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_verify_accepts_what_was_registered(artefact: Path) -> None:
    artefacts.verify(artefact, expected=artefacts.digest(artefact))


def test_the_digest_does_not_depend_on_where_or_when_the_files_were_made(artefact: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "tokens").mkdir(parents=True)
    (other / "tokens" / "tokenizer.json").write_bytes(b"{}")
    (other / "head.safetensors").write_bytes(b"weights")
    os.utime(other / "head.safetensors", (0, 0))
    assert artefacts.digest(other) == artefacts.digest(artefact)


@pytest.mark.parametrize("change", ["content", "one more file", "one file less", "name", "swapped content"])
def test_every_change_is_noticed(artefact: Path, change: str) -> None:
    registered = artefacts.digest(artefact)
    head, tokenizer = artefact / "head.safetensors", artefact / "tokens" / "tokenizer.json"
    if change == "content":
        head.write_bytes(b"Weights")
    elif change == "one more file":
        (artefact / "more.json").write_bytes(b"")
    elif change == "one file less":
        tokenizer.unlink()
    elif change == "name":
        head.rename(artefact / "body.safetensors")
    else:
        head.write_bytes(b"{}")
        tokenizer.write_bytes(b"weights")
    with pytest.raises(ArtefactError, match="was registered"):
        artefacts.verify(artefact, expected=registered)


@pytest.mark.parametrize(
    "name", ["model.pt", "model.bin", "model.pkl", "model.PT", "code.py", "x.json.pickle", "json", ".json"]
)
def test_files_that_are_not_plain_data_are_refused(artefact: Path, name: str) -> None:
    (artefact / "tokens" / name).write_bytes(b"x")
    with pytest.raises(
        ArtefactError, match=r"only \.jpg, \.json, \.md, \.png, \.safetensors, \.toml, \.txt files are allowed"
    ):
        artefacts.digest(artefact)


@pytest.mark.parametrize("place", ["file", "directory", "dangling"])
def test_symbolic_links_are_refused(artefact: Path, tmp_path: Path, place: str) -> None:
    outside = tmp_path / "outside.json"
    outside.write_bytes(b"{}")
    target = {"file": outside, "directory": tmp_path, "dangling": tmp_path / "nothing.json"}[place]
    (artefact / "link.json").symlink_to(target)
    with pytest.raises(ArtefactError, match="symbolic link"):
        artefacts.digest(artefact)


def test_a_pipe_is_refused_and_not_waited_for(artefact: Path) -> None:
    os.mkfifo(artefact / "pipe.json")
    with pytest.raises(ArtefactError, match="not a regular file"):
        artefacts.digest(artefact)


def test_a_name_that_could_imitate_two_lines_is_refused(artefact: Path) -> None:
    (artefact / "a\nb.json").write_bytes(b"{}")
    with pytest.raises(ArtefactError, match="unprintable"):
        artefacts.digest(artefact)


def test_a_missing_directory_a_file_and_an_empty_directory_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.json").write_bytes(b"{}")
    for name, reason in (("missing", "does not exist"), ("file.json", "does not exist"), ("empty", "holds no files")):
        with pytest.raises(ArtefactError, match=reason):
            artefacts.digest(tmp_path / name)
