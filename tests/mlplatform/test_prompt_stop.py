"""TERM that reaches another thread wakes a main thread that waits without a time limit."""

import subprocess
import sys

import pytest

# The main thread waits as Granian's does; TERM goes to another thread, where Python only notes it.
PROGRAM = """
import signal, sys, threading, time
from mlplatform import prompt_stop

stop = threading.Event()
signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
if sys.argv[1] == "watched":
    prompt_stop.ensure()

def other():
    while not waiting.is_set():
        time.sleep(0.01)
    time.sleep(0.2)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    time.sleep(60)

waiting = threading.Event()
threading.Thread(target=other, daemon=True).start()
waiting.set()
stop.wait()
print("stopped")
"""


def run(how: str, *, patience_s: float) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True, timeout=patience_s
    )
    return done.stdout


def test_the_main_thread_is_woken() -> None:
    assert run("watched", patience_s=30.0) == "stopped\n"


def test_without_it_the_main_thread_sleeps_on() -> None:
    # Should this fail one day, Python wakes the main thread by itself, and the module can go.
    with pytest.raises(subprocess.TimeoutExpired):
        run("unwatched", patience_s=2.0)
