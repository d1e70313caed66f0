"""CALVIN's pictures: any number of envs, no process left behind, and a missing EGL that is said."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from seerkit.envs import make

pytestmark = pytest.mark.calvin
STILL = np.array([0, 0, 0, 0, 0, 0, 1.0], np.float32)


def children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def equal(one: dict, other: dict) -> bool:
    return all(np.array_equal(one["image"][name], other["image"][name]) for name in ("primary", "wrist"))


def test_the_first_picture_is_as_good_as_the_second() -> None:
    env = make("calvin_d")
    observation, _ = env.reset(seed=0)
    assert [observation["image"][name].shape for name in ("primary", "wrist")] == [(3, 200, 200), (3, 84, 84)]
    assert equal(observation, env.unwrapped.look())  # EGL leaves out the shadows at first
    env.close()


def test_envs_in_one_process_do_not_disturb_each_other() -> None:
    alone = {}
    for name in ("calvin_a", "calvin_d"):
        env = make(name)
        alone[name] = env.reset(seed=5)[0]
        env.close()
    envs = {name: make(name) for name in alone}
    together = {name: env.reset(seed=5)[0] for name, env in envs.items()}
    assert all(equal(alone[name], together[name]) for name in alone)
    assert not equal(alone["calvin_a"], alone["calvin_d"])
    envs.pop("calvin_a").close()
    assert equal(envs["calvin_d"].unwrapped.look(), alone["calvin_d"])
    envs["calvin_d"].close()


def test_lights_doors_and_blocks_are_seen() -> None:
    from seerkit.envs.calvin.protocol import conditions, initial_state

    env = make("calvin_d")
    robot, scene = initial_state(conditions()[0])
    seen = [env.reset(options={"robot_obs": robot, "scene_obs": scene})[0]["image"]["primary"]]
    for index, value in ((4, 1.0), (5, 1.0), (0, 0.28), (1, 0.22), (6, scene[6] + 0.05)):
        changed = scene.copy()
        changed[index] = value
        frame = env.reset(options={"robot_obs": robot, "scene_obs": changed})[0]["image"]["primary"]
        assert (np.abs(frame.astype(int) - seen[0]).max(axis=0) > 20).sum() > 20, index
        seen.append(frame)
    again = env.reset(options={"robot_obs": robot, "scene_obs": scene})[0]["image"]["primary"]
    np.testing.assert_array_equal(again, seen[0])  # lights go out again
    env.close()


def test_drawing_can_be_left_out() -> None:
    env = make("calvin_d", renderer="tiny")
    env.reset(seed=0)
    env.unwrapped.drawing = False
    observation, *_ = env.step(STILL)
    assert env.observation_space.contains(observation)
    assert not any(frame.any() for frame in observation["image"].values())
    looked = env.unwrapped.look()
    env.unwrapped.drawing = True
    assert looked["image"]["primary"].std() > 10
    np.testing.assert_array_equal(looked["state"], observation["state"])
    env.close()


def test_a_far_near_plane_changes_edges_only() -> None:
    frames = []
    for nearval in (0.01, 1.0):
        env = make("calvin_d", renderer="egl", nearval=nearval)
        frames.append(env.reset(seed=2)[0]["image"]["primary"].astype(int))
        env.close()
    differing = (np.abs(frames[0] - frames[1]).max(axis=0) > 1).mean()
    assert differing < 0.05


def test_without_egl_tiny_draws_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EGL_VISIBLE_DEVICES", "99")  # with this, pybullet ends the process that loads its renderer
    with pytest.warns(RuntimeWarning, match="not comparable.*apt-get install -y libegl1 libegl-mesa0 libgl1-mesa-dri"):
        env = make("calvin_d")
    assert env.unwrapped.renderer == "tiny"
    assert env.reset(seed=0)[0]["image"]["wrist"].std() > 5
    env.close()
    with pytest.raises(RuntimeError, match=r"the egl renderer ended with .*apt-get"):
        make("calvin_d", renderer="egl")


def test_no_process_is_left_behind() -> None:
    before = children()
    env = make("calvin_d", renderer="tiny")
    assert len(children() - before) == 1
    env.close()
    env.close()
    assert children() == before
    forgotten = make("calvin_d", renderer="tiny")
    del forgotten
    assert children() == before


KILLED = """
import os, signal
from seerkit.envs import make
env = make("calvin_d", renderer="tiny")
print(open(f"/proc/self/task/{os.getpid()}/children").read(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_who_draws_ends_with_a_killed_process() -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    process = Path("/proc") / done.stdout.split()[-1]
    deadline = time.monotonic() + 20
    while process.exists() and "State:\tZ" not in (process / "status").read_text():
        assert time.monotonic() < deadline, f"{process} still runs"
        time.sleep(0.1)


def test_a_renderer_that_dies_is_said() -> None:
    before = children()
    env = make("calvin_d", renderer="tiny")
    env.reset(seed=0)
    (drawing,) = children() - before
    os.kill(drawing, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="the process that draws CALVIN's pictures has ended"):
        env.step(STILL)
    env.close()


FORK = """
import os
from seerkit.envs import make
env = make("calvin_d", renderer="tiny")
env.reset(seed=0)
child = os.fork()
if child == 0:
    try:
        env.unwrapped.look()
    except RuntimeError as error:
        os._exit(7 if "a fork of it" in str(error) else 8)
    os._exit(9)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
env.unwrapped.look()
env.close()
"""


def test_a_fork_is_told_and_harms_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_envs_say_nothing_on_stdout() -> None:
    code = 'from seerkit.envs import make; env = make("calvin_d"); env.reset(seed=0); env.close()'
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "Warning" not in done.stderr
