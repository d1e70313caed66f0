"""The benchmark of reading data runs, and compares equal things; its timings are not judged here."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
def test_it_runs_and_its_last_line_is_json() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "data.py"), "--quick"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["name"] == "data"
    assert set(said["goal"]) == set(said["details"]["met"]) == set(said["details"]["figures"])
    figures, size = said["details"]["figures"], said["details"]["kB per step"]
    assert size["raw"] == pytest.approx(3 * (200**2 + 84**2) / 1000, rel=0.02), "frames are what a step consists of"
    for name in (
        "store on disk, share of npz",
        "jpeg store on disk, share of npz",
        "bytes to the device, share of official",
    ):
        assert said["details"]["met"][name], (name, figures[name])
