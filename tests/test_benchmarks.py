"""Every benchmark runs in its quick form and ends with the line of JSON it promises; no time is judged here."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import ROOT

FOLDER = ROOT / "benchmarks"
QUICK = {"resize", "train_cpu", "train_memory", "train_gpu", "calvin_speed"}
MARKS = {"train_cpu": pytest.mark.long, "train_memory": pytest.mark.long, "calvin_speed": pytest.mark.calvin}
HELPERS = {"measure", "official"}


def run(name: str) -> dict[str, Any]:
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--quick"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(name, marks=MARKS.get(name, ())) for name in sorted(QUICK)])
def test_the_last_line_is_the_result(name: str) -> None:
    result = run(name)
    assert result["name"] == name
    assert {"goal", "ok", "details"} <= result.keys()
    assert {"ratio", "value"} & result.keys()
    if name == "resize":
        assert result["ok"]
        assert result["details"]["equal"] == {"rendered": 1.0, "noise": 1.0}
    if name == "train_cpu":
        differences = [value for value, _ in result["details"]["gradient_difference"].values()]
        assert max(differences) <= result["goal"]["gradient"]
    if name == "train_memory":
        assert all(0 < ratio < 1 for ratio in result["details"]["ratio"].values())
    if name == "calvin_speed":
        assert (result["ratio"] is None) == (importlib.util.find_spec("calvin_env") is None)
        assert "free" in result["details"]["steps/s without"]
    if name == "train_gpu":
        import torch

        assert (result["ok"] is None) == (not torch.cuda.is_available())


def test_every_benchmark_is_documented() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    scripts = {path.stem for path in FOLDER.glob("*.py")} - HELPERS
    assert scripts >= QUICK
    assert [name for name in sorted(scripts) if f"benchmarks/{name}.py" not in page] == []
