"""The import contracts of ``pyproject.toml``: a module that imports what its room may not fails ``lint-imports``."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

ROOT = Path(__file__).resolve().parents[2]

TRESPASSERS = {
    "tenants/imports_upwards.py": ("import billing.pricing", "Apps are floors"),
    "inference/fleet/imports_upwards.py": ("import inference.engine.predict", "Rooms of inference are floors"),
    "inference/new_room/__init__.py": ("", "Rooms of inference are floors"),
    "billing/composes.py": ("import mlplatform.urls", "Only the roof composes"),
    "inference/recommendations/computes.py": ("import inference.runtimes.loading", "Models run in workers"),
    "inference/rest/computes_by_a_detour.py": (
        "import inference.management.commands.measure_model",
        "A web process never loads a model",
    ),
    "inference/demo/tensors.py": ("import torch", "Only runtimes import torch"),
    "inference/worker/tokens.py": ("import tokenizers", "Only runtimes import torch"),
    "inference/registry/weights.py": ("from safetensors import numpy", "Only runtimes import torch"),
    "inference/recommendations/answers.py": ("import rest_framework", "REST framework"),
    "tenants/http/documents.py": ("import drf_spectacular", "REST framework"),
    "billing/metering/types_of_graphql.py": ("import graphene", "GraphQL"),
    "inference/calls/parsing.py": ("import graphql", "GraphQL"),
    "inference/oip/codes.py": ("import grpc", "gRPC"),
    "inference/calls/details.py": ("from google.rpc import status_pb2", "gRPC"),
    "inference/rest/sending.py": ("import celery", "Celery"),
}
"""Modules that do not belong where they stand: path, what they hold, and how the contract is called that names them."""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is said of each broken contract, by its name, in a copy of the product with all trespassers."""
    copy = tmp_path_factory.mktemp("house")
    shutil.copy(ROOT / "pyproject.toml", copy)
    for app in ("mlplatform", "tenants", "billing", "inference"):
        shutil.copytree(ROOT / app, copy / app, ignore=_all_but_python)
    for name, (code, _) in TRESPASSERS.items():
        path = copy / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{code}\n")
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    parts = re.split(r"\n(.+)\n-{5,}\n", done.stdout.split("Broken contracts\n", 1)[1])
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _all_but_python(folder: str, names: list[str]) -> list[str]:
    return [
        name for name in names if not (name.endswith(".py") or Path(folder, name).is_dir()) or name == "__pycache__"
    ]


@pytest.mark.parametrize("path", TRESPASSERS)
def test_a_module_in_the_wrong_room_fails_the_contract(path: str, broken: dict[str, str]) -> None:
    contract = TRESPASSERS[path][1]
    said = next(text for name, text in broken.items() if contract in name)
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    assert module in said


def test_each_contract_has_a_trespasser(broken: dict[str, str]) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert set(broken) == {contract["name"] for contract in contracts}
