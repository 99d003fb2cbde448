"""The product as ``make run`` starts it, in a folder of its own, with a customer whose limits are never reached."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
from prometheus_client.parser import text_string_to_metric_families

from bench import customer
from bench.processes import ROOT, answers, cpu_s, free_port, read, running, wait_until
from bench.redis_servers import RedisAt
from mlplatform.lib import redis_urls
from mlplatform.run import procfile

_START_S: Final = 150.0
_PARTS: Final = {
    "web": "mlplatform.http",
    "grpc": "serve_grpc",
    "gpu-worker": "-Q gpu",
    "private-worker": "-Q private",
    "jobs-worker": "-Q jobs",
    "beat": "mlplatform.celery beat",
}
# What is measured is the product as it comes: settings of the person who measures must not leak into it. One torch thread
# makes one worker core, on a large machine as well.
_KEPT: Final = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "USER", "OMP_NUM_THREADS", "WORKER_TORCH_THREADS")

# Three quarters of the threads may wait for a worker, and three quarters of these places are for one tenant alone, so that
# 64 clients of one tenant need 114.
_WEB_THREADS: Final = "128"


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds that each part of the product had used at one moment."""

    parts: Mapping[str, float]

    def since(self, earlier: "Cpu", *names: str) -> float:
        """Seconds that the named parts used between two moments."""
        return sum(self.parts[name] - earlier.parts[name] for name in names)


@dataclass(frozen=True, slots=True)
class Web:
    """A web process that was started beside the product's own."""

    port: int
    pid: int

    def cpu_s(self) -> float:
        return cpu_s([self.pid])


@dataclass(frozen=True, slots=True)
class Product:
    """A running product. ``env`` is the environment in which management steps reach it, ``root`` the checkout that it runs."""

    data_dir: Path
    port: int
    grpc_port: int
    env: Mapping[str, str]
    state: RedisAt
    cache: RedisAt
    pids: Mapping[str, list[int]]
    api_key: str
    root: Path = ROOT

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}", "User-Agent": "bench/1"}

    def cpu(self) -> Cpu:
        """CPU time of every part up to now, Redis servers included."""
        parts = {name: cpu_s(pids) for name, pids in self.pids.items()}
        return Cpu({**parts, "redis-state": self.state.cpu_s(), "redis-cache": self.cache.cpu_s()})

    def web_log(self) -> str:
        """What the web process said last."""
        return (self.data_dir / "logs" / "web.log").read_text(errors="replace")[-3000:]

    def rss_bytes(self, name: str) -> int:
        """Resident memory of a part with its children; 0 for those that ended meanwhile."""
        total = 0
        for pid in self.pids[name]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                total += sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))
        return total

    def batches(self) -> tuple[float, float]:
        """How many batches the web process has sent for ``sentiment`` and how many inputs were in them."""
        name = "mlplatform_batch_size_inputs"
        found = {
            sample.name: sample.value
            for family in text_string_to_metric_families(read(self.port, "/metrics"))
            if family.name == name
            for sample in family.samples
            if sample.labels.get("model") == "sentiment" and "le" not in sample.labels
        }
        return found.get(f"{name}_count", 0.0), found.get(f"{name}_sum", 0.0)

    @contextlib.contextmanager
    def second_web(self, *, threads: int, log: Path, **variables: str) -> Iterator[int]:
        """One more web process of this product with other settings, and its port; it has cached nothing yet."""
        with self.another_web(threads=threads, log=log, **variables) as web:
            yield web.port

    @contextlib.contextmanager
    def another_web(self, *, threads: int, log: Path, **variables: str) -> Iterator[Web]:
        """As :meth:`second_web`, with the process's number."""
        port = free_port()
        env = {**self.env, "WEB_PORT": str(port), "WEB_THREADS": str(threads), **variables}
        programs = procfile.read((self.root / "Procfile").read_text(), {**env, "REDIS_SERVER": ""})
        argv = next(program.argv for program in programs if program.name == "web")
        with running(argv, env=env, log=log, root=self.root) as process:
            wait_until(lambda: answers(port, "/livez"), process=process, log=log, patience_s=60)
            yield Web(port=port, pid=process.pid)


@contextlib.contextmanager
def started(data_dir: Path, *, root: Path = ROOT) -> Iterator[Product]:
    """Start the product of a checkout, make the customer, and stop everything at the end."""
    port, grpc_port = free_port(), free_port()
    env = {name: os.environ[name] for name in _KEPT if name in os.environ}
    env.setdefault("WORKER_TORCH_THREADS", "1")
    env |= {"WEB_THREADS": _WEB_THREADS, "DATA_DIR": str(data_dir), "WEB_PORT": str(port), "GRPC_PORT": str(grpc_port)}
    log = data_dir.parent / "product.log"
    with running([sys.executable, "-m", "mlplatform.run"], env=env, log=log, stop_s=60, root=root) as process:
        wait_until(lambda: answers(port, "/readyz"), process=process, log=log, patience_s=_START_S)
        ports, password = redis_urls.remembered_ports(data_dir), redis_urls.remembered_password(data_dir)
        state, cache = RedisAt(ports["state"], password), RedisAt(ports["cache"], password)
        scripts = str(Path(sys.executable).parent)
        env |= {
            "DJANGO_SETTINGS_MODULE": "mlplatform.settings",
            "REDIS_URL": state.url,
            "CACHE_REDIS_URL": cache.url,
            "WEB_HOST": "127.0.0.1",
            "WEB_WORKERS": "1",
            "WORKER_POOLS": "gpu",
            "PRIVATE_MODELS_POOL": "private",
            "PRIVATE_MODELS_AT_ONCE": "4",
            "PATH": os.pathsep.join([scripts, env.get("PATH", os.defpath)]),
        }
        yield Product(
            data_dir=data_dir,
            port=port,
            grpc_port=grpc_port,
            env=env,
            state=state,
            cache=cache,
            pids=_pids(process.pid),
            api_key=customer.make(env, ["bench"], root=root)[0],
            root=root,
        )


def _pids(launcher: int) -> dict[str, list[int]]:
    """The first process of each part; its children are counted with it. Raises RuntimeError when a part is missing."""
    commands = {
        process.pid: " ".join(process.cmdline()) for process in psutil.Process(launcher).children(recursive=True)
    }
    found = {}
    for name, mark in _PARTS.items():
        pids = [pid for pid, command in commands.items() if mark in command]
        parents = {pid: psutil.Process(pid).ppid() for pid in pids}
        found[name] = [pid for pid, parent in parents.items() if parent not in pids]
        if not found[name]:
            raise RuntimeError(f"The process {name} of the product was not found.")
    return found
