"""CALVIN's sequences through the command: any number of workers, killed and resumed, actions as they are executed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from seerkit import build_policy
from seerkit.eval.rollout import rollout
from seerkit.eval.scene import Scene
from tests.conftest import ROOT
from tests.parity import calvin

pytestmark = pytest.mark.calvin
TIMES = ("latency", "seconds")


class Replay:
    """Repeat recorded actions from the sequence's first step on, then stand still; note what was asked."""

    batch_size = 1

    def __init__(self, actions: np.ndarray) -> None:
        self.actions, self.step, self.begun = actions, 0, 0
        self.asked: list[str] = []

    def reset(self, rows: np.ndarray | None = None) -> None:  # noqa: ARG002 - one row
        self.begun += 1

    def act(self, observation: dict) -> np.ndarray:
        self.asked.append(str(observation["language_instruction"][0]))
        rest = np.array([0, 0, 0, 0, 0, 0, 1], np.float32)
        action = self.actions[self.step] if self.step < len(self.actions) else rest
        self.step += 1
        return action[None].astype(np.float32)


def test_a_recorded_episode_does_the_first_task_of_its_sequence() -> None:
    """Sequence 778 begins as an episode recorded from the original does, which moves the door at its 144th step."""
    if not calvin.files():
        pytest.skip("no recorded episodes")
    episode = calvin.episodes(calvin.FOLDER / "trajectories_D.npz")[0]
    steps = 1 + next(step for step, told in enumerate(episode.tasks) if "move_slider_left" in told)
    said = {task: (f"do {task}",) for task in ("move_slider_left", "rotate_blue_block_left")}
    scene = Scene("calvin_d", {"renderer": "none"}, horizon=steps, sentences=said)
    actor = Replay(episode.actions)
    (played,) = rollout(actor, scene, episodes=[778], seed=0, workers=0).episodes
    assert [(one.task, one.success, one.steps) for one in played.attempts] == [
        ("move_slider_left", True, steps),
        ("rotate_blue_block_left", False, steps),
    ]
    assert (played.completed, played.asked, played.success, played.seed) == (1, 5, False, 778)
    assert actor.asked == ["do move_slider_left"] * steps + ["do rotate_blue_block_left"] * steps
    assert actor.begun == 2


def test_rounded_actions_are_multiplied_as_the_official_evaluation_does() -> None:
    """In half precision, products with the scale are taken in half precision, too."""
    from seerkit.eval.seat import take_seat

    action = np.array([0.123456, -0.7654321, 0.3333333, 0.1, 0.2, 0.3, 1.0], np.float32)
    moved = {}
    for rounding in (None, "float16"):
        seat = take_seat(Scene("calvin_d", {"renderer": "none"}, round_actions=rounding))
        seat.reset(seed=0)
        robot = seat.unwrapped.world.robot  # pyright: ignore[reportAttributeAccessIssue]
        before = robot._target.copy()
        seat.step(action)
        moved[rounding] = (before, robot._target)
        seat.close()
    before, after = moved["float16"]
    halves = action[:3].astype(np.float16) * np.float16(0.02)
    assert halves.dtype == np.float16
    np.testing.assert_array_equal(after, before + halves)
    before, after = moved[None]
    np.testing.assert_array_equal(after, before + action[:3] * np.float32(0.02))
    assert action.dtype == np.float32


def command(checkpoint: Path, out: Path, *more: str) -> list[str]:
    options = ["--horizon", "6", "--option", "renderer=tiny", "--record", "1", "--sequences", "3", "--threads", "1"]
    return [sys.executable, "-m", "seerkit", "eval", str(checkpoint), "--out", str(out), *options, *more]


def run(*arguments: str) -> None:
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr


def numbers(folder: Path) -> dict:
    """Everything a report says, but times."""
    told = json.loads((folder / "report.json").read_text())
    told["provenance"].pop("created")
    for name in TIMES:
        told["actors"]["trained"].pop(name)
    return told


@pytest.mark.slow
def test_any_workers_and_a_kill_leave_the_same_report(tmp_path: Path) -> None:
    torch.manual_seed(0)
    checkpoint = build_policy("seer_calvin_tiny", "ensemble=receding").save_pretrained(tmp_path / "policy")
    run(*command(checkpoint, tmp_path / "one", "--workers", "1"))
    run(*command(checkpoint, tmp_path / "two", "--workers", "2"))
    killed = tmp_path / "killed"
    process = subprocess.Popen(
        command(checkpoint, killed, "--workers", "1"), cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL
    )
    kept = killed / "sequences.jsonl"
    deadline = time.monotonic() + 500
    while not (kept.is_file() and len(kept.read_bytes().splitlines()) >= 3):  # what it is, the environment, a sequence
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = kept.read_bytes().count(b'"seconds"')
    assert 1 <= done < 3
    assert not (killed / "report.json").exists()
    run(*command(checkpoint, killed, "--workers", "1"))
    first = json.loads((killed / "report.json").read_text())["actors"]["trained"]
    run(*command(checkpoint, killed, "--workers", "1"))  # nothing is left to play
    assert json.loads((killed / "report.json").read_text())["actors"]["trained"] == first
    assert first["latency"]["rows"] == 1
    assert first["latency"]["calls"] >= 10  # of both processes: twice six that were not filmed, but for their first
    one, two, resumed = (numbers(tmp_path / name) for name in ("one", "two", "killed"))
    assert resumed == one
    assert one["provenance"]["protocol"].pop("workers") == 1
    assert two["provenance"]["protocol"].pop("workers") == 2
    assert one == two
    assert len({episode["actions"] for episode in one["episodes"]}) == 3
    assert "TinyRenderer" in one["warnings"][0]
    refused = subprocess.run(
        command(checkpoint, killed, "--option", "button=1431a46"), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    told = "episodes of another evaluation (options.button: there '(not there)', now '1431a46')"
    assert told in " ".join(refused.stderr.split())
