"""``python -m mlplatform.run``: starts the product and keeps it until Ctrl-C or TERM."""

from __future__ import annotations

import sys

from mlplatform.run.launcher import main

if __name__ == "__main__":
    sys.exit(main())
