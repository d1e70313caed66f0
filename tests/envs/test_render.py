"""A missing GL library never crashes and is named; renderers close without noise."""

import subprocess
import sys

import pytest

from seerkit.envs.tabletop import render

NOISE = """
from seerkit.envs import make
envs = [make("Reach", image_size=16, render_mode="rgb_array") for _ in range(2)]
for env in envs:
    env.reset(seed=0)
    env.render()
first = envs[0].unwrapped.renderer
envs[0].close()
envs[0].close()
assert first.startswith("{library}"), first
"""


def test_nothing_works_names_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(render, "probe", dict().get)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(RuntimeError, match="apt-get install -y libegl1 libosmesa6"):
        render.choose_library()


def test_the_first_that_works_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    monkeypatch.setenv("MUJOCO_GL", "")
    monkeypatch.setattr(render, "probe", lambda library: tried.append(library) or (library == "osmesa" or None))
    monkeypatch.setattr(sys, "platform", "linux")
    assert render.choose_library() == render.choose_library() == "osmesa"
    assert tried == ["egl", "osmesa"]


def test_the_users_choice_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "OSMesa")
    assert render.choose_library() == "osmesa"
    monkeypatch.setenv("MUJOCO_GL", "vulkan")
    with pytest.raises(ValueError, match="given 'vulkan'"):
        render.choose_library()


def test_a_probe_that_dies_is_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "_PROBE", "import os; os.abort()")
    assert render.probe("egl") is None


@pytest.mark.sim
def test_a_library_that_fails_to_load_names_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    from seerkit.envs.tabletop.env import TabletopEnv

    def broken(name: str) -> None:
        assert name == "mujoco.egl"
        raise AttributeError("'NoneType' object has no attribute 'eglQueryString'")

    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setattr(render, "import_module", broken)
    env = TabletopEnv("Reach", image_size=16)
    with pytest.raises(RuntimeError, match=r"libegl1 .*MUJOCO_GL=egl.*eglQueryString|MUJOCO_GL=egl.*libegl1"):
        env.reset(seed=0)
    env.close()


@pytest.mark.sim
@pytest.mark.parametrize("library", ["egl", "osmesa"])
def test_renderers_close_without_noise(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYOPENGL_PLATFORM", raising=False)
    if render.probe(library) is None:
        pytest.skip(f"{library} does not work here")
    monkeypatch.setenv("MUJOCO_GL", library)
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", NOISE.format(library=library)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_importing_envs_loads_no_simulator() -> None:
    code = (
        "import sys, seerkit.envs, seerkit.envs.franka; seerkit.envs.register_envs(); "
        "print([m for m in ('torch', 'mujoco', 'OpenGL', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
