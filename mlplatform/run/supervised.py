"""Runs supervisord so that it cannot outlive the launcher."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from supervisor import supervisord

_PR_SET_PDEATHSIG = 1


def main(conf: str, parent: int) -> None:
    """Run supervisord with the configuration file until it was told to stop.

    parent is the launcher's process id. On Linux the kernel sends TERM when it dies in whatever way, and
    supervisord then drains in order. Elsewhere the next start finds what is left.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit("The launcher died while supervisord was starting.")
    supervisord.main(["-c", conf])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
