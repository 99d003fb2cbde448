"""Ten tenants with a model each that hurts the process that runs it, and the calls that make it do so."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import customer
from bench.processes import ROOT

TENANTS: Final = 10


def _split(regex: str) -> dict[str, Any]:
    # Behind the honest one, so that the card's example has the tokens that it should.
    own = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "BertPreTokenizer"}, own]}}


_HONEST: Final = {
    "type": "BertNormalizer",
    "clean_text": True,
    "handle_chinese_chars": True,
    "strip_accents": None,
    "lowercase": True,
}
_GROWS: Final = {"type": "Replace", "pattern": {"String": "ω"}, "content": "ωωωω"}
_KINDS: Final[tuple[tuple[str, Mapping[str, Any], str], ...]] = (
    ("hangs", _split("a{1,1500}a{1,1500}(?!a)(?<=b)"), "a" * 450),
    ("panics", _split("(a|a)*$"), "a" * 40 + "b"),
    ("grows", {"normalizer": {"type": "Sequence", "normalizers": [_HONEST, *[_GROWS] * 14]}}, "ω" * 10),
)
"""A name, the part of the tokenizer that hurts, and the text that it hurts on. The first takes some processor time and breaks no
limit, so that its model stays in service."""


@dataclass(frozen=True, slots=True)
class Hostile:
    """A tenant's key, the name of its model, and the text on which it hurts."""

    key: str
    model: str
    text: str


def install(env: Mapping[str, str], folder: Path) -> list[Hostile]:
    """Push ten of them, live, each for a tenant of its own. Raises RuntimeError with the words of what failed."""
    _run([sys.executable, "docs/examples/make_models.py", str(folder)], env)
    honest = folder / "1.0.0" / "meanings"
    slugs = [f"hostile-{number}" for number in range(TENANTS)]
    made = []
    for number, (slug, key) in enumerate(zip(slugs, customer.make(env, slugs), strict=True)):
        kind, parts, text = _KINDS[number % len(_KINDS)]
        name = f"{kind}-{number}"
        package = folder / name
        package.mkdir()
        for file in honest.iterdir():
            (package / file.name).write_bytes(file.read_bytes())
        tokenizer = json.loads((honest / "tokenizer.json").read_text())
        (package / "tokenizer.json").write_text(json.dumps(tokenizer | parts))
        card = (honest / "model.toml").read_text().replace('name = "meanings"', f'name = "{name}"')
        (package / "model.toml").write_text(card)
        _run([sys.executable, "manage.py", "model", "push", str(package), "--owner", slug, "--promote"], env)
        made.append(Hostile(key, name, text))
    return made


def _run(command: list[str], env: Mapping[str, str]) -> None:
    done = subprocess.run(command, cwd=ROOT, env=dict(env), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:4])} failed: {done.stdout[-1000:]}{done.stderr[-1000:]}")
