"""CALVIN's physics depends on the start and the actions alone, and its buttons do what each version's do."""

import gc
from pathlib import Path

import numpy as np
import pytest

from seerkit.assets import folder

pytestmark = pytest.mark.calvin
STILL = np.array([0, 0, 0, 0, 0, 0, 1.0])


def make_world(scene: str = "D", **options: str):  # noqa: ANN201 - its module needs pybullet
    from seerkit.envs.calvin.scene import read_scene
    from seerkit.envs.calvin.world import World

    return World(read_scene(scene, folder("calvin")), **options)


def start(number: int = 7) -> tuple[np.ndarray, np.ndarray]:
    from seerkit.envs.calvin.protocol import conditions, initial_state

    return initial_state(conditions()[number])


def rough(seed: int, steps: int) -> np.ndarray:
    """Actions that drive the hand down into the blocks, with an opening and closing gripper."""
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1, 1, (steps, 7))
    actions[:, 2] -= 0.6
    actions[:, 6] = np.sign(actions[:, 6])
    return actions


def play(world, actions: np.ndarray) -> bytes:  # noqa: ANN001 - see make_world
    seen = []
    for action in actions:
        world.step(action)
        seen += [world.robot.observe(), world.observe()]
    return np.concatenate(seen).tobytes()


def test_nothing_of_the_past_is_left_after_a_reset() -> None:
    world, other, actions = make_world(), make_world("A"), rough(0, 50)
    world.reset(*start())
    first = play(world, actions)
    for past in range(1, 11):
        world.reset(*start(past * 17))
        play(world, rough(past, 20 + past))
        other.reset(*start(past))  # a second world in the process changes nothing either
        play(other, rough(past, 3))
        world.reset(*start())
        assert play(world, actions) == first, f"after episode {past}"
    world.close()
    other.close()


def test_worlds_take_turns_without_touching_each_other() -> None:
    actions = rough(3, 40)
    alone = {}
    for scene in "ABCD":
        world = make_world(scene)
        world.reset(*start())
        alone[scene] = play(world, actions)
        world.close()
    worlds = {scene: make_world(scene) for scene in "ABCD"}
    for world in worlds.values():
        world.reset(*start())
    parts: dict[str, list[bytes]] = {scene: [] for scene in worlds}
    for action in actions:
        for scene, world in worlds.items():
            parts[scene].append(play(world, action[None]))
    assert {scene: b"".join(part) for scene, part in parts.items()} == alone
    for world in worlds.values():
        world.close()


@pytest.mark.slow
def test_three_hundred_resets_cost_no_memory() -> None:
    def megabytes() -> float:
        gc.collect()
        status = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) / 1024

    world = make_world()
    before = megabytes()
    for number in range(300):
        world.reset(*start(number % 192))
        play(world, rough(number, 5))
    assert megabytes() - before < 30
    world.close()


def test_the_order_of_blocks_is_the_scenes() -> None:
    orders = {}
    for scene in "ABCD":
        world = make_world(scene)
        orders[scene] = [name.removeprefix("block_") for name in world.situation().blocks]
        world.close()
    assert orders == {
        "A": ["pink", "blue", "red"],
        "B": ["red", "blue", "pink"],
        "C": ["blue", "red", "pink"],
        "D": ["red", "blue", "pink"],
    }


def test_a_state_comes_back_as_it_was_given() -> None:
    world, (robot, scene) = make_world(), start(100)
    scene[:4] = 0.1, 0.05, 0.004, 0.03
    world.reset(robot, scene)
    assert world.observe()[:2] == pytest.approx(scene[:2], abs=1e-4)
    assert world.observe()[4:6].tolist() == scene[4:6].tolist()
    assert world.observe()[6:] == pytest.approx(scene[6:], abs=5e-3)
    assert world.robot.observe()[6:14] == pytest.approx(robot[6:14], abs=1e-4)
    world.close()


def press(world, joint: str, value: float) -> None:  # noqa: ANN001 - see make_world
    """Hold a joint of the table somewhere and let its logic look once."""
    body = world.table.body
    world.client.resetJointState(body, world.client.joints(body)[joint], value)
    world.table.advance()


@pytest.mark.parametrize(
    ("button", "lit", "after"),
    [
        ("head", 0, [True, True, True, False]),
        ("head", 1, [False, False, False, True]),
        ("1431a46", 0, [True, True, True, False]),
        ("1431a46", 1, [True, True, True, False]),  # the first press is lost
    ],
)
def test_the_button_toggles_when_newly_pressed(button: str, lit: int, after: list[bool]) -> None:
    world, (robot, scene) = make_world(button=button), start()
    scene[5] = lit
    world.reset(robot, scene)
    seen = []
    for value in (0.015, 0.016, 0.005, 0.012):
        press(world, "base__button", value)
        seen.append(world.table.lights["led"])
    assert seen == after
    assert world.observe()[5] == after[-1]
    world.close()


def test_the_switch_turns_its_light_on_and_off() -> None:
    world, (robot, scene) = make_world(), start()
    scene[3:5] = 0, 0
    world.reset(robot, scene)
    seen = []
    for value in (0.03, 0.05, 0.08, 0.043, 0.0):
        press(world, "base__switch", value)
        seen.append(world.table.lights["lightbulb"])
    assert seen == [False, True, True, False, False]
    world.close()


def test_products_are_taken_in_the_precision_of_the_action() -> None:
    """The original scales a policy's float32 in float32: 0.3 of 0.02 m is another number there."""
    world = make_world()
    world.reset(*start())
    action = np.array([0.3, 0, 0, 0, 0, 0, 1], np.float32)
    before = world.robot._target.copy()
    world.step(action)
    moved = world.robot._target - before
    assert moved[0] == before[0] + np.float64(np.float32(0.3) * np.float32(0.02)) - before[0]
    assert moved[0] != before[0] + 0.3 * 0.02 - before[0]
    world.close()


def test_an_unknown_scene_is_answered() -> None:
    from seerkit.envs.calvin.scene import read_scene

    with pytest.raises(ValueError, match=r"scene of \('A', 'B', 'C', 'D'\), given 'E'"):
        read_scene("E", folder("calvin"))
