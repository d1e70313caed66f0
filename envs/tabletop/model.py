"""Build the MuJoCo model: FR3 from the franky-sim wheel, our gripper and cameras, a table and a task's objects."""

# pyright: reportAttributeAccessIssue=false
# (mujoco's names live in compiled modules without stubs)

import importlib.util
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

import mujoco
import numpy as np

STIFFNESS = (4500, 4500, 3500, 3500, 2000, 2000, 2000)
"""Position gains of the seven joints, Nm/rad."""
DAMPING_TIME = 0.04
"""Velocity gain over position gain, seconds: the lag of the simulated arm."""
TIMESTEP = 1 / 480
WRIST_POSITION, WRIST_TARGET = (0.078, 0.0, 0.040), (0.032, 0.0, 0.165)
"""Where the wrist camera is and what it looks at, metres in the gripper's frame; its picture's top is the tool's +x."""


@dataclass(frozen=True)
class Look:
    """Hold what the simulated cameras see.

    Attributes:
        shadows: cast shadows (slow without a GPU).
        samples: multisampling; 0 turns it off, 4 smooths edges (slow without a GPU).
        meshes: draw the robot's collision ``"hulls"`` (2 thousand faces) or its ``"full"`` meshes (235 thousand).
        position, target: where the primary camera is, and the point it looks at, metres in the base frame.
        fovy: the primary camera's field of view in degrees.
        wrist_fovy: the wrist camera's field of view in degrees.
        render_size: side in pixels of what ``render()`` returns.
        depth: also measure depth with every picture.
    """

    shadows: bool = False
    samples: int = 0
    meshes: Literal["hulls", "full"] = "hulls"
    position: tuple[float, float, float] = (1.55, 0.0, 1.25)
    target: tuple[float, float, float] = (0.46, 0.0, 0.09)
    fovy: float = 18.5
    wrist_fovy: float = 62.0
    render_size: int = 256
    depth: bool = False

    def __post_init__(self) -> None:
        """Check the choice of meshes.

        Raises:
            ValueError: if it is neither ``"hulls"`` nor ``"full"``.
        """
        if self.meshes not in ("hulls", "full"):
            raise ValueError(f"expected meshes to be 'hulls' or 'full', given {self.meshes!r}")


def robot_assets() -> Path:
    """Find the FR3 description in the franky-sim wheel without importing it.

    Raises:
        ImportError: if franky-sim is not installed.
    """
    spec = importlib.util.find_spec("franky_sim")
    if spec is None or spec.origin is None:
        raise ImportError("the tabletop twin needs the FR3 meshes of franky-sim: pip install 'seerkit[sim]'")
    return Path(spec.origin).parent / "assets"


def scene_element(name: str) -> ElementTree.Element:
    """Read one of our scene files."""
    return ElementTree.fromstring(resources.files("seerkit.envs.tabletop.scenes").joinpath(name).read_text())


def build_model(scene: str, look: Look, image_size: int) -> mujoco.MjModel:
    """Build the model of a scene file such as ``"reach.xml"``."""
    root = scene_element("base.xml")
    objects = scene_element(scene)
    robot = ElementTree.parse(robot_assets() / "fr3.xml").getroot()
    arm = _arm(robot, look)
    _find(root, "compiler").set("meshdir", str(robot_assets() / "meshes"))
    _find(root, "option").set("timestep", repr(TIMESTEP))
    _draw(root, look, image_size)
    used = {geom.get("mesh") for geom in arm.iter("geom")}
    _find(root, "asset").extend(m for m in robot.iterfind("asset/mesh") if m.get("name") in used)
    _find(root, "asset").extend([*objects.findall("material"), *objects.findall("mesh")])
    _find(root, "worldbody").append(arm)
    _find(root, "worldbody").extend(objects.findall("body"))
    for joint, stiffness in enumerate(STIFFNESS, start=1):
        _find(root, "actuator").append(_servo(joint, stiffness))
    return mujoco.MjModel.from_xml_string(ElementTree.tostring(root, encoding="unicode"))


def aim(camera: ElementTree.Element, position: Sequence[float], target: Sequence[float], up: Sequence[float]) -> None:
    """Point a camera at a target; ``up`` is the direction that is up in its picture."""
    back = np.subtract(position, target)
    right = np.cross(up, back)
    axes = np.concatenate(
        [right / np.linalg.norm(right), np.cross(back, right) / np.linalg.norm(np.cross(back, right))]
    )
    camera.set("pos", " ".join(map(repr, map(float, position))))
    camera.set("xyaxes", " ".join(map(repr, map(float, axes))))


def _find(element: ElementTree.Element, path: str) -> ElementTree.Element:
    found = element.find(path)
    if found is None:
        raise ValueError(f"expected <{path}> inside <{element.tag}>, found {[child.tag for child in element]}")
    return found


def _arm(robot: ElementTree.Element, look: Look) -> ElementTree.Element:
    """Take the FR3's links, draw either its hulls or its meshes, and swap its hand for our gripper."""
    full = look.meshes == "full"
    arm = _find(robot, "worldbody/body")
    bodies = list(arm.iter("body"))
    for body in bodies:
        body.set("gravcomp", "1")
        for geom in body.findall("geom"):
            if geom.get("class") == "visual" and not full:
                body.remove(geom)
            elif geom.get("class") == "collision" and full:
                geom.set("group", "3")
    for name in ("fr3_link0", "fr3_link1", "fr3_link2", "fr3_link3", "fr3_link4"):  # these cannot reach the table
        for geom in next(body for body in bodies if body.get("name") == name).findall("geom"):
            geom.set("contype", "0")
            geom.set("conaffinity", "0")
    flange = next(body for body in bodies if body.get("name") == "fr3_link7")
    flange.remove(_find(flange, "body"))
    gripper = scene_element("gripper.xml")
    camera = _find(gripper, "camera")
    camera.set("fovy", repr(look.wrist_fovy))
    aim(camera, WRIST_POSITION, WRIST_TARGET, (1, 0, 0))
    flange.append(gripper)
    return arm


def _draw(root: ElementTree.Element, look: Look, image_size: int) -> None:
    size = str(max(image_size, look.render_size))
    ElementTree.SubElement(_find(root, "visual"), "global", offwidth=size, offheight=size)
    quality = _find(root, "visual/quality")
    quality.set("offsamples", str(look.samples))
    quality.set("shadowsize", "2048" if look.shadows else "0")
    _find(root, "worldbody/light").set("castshadow", str(look.shadows).lower())
    camera = _find(root, "worldbody/camera")
    camera.set("fovy", repr(look.fovy))
    aim(camera, look.position, look.target, (0, 0, 1))


def _servo(joint: int, stiffness: float) -> ElementTree.Element:
    return ElementTree.Element(
        "position",
        name=f"joint{joint}",
        joint=f"fr3_joint{joint}",
        kp=repr(float(stiffness)),
        kv=repr(stiffness * DAMPING_TIME),
        inheritrange="1",
    )
