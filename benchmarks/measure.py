"""What the benchmarks share: arguments, interleaved timing in CPU time, one line of JSON."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any


def arguments(description: str | None) -> argparse.Namespace:
    """Read the command line every benchmark has: ``--quick`` for a run that only shows that it works."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="tiny models, few repetitions: does it run at all?")
    parser.add_argument("--rounds", type=int, help="repetitions of each timing")
    return parser.parse_args()


def interleaved(runs: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, float]:
    """Time several functions in turn and return the median CPU seconds of each.

    CPU time of this process does not count what other processes do meanwhile; turns spread what remains of their
    disturbance (caches, clock speed) over all functions alike. One call of each goes before and is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repetition in range(rounds + 1):
        for name, run in runs.items():
            start = time.process_time()
            run()
            if repetition:
                seconds[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def report(name: str, *, goal: object, ok: bool | None, details: object, **figure: float | None) -> None:
    """Print the result as one line of JSON; the last line of every benchmark.

    Args:
        name: of the benchmark.
        goal: what is asked.
        ok: whether it is reached; ``None`` where it could not be measured.
        details: everything else.
        figure: ``ratio=`` or ``value=``.
    """
    print(json.dumps({"name": name, **figure, "goal": goal, "ok": ok, "details": details}), flush=True)


def rounded(values: Mapping[str, Any], digits: int = 3) -> dict[str, Any]:
    """Round numbers for reading."""
    return {name: float(f"{value:.{digits}g}") if isinstance(value, float) else value for name, value in values.items()}
