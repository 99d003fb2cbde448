"""``docs/grpc.md``: its Python code runs as it stands, with a client made as it says, and its table is the real one."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from inference.grpc import compile_protos, statuses
from mlplatform.run.environment import ROOT
from tests.conftest import Customer
from tests.support import ledger, venvs
from tests.support.live_worker import LiveWorker, demo_models, live_worker

__all__ = ["demo_models", "live_worker"]

GUIDE = (ROOT / "docs" / "grpc.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, flags=re.MULTILINE | re.DOTALL)


def test_the_code_runs_as_it_stands(
    tmp_path: Path, grpc_target: str, acme: Customer, prices: None, live_worker: LiveWorker
) -> None:
    shutil.copy(compile_protos.PROTOS / "ml_inference.proto", tmp_path)
    command = next(line for block in blocks("sh") for line in block.splitlines() if "grpc_tools.protoc" in line)
    assert shlex.split(command)[:2] == ["python", "-m"]
    (installed,) = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("pip install ")]
    python = str(venvs.of(tmp_path / "venv", *shlex.split(installed)[2:]) / "python")
    subprocess.run([python, *shlex.split(command)[1:]], cwd=tmp_path, check=True, timeout=60)
    (tmp_path / "example.py").write_text("\n".join(blocks("python")))
    environ = {**os.environ, "GRPC_TARGET": grpc_target, "API_KEY": acme.secret}
    ran = subprocess.run([python, "example.py"], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    said = ran.stdout.splitlines()
    assert said[0].split()[0] == "positive"
    assert said[1] in {str(digit) for digit in range(10)}
    assert said.pop(2) == "602 256", "tokens of a text that was cut, and how many were read"
    assert said[2:4] == ["positive", "The text is empty."]
    assert said[4:8] == ["0 positive", "1 negative", "2 INVALID_INPUT text", "3 positive"]
    assert said[8].startswith("NOT_FOUND There is no model 'missing'")
    assert said[9].split()[0] == "NOT_FOUND"
    assert said[10].startswith('"burst";r=')
    assert ledger.holds(acme.tenant) == 0


def test_the_table_names_every_kind_under_its_status() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.*?) \|", GUIDE, flags=re.MULTILINE)
    written = {kind: status for status, kinds in rows for kind in re.findall(r"`([A-Z_]+)`", kinds)}
    assert written == {kind.name: code.name for kind, code in statuses.TABLE.items()}
