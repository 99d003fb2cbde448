"""What the kernel refuses a process behind the walls: tried by a program that has put them up."""

import subprocess
import sys
from pathlib import Path

import pytest

from mlplatform.run.environment import ROOT

PROGRAM = """
import errno, os, socket, sys
from pathlib import Path
from inference.isolation import walls

inside, outside = Path(sys.argv[1]), Path(sys.argv[2])
print("walls", *walls.put_up(readable=[inside, Path(sys.prefix), Path(sys.base_prefix), Path("/usr/lib"), Path("/lib")]))

def tried(what, act):
    try:
        act()
    except OSError as error:
        print(what, errno.errorcode[error.errno])
    else:
        print(what, "allowed")

tried("read-inside", lambda: (inside / "file").read_bytes())
tried("read-outside", lambda: (outside / "file").read_bytes())
tried("list-outside", lambda: list(outside.iterdir()))
tried("write-inside", lambda: (inside / "file").write_bytes(b"x"))
tried("create-inside", lambda: (inside / "new").touch())
tried("delete-inside", lambda: (inside / "file").unlink())
tried("environment-of-parent", lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes())
tried("socket", lambda: socket.socket())
tried("unix-socket", lambda: socket.socket(socket.AF_UNIX))
tried("socketpair", lambda: socket.socketpair())
tried("program", lambda: os.execv("/bin/true", ["true"]))
tried("kill", lambda: os.kill(os.getppid(), 0))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the walls are of Linux")
def test_files_network_programs_and_other_processes_are_out_of_reach(tmp_path: Path) -> None:
    for name in ("inside", "outside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"secret")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "inside"), str(tmp_path / "outside")],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert dict(line.split(" ", 1) for line in done.stdout.splitlines()) == {
        "walls": "landlock seccomp",
        "read-inside": "allowed",
        "read-outside": "EACCES",
        "list-outside": "EACCES",
        "write-inside": "EACCES",
        "create-inside": "EACCES",
        "delete-inside": "EACCES",
        "environment-of-parent": "EACCES",
        "socket": "EPERM",
        "unix-socket": "EPERM",
        "socketpair": "EPERM",
        "program": "EPERM",
        "kill": "EPERM",
    }
    assert (tmp_path / "inside" / "file").read_bytes() == b"secret"
