"""The example scripts run as a reader runs them."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


def run(script: str, *arguments: str, folder: Path) -> str:
    command = [sys.executable, str(ROOT / "examples" / script), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_own_part(tmp_path: Path) -> None:
    assert "own_part: " in run("own_part.py", folder=tmp_path)


@pytest.mark.sim
def test_rollout_of_the_expert(tmp_path: Path) -> None:
    said = run("rollout.py", "--task", "Reach", "--out", "strip.png", folder=tmp_path)
    assert said.startswith("success after")
    assert (tmp_path / "strip.png").stat().st_size > 1000


@pytest.mark.sim
def test_rollout_of_a_policy(tmp_path: Path) -> None:
    said = run("rollout.py", "--policy", "seer_tabletop", "--steps", "3", "--out", "strip.png", folder=tmp_path)
    assert "after 3 steps" in said


def test_every_example_is_tested() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert all(path.name in text for path in (ROOT / "examples").glob("*.py"))
