"""Choose a GL library without ever crashing, and draw with it."""

import os
import subprocess
import sys
from importlib import import_module
from typing import Any

import numpy as np

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# (mujoco's names live in compiled modules without stubs)

CHOICES = ("egl", "osmesa", "glfw")
MISSING = (
    "no GL library could draw ({tried}). On Debian or Ubuntu: apt-get install -y libegl1 libosmesa6 "
    "(libegl1 for MUJOCO_GL=egl, libosmesa6 for MUJOCO_GL=osmesa)"
)
_PROBE = """
import os, sys
os.environ["MUJOCO_GL"] = sys.argv[1]
import mujoco
from importlib import import_module
context = import_module("mujoco." + sys.argv[1]).GLContext(8, 8)
context.make_current()
model = mujoco.MjModel.from_xml_string("<mujoco/>")
drawer = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
from OpenGL import GL
sys.stdout.write(GL.glGetString(GL.GL_RENDERER).decode())
sys.stdout.flush()
os._exit(0)
"""
_drawing: list[int] = []  # the process that first loaded a GL library, kept by its forks


def probe(library: str) -> str | None:
    """Try a GL library in a process of its own; give the name of its renderer, or ``None`` if it fails."""
    environment = {key: value for key, value in os.environ.items() if key != "PYOPENGL_PLATFORM"}
    command = [sys.executable, "-c", _PROBE, library]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").strip() or library if done.returncode == 0 else None


def choose_library() -> str:
    """Give the GL library to draw with: ``MUJOCO_GL`` if set, else the first of egl, osmesa (and glfw) that works.

    The choice is kept in ``MUJOCO_GL``, so that it is made once and worker processes inherit it.

    Raises:
        ValueError: if ``MUJOCO_GL`` names no known library.
        RuntimeError: if none works; names the Debian packages to install.
    """
    chosen = os.environ.get("MUJOCO_GL", "").lower().strip()
    if chosen:
        if chosen not in CHOICES:
            raise ValueError(f"expected MUJOCO_GL to be one of {CHOICES}, given {chosen!r}")
        return chosen
    if not sys.platform.startswith("linux"):
        return "glfw"
    for library in CHOICES:
        if (library != "glfw" or os.environ.get("DISPLAY")) and probe(library) is not None:
            os.environ["MUJOCO_GL"] = library
            return library
    raise RuntimeError(MISSING.format(tried="tried egl and osmesa"))


class Renderer:
    """Draw square pictures of one model.

    Args:
        model: what to draw.
        size: side in pixels.

    Raises:
        RuntimeError: if the GL library cannot be loaded (names the Debian packages to install), or if this process was
            forked from one that has drawn: software GL would wait forever for threads the fork does not have.
    """

    def __init__(self, model: Any, size: int) -> None:  # noqa: ANN401 - mujoco is imported only when drawing
        self._gl = None
        if _drawing and _drawing[0] != os.getpid():
            raise RuntimeError(
                "expected a process started afresh, given a fork of one that has already drawn pictures: "
                "start workers with context='spawn' (seerkit.envs.make_vec does)"
            )
        self.library = choose_library()
        import mujoco  # after the choice: mujoco reads MUJOCO_GL when it is imported

        try:
            self._gl = import_module(f"mujoco.{self.library}").GLContext(size, size)
            self._gl.make_current()
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
            _drawing[:] = [os.getpid()]
        except Exception as error:  # PyOpenGL raises whatever the missing library makes it trip over
            raise RuntimeError(MISSING.format(tried=f"MUJOCO_GL={self.library}: {error}")) from error
        self._mujoco = mujoco
        self._model = model
        self._scene = mujoco.MjvScene(model, maxgeom=500)
        self._options = mujoco.MjvOption()
        self._options.geomgroup[3] = 0
        self._options.sitegroup[:] = 0
        self._perturb = mujoco.MjvPerturb()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._rectangle = mujoco.MjrRect(0, 0, size, size)
        self._pixels = np.empty((size, size, 3), np.uint8)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR  # 1 near, 0 far: exact where it matters

    @property
    def name(self) -> str:
        """The library and the device behind it, for reports."""
        from OpenGL import GL

        self._gl.make_current()
        return f"{self.library}: {GL.glGetString(GL.GL_RENDERER).decode()}"

    def draw(self, data: Any, camera: str) -> np.ndarray:  # noqa: ANN401 - see __init__
        """Draw what a named camera sees: ``(3, size, size)`` uint8, RGB, first row at the top."""
        mujoco = self._mujoco
        self._gl.make_current()
        self._camera.fixedcamid = self._model.camera(camera).id
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(self._model, data, self._options, self._perturb, self._camera, everything, self._scene)
        mujoco.mjr_render(self._rectangle, self._scene, self._context)
        mujoco.mjr_readPixels(self._pixels, None, self._rectangle, self._context)
        return np.ascontiguousarray(self._pixels[::-1].transpose(2, 0, 1))

    def measured(self) -> np.ndarray:
        """Give the depth of the picture drawn last: ``(1, size, size)`` float32, first row at the top.

        Metres along the optical axis from the camera's plane (not along the ray); 0 where nothing was hit.
        """
        self._gl.make_current()
        inverse = np.empty(self._pixels.shape[:2], np.float32)
        self._mujoco.mjr_readPixels(None, inverse, self._rectangle, self._context)
        extent = self._model.stat.extent
        near, far = self._model.vis.map.znear * extent, self._model.vis.map.zfar * extent
        # the buffer holds 1/depth, scaled to 1 at the near plane and 0 at the far one
        depth = 1 / (1 / far + inverse.astype(np.float64) * (1 / near - 1 / far))
        return np.where(inverse > 0, depth, 0.0).astype(np.float32)[None, ::-1].copy()

    def close(self) -> None:
        """Free the picture buffers and the GL context; closing again does nothing."""
        if self._gl is None:
            return
        self._gl.make_current()
        self._context.free()
        self._gl.free()
        self._gl = None
