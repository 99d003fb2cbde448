"""``python -m bench [scenario …] [--write]``: prints what was measured, and whether the targets are met."""

import argparse
import datetime as dt
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from bench import machine, product, reference_server
from bench.product import Product
from bench.results import Result
from bench.scenarios import cached, lifecycle, outage, protocols, round_trips, uncached

RESULTS = Path(__file__).with_name("RESULTS.md")
_TITLE = "# Results\n\nWritten by `python -m bench --write`, newest first.\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the scenarios; 0 when every target is met, 1 when one is not."""
    scenarios = _scenarios()
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(scenarios)}; all by default")
    parser.add_argument("--write", action="store_true", help="also put the figures into bench/RESULTS.md")
    options = parser.parse_args(arguments)
    unknown = set(options.scenario) - set(scenarios)
    if unknown:
        parser.error(f"unknown scenario: {', '.join(sorted(unknown))}; there are {', '.join(scenarios)}")
    # TERM must unwind the stack, or the processes that were started would stay.
    signal.signal(signal.SIGTERM, _end)
    names = options.scenario or list(scenarios)
    description = machine.describe()
    print(f"{description}\n", flush=True)
    results = []
    for result in _measure([scenarios[name] for name in names]):
        print(f"{result.markdown()}\n", flush=True)
        results.append(result)
    if options.write:
        _write(description, results, command=" ".join(["python -m bench", *names]))
    return 0 if all(result.met for result in results) else 1


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


_Scenario = Callable[[Product, Path], Result]


def _scenarios() -> dict[str, _Scenario]:
    return {
        cached.NAME: _cached,
        round_trips.NAME: lambda running, folder: round_trips.run(running, folder / "second-web.log"),
        lifecycle.NAME: lambda running, _: lifecycle.run(running),
        protocols.NAME: lambda running, _: protocols.run(running),
        outage.NAME: lambda running, _: outage.run(running),
        uncached.NAME: lambda running, _: uncached.run(running),
    }


def _cached(running: Product, folder: Path) -> Result:
    with reference_server.started(folder) as reference:
        return cached.run(running, reference)


def _measure(scenarios: Sequence[_Scenario]) -> Iterator[Result]:
    with tempfile.TemporaryDirectory(prefix="mlplatform-bench-") as name:
        folder = Path(name)
        print("Starting the product …", flush=True)
        with product.started(folder / "data") as running:
            for scenario in scenarios:
                try:
                    yield scenario(running, folder)
                except (RuntimeError, OSError):
                    # The folder goes when we end, and with it the only words about what went wrong inside.
                    print(f"The end of the web process's log:\n{running.web_log()}", file=sys.stderr)
                    raise


def _write(description: str, results: Sequence[Result], *, command: str) -> None:
    now = dt.datetime.now(dt.UTC)
    section = [f"## {now:%Y-%m-%d %H:%M} UTC, `{command}`", "", description, ""]
    section += [f"{result.markdown()}\n" for result in results]
    older = RESULTS.read_text().removeprefix(_TITLE) if RESULTS.exists() else ""
    RESULTS.write_text(f"{_TITLE}\n" + "\n".join(section) + older)


if __name__ == "__main__":
    sys.exit(main())
