"""What the figures were measured on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

from mlplatform.run import redis_binary

_PACKAGES = ("Django", "redis", "hiredis", "celery", "torch", "fastapi", "uvicorn", "uvloop", "httptools")


def describe() -> str:
    """One paragraph: cores, processor, load, Python and the versions that matter."""
    server = redis_binary.find()
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    redis = ".".join(str(part) for part in server.version)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{cores} cores of {_processor()}, {platform.system()} {platform.release()}, Python {platform.python_version()}; "
        f"{server.path.name} {redis}; {packages}. Load average at the start: {os.getloadavg()[0]:.1f}."
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
