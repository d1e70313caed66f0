"""The original simulator, if the user has installed it, behind the interface of our own world."""

import contextlib
import importlib
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from seerkit.assets.where import compare
from seerkit.envs.calvin.client import pybullet
from seerkit.envs.calvin.painter import SIZES
from seerkit.envs.calvin.world import BlockState, Situation

PACKAGE = "calvin_env"
INSTALL = (
    "get a checkout of mees/calvin_env, then: pip install -c constraints.txt gym gitpython numpy-quaternion scipy "
    "opencv-python-headless; pip install -c constraints.txt --no-deps -e CHECKOUT"
)
CAMERAS = dict(zip(("static", "gripper"), SIZES, strict=True))
"""Our name of each of the original's cameras."""


class Original:
    """Run the original simulator as the benchmark's own evaluation does, and read what our environment reads.

    Construction, reset, step, cameras and what is measured are the original's code, with the robot, cameras, scene and
    meshes of its checkout. Two of its names are exchanged while it runs, and no number changes: the function that looks
    for a git commit, which fails where there is none, and ``pybullet`` in its cameras, which would draw a segmentation
    mask that nobody reads (a third of the time). Pictures are drawn when asked for, not at every step.

    What it does not do: forget. A reset does not load the world anew; contacts, the last gripper command and whether
    the button was pressed stay from the episode before. Only the first episode repeats our own world's bit for bit.

    Args:
        scene: ``A`` to ``D``.
        renderer: ``"egl"``, ``"tiny"`` or ``"none"``.
        near: distance of the standing camera's near plane, metres.

    Raises:
        ModuleNotFoundError: if it is not installed, or something it imports is not; says what to install.
        ValueError: if its meshes or scenes are missing or not the benchmark's.
        RuntimeError: if another pybullet world is open in this process: some of its calls go to the first one opened.

    Attributes:
        env: the original's own environment; it draws nothing while its list of cameras is empty, as it is here.
        cameras: the original's cameras by our names.
        version: package and commit, for reports.
    """

    def __init__(self, scene: str, *, renderer: str, near: float) -> None:
        module = _import(f"{PACKAGE}.envs.play_table_env")
        if pybullet.isConnected():
            raise RuntimeError(
                f"expected no other pybullet world in the process of {PACKAGE}, which sends some calls to the first "
                "one; close the other envs, or make this one in a process of its own (make_vec, seerkit eval)"
            )
        root = Path(module.__file__ or "").resolve().parents[2]
        _check_files(root)
        commit = _commit(root)
        self.version = f"{PACKAGE} {commit}"
        with _exchanged((module,), "get_git_commit_hash", lambda _: commit):
            self.env: Any = _make(root, scene, renderer=renderer, near=near)
        self.env.close = lambda: None  # else it runs when forgotten, too, and ends whichever world has its number then
        self._free = weakref.finalize(self, _release, self.env.p, self.env.cid)
        self.cameras, self.env.cameras = {CAMERAS[one.name]: one for one in self.env.cameras}, []
        self._drawing = [_import(type(camera).__module__) for camera in self.cameras.values()]
        for _ in range(2):  # EGL's first pictures have no shadows
            self.draw()
        self._seen, self._info = self.env.get_obs(), self.env.get_info()

    def reset(self, robot: np.ndarray, scene: np.ndarray) -> None:
        """Put everything where it shall be; see :meth:`seerkit.envs.calvin.world.World.reset`."""
        self._seen, self._info = self.env.reset(robot_obs=robot, scene_obs=scene), self.env.get_info()

    def step(self, action: np.ndarray) -> None:
        """Command one relative action ``(7,)`` and simulate a thirtieth of a second."""
        self._seen, _, _, self._info = self.env.step(action.copy())  # old versions scale it in place

    def measure(self) -> tuple[np.ndarray, np.ndarray]:
        """Give ``robot_obs`` ``(15,)`` and ``scene_obs`` ``(24,)``."""
        return self._seen["robot_obs"].copy(), self._seen["scene_obs"].copy()

    def situation(self) -> Situation:
        """Note everything the oracle may ask about this moment."""
        robot, scene = self._info["robot_info"], self._info["scene_info"]
        table = scene["fixed_objects"]["table"]
        return Situation(
            blocks={name: _block(told) for name, told in scene["movable_objects"].items()},
            doors={name: told["current_state"] for name, told in scene["doors"].items()},
            lights={name: bool(told["logical_state"]) for name, told in scene["lights"].items()},
            robot=robot["uid"],
            robot_touches=frozenset(contact[2] for contact in robot["contacts"]),
            table=table["uid"],
            links=table["links"],
        )

    def draw(self) -> dict[str, np.ndarray]:
        """Draw what both cameras see now; see :meth:`seerkit.envs.calvin.render.Renderer.draw`."""
        with self.maskless():
            frames = {name: camera.render()[0] for name, camera in self.cameras.items()}
        return {name: np.ascontiguousarray(frame.transpose(2, 0, 1)) for name, frame in frames.items()}

    def maskless(self) -> contextlib.AbstractContextManager[None]:
        """Let the original's cameras draw no segmentation mask for a while."""
        return _exchanged(self._drawing, "p", _Maskless())

    def close(self) -> None:
        """Free the world; closing again does nothing."""
        self._free()
        self.env, self.cameras = None, {}


