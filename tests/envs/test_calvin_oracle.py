"""Each of the benchmark's tests says yes where it should, and no where one thing is off."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from seerkit.assets import folder

if TYPE_CHECKING:
    from seerkit.envs.calvin.oracle import Oracle
    from seerkit.envs.calvin.world import Situation

pytestmark = pytest.mark.calvin
ROBOT, TABLE = 0, 5
BODIES = {"block_red": 2, "block_blue": 3, "block_pink": 4}
LINKS = {"base_link": -1, "drawer_link": 1, "plank_link": 3}
ON_TABLE, ON_PLANK, IN_DRAWER = (TABLE, -1), (TABLE, 3), (TABLE, 1)
HAND = (ROBOT, 9)


@pytest.fixture(scope="module")
def oracle() -> "Oracle":
    from seerkit.envs.calvin.oracle import read_oracle

    return read_oracle(folder("calvin"))


def situation(robot: tuple[int, ...] = (), lights: tuple[int, int] = (0, 0)) -> "Situation":
    """All blocks at rest on the table, doors closed."""
    from seerkit.envs.calvin.world import BlockState, Situation

    blocks = {
        name: BlockState(body, np.array([body, 0, 0.46]), np.array([0, 0, 0, 1.0]), np.zeros(6), frozenset({ON_TABLE}))
        for name, body in BODIES.items()
    }
    return Situation(
        blocks=blocks,
        doors={"base__slide": 0.0, "base__drawer": 0.0},
        lights={"lightbulb": bool(lights[0]), "led": bool(lights[1])},
        robot=ROBOT,
        robot_touches=frozenset(robot),
        table=TABLE,
        links=LINKS,
    )


def change(
    given: "Situation",
    block: str = "block_red",
    *,
    by: tuple[float, ...] = (0, 0, 0),
    turn: tuple[float, ...] = (0, 0, 0),
    velocity: float = 0.0,
    on: tuple[tuple[int, int], ...] = (ON_TABLE,),
) -> "Situation":
    """Move one block by metres, turn it by degrees about x, y, z, and say what it touches."""
    from seerkit.envs.pose import Pose

    before = given.blocks[block]
    turned = Pose.from_euler_xyz(np.radians(turn)) @ Pose.from_quat_xyzw(before.turn)
    after = replace(
        before,
        position=before.position + np.array(by),
        turn=turned.to_quat_xyzw(),
        velocity=np.full(6, velocity),
        contacts=frozenset(on),
    )
    return replace(given, blocks={**given.blocks, block: after})


def test_there_are_34_tasks_with_a_sentence_each(oracle: "Oracle") -> None:
    from seerkit.envs.calvin.protocol import TASKS

    assert tuple(oracle.sentences) == TASKS
    assert len(set(oracle.sentences.values())) == len(TASKS) == 34
    with pytest.raises(ValueError, match="did you mean 'stack_block'"):
        oracle.check("stack_blok")


def test_nothing_done_is_nothing(oracle: "Oracle") -> None:
    assert oracle.done(situation(), situation()) == set()


@pytest.mark.parametrize(
    ("degrees", "change_by", "done"),
    [
        ((0, 0, 61), {}, {"rotate_red_block_left"}),
        ((0, 0, -61), {}, {"rotate_red_block_right"}),
        ((0, 0, 59), {}, set()),
        ((31, 0, 70), {}, set()),
        ((0, -31, 70), {}, set()),
        ((20, 20, 70), {}, {"rotate_red_block_left"}),
        ((0, 0, 70), {"by": (0.06, 0.06, 0.06)}, set()),  # 0.104 m
        ((0, 0, 70), {"by": (0.05, 0.05, 0.05)}, {"rotate_red_block_left"}),
        ((0, 0, 70), {"on": (HAND,)}, set()),
        ((0, 0, 70), {"on": (HAND, ON_TABLE)}, {"rotate_red_block_left"}),
    ],
)
def test_rotating(oracle: "Oracle", degrees: tuple[float, ...], change_by: dict, done: set[str]) -> None:
    assert oracle.done(situation(), change(situation(), turn=degrees, **change_by)) == done


@pytest.mark.parametrize(
    ("x", "before", "on", "done"),
    [
        (0.11, (ON_TABLE,), (ON_TABLE,), {"push_blue_block_right"}),
        (-0.11, (ON_TABLE,), (ON_TABLE,), {"push_blue_block_left"}),
        (0.09, (ON_TABLE,), (ON_TABLE,), set()),
        (0.11, (ON_TABLE,), (HAND,), set()),
        (0.11, (HAND, ON_TABLE), (HAND, ON_TABLE, ON_PLANK), {"push_blue_block_right"}),
        (0.11, (ON_TABLE, ON_PLANK), (ON_TABLE,), set()),  # it has left something
        (0.11, (HAND,), (ON_TABLE,), set()),  # it lay on nothing
    ],
)
def test_pushing(oracle: "Oracle", x: float, before: tuple, on: tuple, done: set[str]) -> None:
    start = change(situation(), "block_blue", on=before)
    assert oracle.done(start, change(start, "block_blue", by=(x, 0, 0), on=on)) == done


@pytest.mark.parametrize(
    ("place", "height", "on", "done"),
    [
        (ON_TABLE, 0.051, (HAND,), {"lift_pink_block_table"}),
        (ON_TABLE, 0.049, (HAND,), set()),
        (ON_PLANK, 0.031, (HAND,), {"lift_pink_block_slider"}),
        (ON_PLANK, 0.029, (HAND,), set()),
        (IN_DRAWER, 0.051, (HAND, (ROBOT, 11)), {"lift_pink_block_drawer"}),
        (IN_DRAWER, 0.051, (HAND, IN_DRAWER), set()),
        (ON_TABLE, 0.051, (), set()),
    ],
)
def test_lifting(oracle: "Oracle", place: tuple[int, int], height: float, on: tuple, done: set[str]) -> None:
    start = change(situation(), "block_pink", on=(place,))
    assert oracle.done(start, change(start, "block_pink", by=(0, 0, height), on=on)) == done


@pytest.mark.parametrize(
    ("held", "touches", "on", "touches_then", "done"),
    [
        ((HAND,), (2,), (ON_PLANK,), (), {"place_in_slider"}),
        ((HAND,), (2,), (IN_DRAWER,), (), {"place_in_drawer"}),
        ((HAND,), (2,), (IN_DRAWER,), (3,), {"place_in_drawer"}),
        ((HAND,), (2,), (ON_PLANK,), (2,), set()),  # not let go
        ((HAND, ON_TABLE), (2,), (ON_PLANK,), (), set()),  # not held alone
        ((HAND,), (2, 5), (ON_PLANK,), (), set()),  # the robot touched the table, too
        ((HAND,), (5,), (ON_PLANK,), (), set()),
        ((HAND,), (2,), (ON_TABLE,), (), set()),
    ],
)
def test_placing(oracle: "Oracle", held: tuple, touches: tuple, on: tuple, touches_then: tuple, done: set[str]) -> None:
    start = change(situation(robot=touches), on=held)
    assert (
        oracle.done(start, change(situation(robot=touches_then), on=on), ["place_in_slider", "place_in_drawer"]) == done
    )


@pytest.mark.parametrize(
    ("before", "on", "done"),
    [
        ((ON_TABLE,), (IN_DRAWER,), {"push_into_drawer"}),
        ((ON_TABLE,), (IN_DRAWER, HAND), {"push_into_drawer"}),  # as in the original, the robot may touch it
        ((ON_TABLE, HAND), (IN_DRAWER,), set()),
        ((ON_PLANK,), (IN_DRAWER,), set()),
    ],
)
def test_pushing_into_the_drawer(oracle: "Oracle", before: tuple, on: tuple, done: set[str]) -> None:
    start = change(situation(), "block_pink", on=before)
    assert oracle.done(start, change(start, "block_pink", on=on)) == done


@pytest.mark.parametrize(
    ("door", "before", "after", "done"),
    [
        ("base__slide", 0.0, 0.151, {"move_slider_left"}),
        ("base__slide", 0.0, 0.149, set()),
        ("base__slide", 0.28, 0.12, {"move_slider_right"}),
        ("base__drawer", 0.02, 0.145, {"open_drawer"}),
        ("base__drawer", 0.0, 0.119, set()),
        ("base__drawer", 0.22, 0.09, {"close_drawer"}),
    ],
)
def test_doors(oracle: "Oracle", door: str, before: float, after: float, done: set[str]) -> None:
    start, end = ({**situation().doors, door: value} for value in (before, after))
    assert oracle.done(replace(situation(), doors=start), replace(situation(), doors=end)) == done


@pytest.mark.parametrize(
    ("before", "after", "done"),
    [
        ((0, 0), (1, 0), {"turn_on_lightbulb"}),
        ((1, 0), (0, 0), {"turn_off_lightbulb"}),
        ((0, 0), (0, 1), {"turn_on_led"}),
        ((1, 1), (0, 0), {"turn_off_lightbulb", "turn_off_led"}),
        ((1, 1), (1, 1), set()),
    ],
)
def test_lights(oracle: "Oracle", before: tuple[int, int], after: tuple[int, int], done: set[str]) -> None:
    assert oracle.done(situation(lights=before), situation(lights=after)) == done


ON_BLUE, TOUCHED_BY_RED = ((3, -1),), ((2, -1), ON_TABLE)


@pytest.mark.parametrize(
    ("on", "velocity", "done"),
    [
        (ON_BLUE, 0.0, {"stack_block"}),
        (ON_BLUE, 0.99, {"stack_block"}),
        (ON_BLUE, -1.0, set()),  # too fast
        ((*ON_BLUE, HAND), 0.0, set()),
        ((*ON_BLUE, ON_TABLE), 0.0, set()),  # beside it
        ((), 0.0, set()),
    ],
)
def test_stacking_and_unstacking(oracle: "Oracle", on: tuple, velocity: float, done: set[str]) -> None:
    apart = situation()
    below = change(apart, "block_blue", on=TOUCHED_BY_RED if on[:1] == ON_BLUE else (ON_TABLE,))
    together = change(below, on=on, velocity=velocity)
    assert oracle.done(apart, together) == done
    assert oracle.done(together, apart) == {"unstack_block" for _ in done}
    assert oracle.done(together, together) == set()


def test_only_those_asked_for_are_told(oracle: "Oracle") -> None:
    start, end = situation(lights=(1, 1)), situation()
    assert oracle.done(start, end, ["turn_off_led", "turn_on_led"]) == {"turn_off_led"}
    with pytest.raises(ValueError, match="did you mean 'turn_off_led'"):
        oracle.done(start, end, ["turn_of_led"])
