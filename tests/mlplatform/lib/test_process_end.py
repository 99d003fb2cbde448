"""The end of a process whose native threads go on."""

import subprocess
import sys

PROGRAM = """
import atexit, logging, os, sys, threading
from mlplatform.lib import process_end

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
process_end.at_once()
"""


def test_a_process_ends_with_its_logs_written_and_without_taking_the_interpreter_apart() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "INFO:root:stopped\n", "")