class _Maskless:
    """pybullet, but pictures come without a segmentation mask."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - pybullet has no stubs
        return getattr(pybullet, name)

    def getCameraImage(self, **given: Any) -> Any:  # noqa: ANN401 - likewise
        return pybullet.getCameraImage(**given, flags=pybullet.ER_NO_SEGMENTATION_MASK)


def _make(root: Path, scene: str, *, renderer: str, near: float) -> Any:  # noqa: ANN401 - the original's class
    """Instantiate the original from its own configuration, as its own entry points do."""
    import hydra
    from omegaconf import OmegaConf

    def read(name: str) -> Any:  # noqa: ANN401 - a section of YAML
        return OmegaConf.load(root / "conf" / f"{name}.yaml")

    robot: Any = OmegaConf.merge(read("robot/panda"), read("robot/panda_longer_finger"))
    robot.pop("defaults")
    cameras = {} if renderer == "none" else {name: read(f"cameras/cameras/{name}") for name in CAMERAS}
    config = OmegaConf.create(
        {
            "use_vr": False,
            "data_path": str(root / "data"),
            "cameras": cameras,
            "env": read("env/play_table_env"),
            "scene": read(f"scene/calvin_scene_{scene}"),
            "robot": robot,
        }
    )
    if cameras:
        config.cameras.static.nearval = near
    return hydra.utils.instantiate(config.env, show_gui=False, use_scene_info=True, use_egl=renderer == "egl")


def _release(client: Any, number: int) -> None:  # noqa: ANN401 - pybullet, or its wrapper of one client
    pybullet.disconnect(physicsClientId=number)
    if client is not pybullet:
        client._client = -1  # else, once it is collected, it ends whichever world has the number then


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        absent = str(error.name).partition(".")[0]
        told = f"backend={PACKAGE!r} runs the original simulator, but {absent!r} is not installed; {INSTALL}"
        raise ModuleNotFoundError(told, name=absent) from error


def _check_files(root: Path) -> None:
    wrong = [name for found in compare("calvin", root) for name in found if name.startswith(("data/", "conf/scene/"))]
    if wrong:
        told = f"{len(wrong)} of them are missing or others, such as {wrong[0]}"
        raise ValueError(
            f"expected a checkout of {PACKAGE} with the benchmark's files in {root}, but {told}; {INSTALL}"
        )


def _commit(root: Path) -> str:
    """Name the checkout's commit. A folder without ``.git`` may lie within the repository of something else."""
    if not (root / ".git").exists():
        return "of unknown commit"
    repository = _import("git").Repo(root)
    return repository.head.commit.hexsha + " with changes" * repository.is_dirty()


def _block(told: Mapping[str, Any]) -> BlockState:
    return BlockState(
        body=told["uid"],
        position=np.array(told["current_pos"]),
        turn=np.array(told["current_orn"]),
        velocity=np.array([*told["current_lin_vel"], *told["current_ang_vel"]]),
        contacts=frozenset((contact[2], contact[4]) for contact in told["contacts"]),
    )


@contextlib.contextmanager
def _exchanged(modules: Iterable[ModuleType], name: str, value: object) -> Iterator[None]:
    """Give modules another value of one name for a while."""
    before = {module: getattr(module, name) for module in modules}
    for module in before:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, kept in before.items():
            setattr(module, name, kept)
