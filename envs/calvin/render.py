"""Have pictures drawn by a process of its own.

pybullet's EGL renderer wants a process for itself: where EGL cannot start it ends the process; a second one in the same
process draws with the textures of the first; after a fork it waits forever; and it keeps about 11 MB for good whenever
a world is loaded, as the simulated one is at every reset. So poses go to another process, which loads the scene once.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
import weakref
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from seerkit.envs.calvin.painter import FAR, NEAR, READY, SIZES, pose_of
from seerkit.envs.calvin.world import World

RENDERERS = ("auto", "egl", "tiny", "none")
PATIENCE = 120.0
"""Seconds a start or a picture may take."""
PACKAGES = "on Debian or Ubuntu: apt-get install -y libegl1 libegl-mesa0 libgl1-mesa-dri"
TINY = (
    "pybullet's EGL renderer does not start here ({why}), so CALVIN is drawn by TinyRenderer. Its pictures have no "
    "shadows and differ by about 20 of 255 levels from those policies learn from: scores are not comparable. "
    f"For EGL, {PACKAGES}; renderer='tiny' says that this is wanted"
)
_CHILD = "import json, sys; given = json.loads(sys.argv[1]); sys.path[:] = given.pop('path'); " + (
    "from seerkit.envs.calvin.painter import serve; serve(**given)"
)


class Renderer:
    """Have a scene drawn by a process of its own.

    Args:
        scene: its name, ``A`` to ``D``.
        assets: folder of the benchmark's files.
        renderer: ``"egl"``, ``"tiny"``, or ``"auto"``: EGL where it starts, else TinyRenderer with a warning.
        near: distance of the standing camera's near plane, metres. The benchmark's 0.01 leaves a 16-bit depth buffer
            (Mesa's) with steps of centimetres, and edges jagged; 1.0 draws the edges of a 24-bit buffer.

    Raises:
        ValueError: if there is no such renderer, or the near plane is not before the far one.
        RuntimeError: if the renderer does not start; says why, and names the Debian packages EGL needs.

    Attributes:
        name: renderer and graphics device, for reports.
    """

    def __init__(self, scene: str, assets: Path, *, renderer: str = "auto", near: float = NEAR) -> None:
        if renderer not in RENDERERS[:-1]:
            raise ValueError(f"expected a renderer of {RENDERERS[:-1]}, given {renderer!r}")
        if not 0 < near < FAR:
            raise ValueError(f"expected a near plane between 0 and {FAR} m, given {near}")
        self._owner = os.getpid()
        given = {"scene": scene, "assets": str(assets), "near": near}
        try:
            self.name = self._start(given, "tiny" if renderer == "tiny" else "egl")
        except RuntimeError as error:
            if renderer != "auto":
                raise RuntimeError(f"{error}; {PACKAGES}") from error
            warnings.warn(TINY.format(why=error), RuntimeWarning, stacklevel=2)
            self.name = self._start(given, "tiny")

    def draw(self, world: World) -> dict[str, np.ndarray]:
        """Draw what both cameras see now.

        Shape:
            primary: ``(3, 200, 200)`` uint8, RGB, first row at the top.
            wrist: ``(3, 84, 84)`` uint8, likewise.

        Raises:
            RuntimeError: if the process that draws has ended, or this one is a fork of the one that started it.
        """
        if self._owner != os.getpid():
            raise RuntimeError(
                "expected the process that made this env, given a fork of it: make envs in the process that steps them"
            )
        try:
            self._line.send_bytes(pose_of(world).tobytes())
            pixels = np.frombuffer(self._answer(), np.uint8)
        except (EOFError, OSError) as error:
            self.close()
            raise RuntimeError("the process that draws CALVIN's pictures has ended; make the env anew") from error
        frames = np.split(pixels, np.cumsum([3 * size**2 for size in SIZES.values()])[:-1])
        return {
            name: np.ascontiguousarray(frame.reshape(size, size, 3).transpose(2, 0, 1))
            for (name, size), frame in zip(SIZES.items(), frames, strict=True)
        }

    def close(self) -> None:
        """End the process that draws; closing again does nothing."""
        self._end()

    def _start(self, given: dict[str, str | float], renderer: str) -> str:
        """Start the process, wait until it can draw, and give the name of what it draws with."""
        self._line, theirs = Pipe()
        path = [os.path.abspath(folder) for folder in sys.path]
        order = json.dumps({**given, "renderer": renderer, "socket": theirs.fileno(), "path": path})
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                [sys.executable, "-c", _CHILD, order],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
            )
            self._end = weakref.finalize(self, _end, process, self._line, self._owner)
            theirs.close()
            try:
                ready = self._answer() == READY
            except (EOFError, OSError):
                ready = False
            said.seek(0)
            text = said.read().decode(errors="replace").strip()
        if not ready:
            self.close()
            raise RuntimeError(f"the {renderer} renderer ended with {(text or 'no word').splitlines()[-1]!r}")
        device = re.search(r"GL_RENDERER=(.*)", text)
        return f"{renderer}: {device.group(1)}" if device else renderer

    def _answer(self) -> bytes:
        if not self._line.poll(PATIENCE):
            raise OSError(f"expected an answer within {PATIENCE} s")
        return self._line.recv_bytes()


def _end(process: subprocess.Popen, line: Connection, owner: int) -> None:
    line.close()
    if owner == os.getpid():  # a fork must not end what its parent still uses
        process.kill()
        process.wait()
