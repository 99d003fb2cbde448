"""Whether a process runs, and how one ends at once."""

import os
import subprocess
import sys

from mlplatform.lib import processes

PROGRAM = """
import atexit, logging, os, sys, threading
from mlplatform.lib import processes

class Buffered(logging.StreamHandler):
    kept = []
    def emit(self, record):
        self.kept.append(self.format(record))
    def flush(self):
        while self.kept:
            self.stream.write(self.kept.pop(0) + "\\n")

logging.basicConfig(handlers=[Buffered(sys.stdout)], level="INFO")
threading.Thread(target=threading.Event().wait).start()
atexit.register(os.abort)
logging.info("stopped")
processes.end_at_once()
"""


def test_a_process_ends_with_its_logs_written_and_without_taking_the_interpreter_apart() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "INFO:root:stopped\n", "")


def test_a_process_runs_until_it_is_waited_for() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert processes.runs(child.pid)
    child.communicate()
    assert not processes.runs(child.pid)
    assert processes.runs(os.getpid())
    assert processes.runs(1), "of another user, mostly"
