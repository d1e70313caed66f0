"""Play recorded in CALVIN's official layout: what is written, and that our reader reads it back exactly."""

import itertools
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from seerkit.data.calvin_folder import absolute_action, relative_action
from tests.conftest import ROOT

KEYS = {"actions": 7, "rel_actions": 7, "robot_obs": 15, "scene_obs": 24}
PICTURES = {"rgb_static": (200, 200, 3), "rgb_gripper": (84, 84, 3)}
STEPS = 70


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from seerkit.play import Play, record_play

    out = tmp_path_factory.mktemp("play") / "task_D_D"
    play = Play(episodes=2, validation=1, steps=STEPS, renderer="tiny", seed=3, noise=0.2)
    record_play(play, out, workers=1)
    return out


def test_relative_actions_are_what_was_measured() -> None:
    before, after = np.zeros(15), np.zeros(15)
    before[:6] = 0.1, 0.2, 0.3, np.pi - 0.01, 0.0, 1.0
    after[:6] = 0.11, 0.1, 0.3, -np.pi + 0.015, 0.01, 1.2
    after[14] = -1.0
    action = absolute_action(after)
    np.testing.assert_array_equal(action, [*after[:6], -1.0])
    # half a step; cut; none; over the seam; a fifth; cut
    np.testing.assert_allclose(relative_action(action, before), [0.5, -1, 0, 0.5, 0.2, 1, -1], atol=1e-12)


@pytest.mark.slow
@pytest.mark.calvin
def test_every_file_and_key_of_the_layout(recorded: Path) -> None:
    for split, episodes in (("training", 2), ("validation", 1)):
        folder = recorded / split
        bounds = np.load(folder / "ep_start_end_ids.npy")
        assert bounds.dtype == np.int64
        assert bounds.tolist() == [[i * STEPS, (i + 1) * STEPS - 1] for i in range(episodes)]
        files = sorted(folder.glob("episode_*.npz"))
        assert [file.name for file in files] == [f"episode_{i:07d}.npz" for i in range(episodes * STEPS)]
        with np.load(files[0]) as frame:
            assert {name: frame[name].shape for name in KEYS} == {name: (size,) for name, size in KEYS.items()}
            assert {name: frame[name].shape for name in PICTURES} == PICTURES
            assert {*frame.files} == {*KEYS, *PICTURES}
        scenes = np.load(folder / "scene_info.npy", allow_pickle=True).item()
        assert scenes == {"calvin_scene_D": [0, episodes * STEPS - 1]}
        told = yaml.safe_load((folder / "statistics.yaml").read_text())
        actions = np.stack([np.load(file)["actions"] for file in files])
        np.testing.assert_array_equal(told["act_min_bound"], actions.min(0))
        np.testing.assert_array_equal(told["act_max_bound"], actions.max(0))
        states = np.stack([np.load(file)["robot_obs"] for file in files])
        np.testing.assert_allclose(told["robot_obs"][0]["mean"], states.mean(0), rtol=1e-12)
        assert len(told["scene_obs"][0]["std"]) == 24


@pytest.mark.slow
@pytest.mark.calvin
def test_an_action_is_the_next_frame(recorded: Path) -> None:
    files = sorted((recorded / "training").glob("episode_*.npz"))[:STEPS]
    frames = [dict(np.load(file)) for file in files]
    for now, following in itertools.pairwise(frames):
        np.testing.assert_array_equal(now["actions"][:6], following["robot_obs"][:6])
        assert now["actions"][6] == following["robot_obs"][14]
        assert np.abs(now["rel_actions"][:6]).max() <= 1


@pytest.mark.slow
@pytest.mark.calvin
def test_our_reader_reads_it_back(recorded: Path) -> None:
    from seerkit.data.formats import open_source

    source = open_source(recorded, split="training")
    files = sorted((recorded / "training").glob("episode_*.npz"))
    assert source.state is not None
    assert source.action is not None
    assert len(source) == len(files)
    assert [episode.task for episode in source.episodes] == ["calvin_scene_D"] * 2
    for row in (0, STEPS - 1, STEPS, len(files) - 1):
        frame = np.load(files[row])
        state = frame["robot_obs"][[0, 1, 2, 3, 4, 5, 14]].astype(np.float32)
        np.testing.assert_array_equal(source.state.take(torch.tensor(row)), state)
        np.testing.assert_array_equal(source.action.take(torch.tensor(row)), frame["rel_actions"].astype(np.float32))
        picture = source.frames["primary"].take(torch.tensor(row))
        assert torch.equal(picture, torch.from_numpy(frame["rgb_static"].transpose(2, 0, 1).copy()))


@pytest.mark.slow
@pytest.mark.calvin
def test_sentences_span_what_the_oracle_saw(recorded: Path) -> None:
    from seerkit.assets import require
    from seerkit.envs.calvin.oracle import read_oracle

    sentences = read_oracle(require("calvin")).sentences
    found = 0
    for split in ("training", "validation"):
        notes = np.load(recorded / split / "lang_annotations/auto_lang_ann.npy", allow_pickle=True).item()
        assert {*notes} == {"language", "info"}
        assert {*notes["language"]} == {"ann", "task", "emb"}
        spans = notes["info"]["indx"]
        found += len(spans)
        assert notes["language"]["emb"].shape == (len(spans), 1, 384)
        for (first, last), text, task in zip(spans, notes["language"]["ann"], notes["language"]["task"], strict=True):
            assert text == sentences[task]
            assert 1 <= last - first <= 63
            assert first // STEPS == last // STEPS
    assert found


KILLED = """
import os, signal, sys, threading, time
from pathlib import Path
from seerkit.play import Play, record_play

def kill():
    while not list(Path(sys.argv[1]).glob("*/training/episode_*.npz")):
        time.sleep(0.1)
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    print(*children, *(Path(f"/proc/{child}/task/{child}/children").read_text() for child in children), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    threading.Thread(target=kill, daemon=True).start()
    record_play(Play(episodes=2, steps=9, renderer="tiny"), Path(sys.argv[1]) / "play", workers=2)
"""


@pytest.mark.slow
@pytest.mark.calvin
def test_workers_end_with_a_killed_process(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = {int(pid) for pid in done.stdout.split()}
    assert len(left) >= 3  # two workers, and who draws for them
    deadline = time.monotonic() + 60
    while alive := [pid for pid in left if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, f"{alive} still run"
        time.sleep(0.1)


def test_what_cannot_be_recorded_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    from seerkit.play import Play, record_play

    with pytest.raises(ValueError, match="steps >= 2"):
        Play(steps=1)
    with pytest.raises(ValueError, match="noise and seed"):
        Play(noise=-0.1)
    with pytest.raises(ValueError, match="renderer"):
        Play(renderer="none")
    with pytest.raises(ValueError, match="calvin_a"):
        record_play(Play(env="Reach"), tmp_path / "play")
    with pytest.raises(FileExistsError, match="exists already"):
        record_play(Play(), tmp_path)
    assert not list(tmp_path.iterdir())
