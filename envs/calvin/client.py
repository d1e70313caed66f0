"""A pybullet world of its own: every call names its client, so several worlds live in one process."""

import functools
import weakref
from collections.abc import Sequence
from typing import Any

try:
    import pybullet
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "CALVIN needs pybullet; install it with: pip install -c constraints.txt -e '.[calvin]'", name="pybullet"
    ) from error


class Client:
    """Call pybullet's functions on one world, without a window.

    Every function of pybullet is a method: ``client.loadURDF(...)`` is ``pybullet.loadURDF(...,
    physicsClientId=client.id)``. pybullet sends a call without a client to the world opened first, silently.

    Args:
        options: what pybullet's ``connect`` reads, such as the size of a renderer; it says them aloud.

    Raises:
        RuntimeError: if pybullet gives no client (it has at most 1024).

    Attributes:
        id: pybullet's number of the client.
    """

    def __init__(self, options: str = "") -> None:
        given = {"options": options} if options else {}
        self.id: int = pybullet.connect(pybullet.DIRECT, **given)
        if self.id < 0:
            raise RuntimeError("expected one more pybullet world, but pybullet gives none; close envs no longer needed")
        self._free = weakref.finalize(self, pybullet.disconnect, physicsClientId=self.id)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - pybullet has no stubs
        if name.startswith("_"):
            raise AttributeError(name)
        function = functools.partial(getattr(pybullet, name), physicsClientId=self.id)
        self.__dict__[name] = function  # so that the next look-up is a plain one
        return function

    def close(self) -> None:
        """Free the world; closing again does nothing."""
        self._free()

    def joints(self, body: int) -> dict[str, int]:
        """Give the number of every joint of a body by its name."""
        return {self.getJointInfo(body, i)[1].decode(): i for i in range(self.getNumJoints(body))}

    def links(self, body: int) -> dict[str, int]:
        """Give the number of every link of a body by its name; the base has number -1."""
        named = {self.getJointInfo(body, i)[12].decode(): i for i in range(self.getNumJoints(body))}
        return {**named, "base_link": -1}

    def movable(self, body: int) -> list[int]:
        """Give the numbers of all joints that are not fixed."""
        kinds = [self.getJointInfo(body, i)[2] for i in range(self.getNumJoints(body))]
        return [i for i, kind in enumerate(kinds) if kind != pybullet.JOINT_FIXED]

    def joint(self, body: int, number: int) -> float:
        """Give the position of one joint: radians or metres."""
        return self.getJointState(body, number)[0]

    def positions(self, body: int, numbers: Sequence[int]) -> list[float]:
        """Give the positions of several joints at once, which is quicker: radians or metres."""
        return [state[0] for state in self.getJointStates(body, numbers)]
