"""A pytest plugin that is loaded before Django's settings: real Redis servers and a throw-away DATA_DIR for each worker.

Named with ``-p`` in ``pyproject.toml``, because pytest-django reads the settings before any conftest is loaded.
"""

import atexit
import os
import shutil
import tempfile

from tests.support.redis_server import RedisServer

DATA_DIR = tempfile.mkdtemp(prefix="mlplatform-tests-")
os.mkdir(os.path.join(DATA_DIR, "static"))  # noqa: PTH102, PTH118 - whitenoise warns without it
STATE = RedisServer(role="state")
CACHE = RedisServer(role="cache")


def _close() -> None:
    STATE.close()
    CACHE.close()
    shutil.rmtree(DATA_DIR, ignore_errors=True)


atexit.register(_close)
STATE.start()
CACHE.start()
os.environ.update(
    DATA_DIR=DATA_DIR,
    REDIS_URL=STATE.url,
    CACHE_REDIS_URL=CACHE.url,
    # A machine that is busy with other work lets Redis wait, which is no failure; see the fixture hasty_redis_clients.
    REDIS_TIMEOUT_S="2",
    SECRET_KEY="only-for-tests-and-long-enough-for-the-checks-of-django",
    DEBUG="false",
    DATABASE_URL=os.environ.get("TEST_DATABASE_URL", ""),
)
# Several test processes share the cores: torch's threads would only wait for each other, and burn a third more CPU.
os.environ.setdefault("OMP_NUM_THREADS", "1")
