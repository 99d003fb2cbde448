"""``python -m bench [scenario …] [--quick] [--write]``: prints what was measured, and whether the targets are met."""

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
from bench.scenarios import (
    cache_speed,
    cached,
    engine,
    fairness,
    figures,
    gpu,
    hostile,
    latency,
    lifecycle,
    outage,
    overload,
    pages,
    protocols,
    round_trips,
    scaling,
)

RESULTS = Path(__file__).with_name("RESULTS.md")
_TITLE = "# Results\n\nWritten by `python -m bench --write`, newest first.\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the scenarios; 0 when every target is met, 1 when one is not."""
    scenarios = _scenarios()
    known = [*scenarios, pages.NAME]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(known)}; all by default")
    parser.add_argument(
        "--quick", action="store_true", help="short runs that show that a scenario works; their figures are no result"
    )
    parser.add_argument(
        "--database",
        default="",
        metavar="URL",
        help="of an empty PostgreSQL database, for the scenario pages; else SQLite",
    )
    parser.add_argument("--write", action="store_true", help="also put the figures into bench/RESULTS.md")
    options = parser.parse_args(arguments)
    unknown = set(options.scenario) - set(known)
    if unknown:
        parser.error(f"unknown scenario: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if options.quick and options.write:
        parser.error("the figures of --quick are no result to be written down")
    # TERM must unwind the stack, or the processes that were started would stay.
    signal.signal(signal.SIGTERM, _end)
    names = options.scenario or known
    description = machine.describe()
    print(f"{description}\n", flush=True)
    results = []
    for result in _measure(
        [scenarios[name] for name in names if name != pages.NAME],
        quick=options.quick,
        pages_on=options.database if pages.NAME in names else None,
    ):
        print(f"{result.markdown()}\n", flush=True)
        results.append(result)
    if options.write:
        _write(description, results, command=" ".join(["python -m bench", *names]))
    return 0 if all(result.met for result in results) else 1


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


_Scenario = Callable[[Product, Path, bool], Result]


def _scenarios() -> dict[str, _Scenario]:
    """By name: what is given is the running product, a folder for files, and whether to be quick."""
    return {
        cached.NAME: lambda running, folder, _: _cached(running, folder),
        figures.NAME: lambda running, folder, quick: figures.run(running, folder, quick=quick),
        round_trips.NAME: lambda running, folder, _: round_trips.run(running, folder / "second-web.log"),
        lifecycle.NAME: lambda running, _, __: lifecycle.run(running),
        protocols.NAME: lambda running, _, __: protocols.run(running),
        outage.NAME: lambda running, _, __: outage.run(running),
        engine.NAME: lambda running, folder, quick: engine.run(running, folder, quick=quick),
        latency.NAME: lambda running, folder, quick: latency.run(running, folder, quick=quick),
        cache_speed.NAME: lambda running, _, quick: cache_speed.run(running, quick=quick),
        scaling.NAME: lambda running, folder, quick: scaling.run(running, folder, quick=quick),
        fairness.NAME: lambda running, _, quick: fairness.run(running, quick=quick),
        hostile.NAME: lambda running, folder, quick: hostile.run(running, folder, quick=quick),
        overload.NAME: lambda running, _, quick: overload.run(running, quick=quick),
        gpu.NAME: lambda running, _, quick: gpu.run(running, quick=quick),
    }


def _cached(running: Product, folder: Path) -> Result:
    with reference_server.started(folder / "cached-reference") as reference:
        return cached.run(running, reference)


def _measure(scenarios: Sequence[_Scenario], *, quick: bool, pages_on: str | None) -> Iterator[Result]:
    """``pages_on`` is the database of the pages, which need no running product; None leaves them out."""
    with tempfile.TemporaryDirectory(prefix="mlplatform-bench-") as name:
        folder = Path(name)
        if pages_on is not None:
            yield pages.run(folder, quick=quick, database_url=pages_on)
        if not scenarios:
            return
        print("Starting the product …", flush=True)
        with product.started(folder / "data") as running:
            for scenario in scenarios:
                try:
                    yield scenario(running, folder, quick)
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
