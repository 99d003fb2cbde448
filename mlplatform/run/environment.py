"""Reads the launcher's own environment once and makes the environment of every process from it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlplatform.run.problems import LaunchError

ROOT = Path(__file__).resolve().parents[2]
"""The folder with manage.py and the Procfile."""

MARKER = "MLPLATFORM_RUN_OF"
"""Every process of a run carries this variable with its DATA_DIR, so that what a killed run left is found."""

_DEFAULTS = {
    "WEB_HOST": "127.0.0.1",
    "WEB_WORKERS": "1",
    "WEB_THREADS": "128",
    "WORKER_POOLS": "gpu",
    "PRIVATE_MODELS_POOL": "private",
    "PRIVATE_MODELS_AT_ONCE": "4",
}
# These would be read as a comment, an expansion or a new line by supervisord's configuration.
_UNSAFE_IN_PATH = re.compile(r"[;#%\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """Where a run keeps its files, which ports it takes and what its processes find in their environment."""

    root: Path
    data_dir: Path
    web_host: str
    web_port: int
    grpc_host: str
    grpc_port: int
    redis_url: str
    """The state Redis that the operator gave, or empty: then the launcher starts one."""
    cache_redis_url: str
    environ: Mapping[str, str] = field(repr=False)

    @property
    def run_dir(self) -> Path:
        """Files of the running processes: rendered configuration, lock, remembered ports."""
        return self.data_dir / "run"

    @property
    def log_dir(self) -> Path:
        """One log per process."""
        return self.data_dir / "logs"

    @property
    def metrics_dir(self) -> Path:
        """Where web and worker processes keep their metrics, so that ``/metrics`` tells all of them."""
        return self.run_dir / "metrics"

    @property
    def static_dir(self) -> Path:
        """Static files, gathered by ``manage.py collect_static``."""
        return self.data_dir / "static"

    @property
    def web_url(self) -> str:
        """Where this machine reaches the web process."""
        return f"http://{_reachable(self.web_host)}:{self.web_port}"

    @property
    def grpc_target(self) -> str:
        """Where this machine reaches the gRPC process, as ``host:port``."""
        return f"{_reachable(self.grpc_host)}:{self.grpc_port}"

    @property
    def grpc_tls(self) -> bool:
        """Whether the gRPC process speaks TLS."""
        return bool(self.environ.get("GRPC_TLS_CERT"))


def read(environ: Mapping[str, str], *, root: Path = ROOT) -> LaunchPlan:
    """Return the plan of this run; raises LaunchError that names the variable which cannot be used."""
    given = Path(environ.get("DATA_DIR") or root / "var").expanduser()
    data_dir = Path(os.path.abspath(root / given))  # noqa: PTH100 (resolve() would follow links, people would not know the path)
    if _UNSAFE_IN_PATH.search(str(data_dir)):
        raise LaunchError(f"DATA_DIR may hold no ';', '#', '%' or control character: {str(data_dir)!r}.")
    web_port = _port(environ, "WEB_PORT", 8000)
    grpc_port = _port(environ, "GRPC_PORT", 50051)
    if web_port == grpc_port:
        raise LaunchError(f"WEB_PORT and GRPC_PORT are both {web_port}: give them different ports.")
    scripts = str(Path(sys.executable).parent)
    made = {
        **_DEFAULTS,
        **environ,
        "DATA_DIR": str(data_dir),
        "WEB_PORT": str(web_port),
        "GRPC_PORT": str(grpc_port),
        "GRPC_HOST": environ.get("GRPC_HOST") or environ.get("WEB_HOST") or _DEFAULTS["WEB_HOST"],
        "PATH": os.pathsep.join([scripts, environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "PROMETHEUS_MULTIPROC_DIR": str(data_dir / "run" / "metrics"),
        "DJANGO_SETTINGS_MODULE": "mlplatform.settings",
        MARKER: str(data_dir),
    }
    for name in ("WEB_WORKERS", "WEB_THREADS", "PRIVATE_MODELS_AT_ONCE"):
        if not made[name].isascii() or not made[name].isdigit() or int(made[name]) < 1:
            raise LaunchError(f"{name} must be a whole number of at least 1, not {made[name]!r}.")
    return LaunchPlan(
        root=root,
        data_dir=data_dir,
        web_host=made["WEB_HOST"],
        web_port=web_port,
        grpc_host=made["GRPC_HOST"],
        grpc_port=grpc_port,
        redis_url=environ.get("REDIS_URL", "").strip(),
        cache_redis_url=environ.get("CACHE_REDIS_URL", "").strip(),
        environ=made,
    )


def _reachable(host: str) -> str:
    """The host as this machine reaches what is bound to it, for a URL."""
    wildcard = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 (compared with, not bound)
    return wildcard.get(host, f"[{host}]" if ":" in host else host)


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "").strip() or str(default)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise LaunchError(f"{name} must be a port number from 1 to 65535, not {text!r}.")
    return int(text)
