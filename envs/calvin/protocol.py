"""The benchmark's long-horizon protocol: 192 initial conditions and 1000 sequences of five tasks.

Everything is drawn by numpy's legacy generator from fixed seeds, as in the original, and compared with it.
"""

import functools
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

EPISODE_STEPS = 360
"""Control steps a policy has for each task."""
LENGTH = 5
"""Tasks in a sequence."""
COUNT = 1000
"""Sequences in the benchmark."""
BLOCKS = ("red_block", "blue_block", "pink_block")
Condition = dict[str, int | str]
"""Where everything is, in words; the order of its keys enters the seed of :func:`initial_state`."""
Rule = tuple[Condition, Condition]
"""What a task needs, and what it changes."""

ROBOT = (
    *(0.02586889, -0.2313129, 0.5712808, 3.09045411, -0.02908596, 1.50013585, 0.07999963),
    *(-1.21779124, 1.03987629, 2.11978254, -2.34205014, -0.87015899, 1.64119093, 0.55344928, 1.0),
)
SLIDER = {
    "slider_left": (-2.40851662e-01, 9.24044687e-02, 4.60990009e-01),
    "slider_right": (7.03416330e-02, 9.24044687e-02, 4.60990009e-01),
}
SPOTS = ((5.00000896e-02, -1.20000177e-01, 4.59990009e-01), (2.29995412e-01, -1.19995140e-01, 4.59990010e-01))
"""The two places on the table where a block may start, metres."""


@dataclass(frozen=True)
class Sequence:
    """Hold one sequence of the benchmark.

    Attributes:
        condition: how it begins; see :func:`initial_state`.
        tasks: what is asked for, one after another.
    """

    condition: Condition
    tasks: tuple[str, ...]


def conditions() -> list[Condition]:
    """List the 192 initial conditions in the original's order.

    One or two blocks lie on the table and at most one in each half of the cupboard with the sliding door.
    """
    places = ("table", "slider_right", "slider_left")
    found = []
    for led, bulb, slider, drawer, *blocks in itertools.product(
        (0, 1), (0, 1), ("right", "left"), ("closed", "open"), places, places, places
    ):
        if blocks.count("table") in (1, 2) and max(blocks.count(place) for place in places[1:]) < 2:
            named = dict(zip(BLOCKS, blocks, strict=True))
            found.append({"led": led, "lightbulb": bulb, "slider": slider, "drawer": drawer, **named, "grasped": 0})
    return found


def initial_state(condition: Condition) -> tuple[np.ndarray, np.ndarray]:
    """Give the state a condition stands for.

    Blocks get a yaw and, if on the table, one of two spots, drawn from a seed that is a hash of the condition. They are
    placed as red, blue, pink, in every scene; only scene D observes them in this order, so that in the others a pose
    goes to a block of another colour, as in the original.

    Shape:
        robot: ``(15,)`` float64, as ``robot_obs``.
        scene: ``(24,)`` float64, as ``scene_obs``.
    """
    rng = np.random.RandomState(_hash(str(condition.values())))
    spots = list(SPOTS)
    rng.shuffle(spots)
    spots_of = (spots[0], spots[condition["red_block"] == "table"], spots[1])
    scene = np.zeros(24)
    scene[0] = 0.28 * (condition["slider"] == "left")
    scene[1] = 0.22 * (condition["drawer"] == "open")
    scene[3] = 0.088 * (condition["lightbulb"] == 1)
    scene[4:6] = condition["lightbulb"], condition["led"]
    for pose, block, spot in zip(scene[6:].reshape(3, 6), BLOCKS, spots_of, strict=True):
        pose[:3] = SLIDER.get(str(condition[block]), spot)
        pose[5] = rng.uniform(3 / 8 * math.pi, 5 / 8 * math.pi)
    return np.array(ROBOT), scene


def sequences(count: int = COUNT) -> list[Sequence]:
    """Give the first sequences of the benchmark, in its order.

    Args:
        count: how many; the score is defined on all 1000.

    Raises:
        ValueError: if there are not so many.
    """
    if not 1 <= count <= COUNT:
        raise ValueError(f"expected 1 to {COUNT} sequences, given {count}")
    drawn = json.loads(files("seerkit.envs.calvin").joinpath("sequences.json").read_text(encoding="utf-8"))
    found = [
        Sequence(condition, tuple(TASKS[number] for number in numbers))
        for condition, row in zip(conditions(), drawn, strict=True)
        for numbers in row
    ]
    np.random.RandomState(0).shuffle(found)  # type: ignore[arg-type] - numpy shuffles any list
    return found[:count]


def draw_sequences(number: int) -> list[tuple[str, ...]]:
    """Draw the sequences of one initial condition: five random tasks, again and again until they can be done.

    It takes half a second; ``sequences.json`` keeps what it finds for all 192.

    Args:
        number: the condition's place in :func:`conditions`; also the seed.
    """
    condition, rng = conditions()[number], np.random.RandomState(number)
    wanted = len(np.array_split(range(COUNT), len(conditions()))[number])
    kinds = np.array([_kind(task) for task in TASKS])
    found: list[tuple[str, ...]] = []
    while len(found) < wanted:
        drawn = rng.permutation(len(TASKS))[:LENGTH]
        if len(set(kinds[drawn])) == LENGTH:  # first, because it is quick
            tasks = tuple(TASKS[place] for place in drawn)
            found += [tasks] if feasible(condition, tasks) else []
    return found


def feasible(condition: Condition, tasks: tuple[str, ...]) -> bool:
    """Say whether tasks can follow each other, each in exactly one way."""
    for task in tasks:
        ways = after(condition, task)
        if len(ways) != 1:
            return False
        condition = ways[0]
    return True


def after(condition: Condition, task: str) -> list[Condition]:
    """List what a condition can become by a task; empty if the task cannot be done."""
    return [
        {**condition, **effect}
        for needs, effect in rules()[task]
        if all(condition[key] == value for key, value in needs.items())
    ]


@functools.cache
def rules() -> Mapping[str, tuple[Rule, ...]]:
    """Say what each task needs and changes, in the original's order of tasks."""
    found: dict[str, list[Rule]] = {}
    for task, needs, effect in itertools.chain(_on_table(), _on_doors(), _lifts(), _places(), _on_lights(), _drops()):
        found.setdefault(task, []).append((needs, effect))
    return {task: tuple(ways) for task, ways in found.items()}


Told = Iterator[tuple[str, Condition, Condition]]


def _on_table() -> Told:
    for verb, block, side in itertools.product(("rotate", "push"), BLOCKS, ("right", "left")):
        yield f"{verb}_{block}_{side}", {block: "table", "grasped": 0}, {}


def _on_doors() -> Told:
    for task, door, before, now in (
        ("move_slider_left", "slider", "right", "left"),
        ("move_slider_right", "slider", "left", "right"),
        ("open_drawer", "drawer", "closed", "open"),
        ("close_drawer", "drawer", "open", "closed"),
    ):
        yield task, {door: before, "grasped": 0}, {door: now}


def _lifts() -> Told:
    for block in BLOCKS:
        held: Condition = {block: "grasped", "grasped": 1}
        yield f"lift_{block}_table", {block: "table", "grasped": 0}, held
        for half, door in (("slider_left", "right"), ("slider_right", "left")):
            yield f"lift_{block}_slider", {block: half, "slider": door, "grasped": 0}, held
        yield f"lift_{block}_drawer", {block: "drawer", "drawer": "open", "grasped": 0}, held


def _places() -> Told:
    for block, side in itertools.product(BLOCKS, ("right", "left")):
        held: Condition = {block: "grasped", "slider": side, "grasped": 1}
        yield "place_in_slider", held, {block: f"slider_{side}", "grasped": 0}
    for block in BLOCKS:
        held = {block: "grasped", "drawer": "open", "grasped": 1}
        yield "place_in_drawer", held, {block: "drawer", "grasped": 0}
    for top, bottom in itertools.permutations(BLOCKS, 2):
        stack: Condition = {top: "stacked_top", bottom: "stacked_bottom", "grasped": 0}
        yield "stack_block", {top: "grasped", bottom: "table", "grasped": 1}, stack
        yield "unstack_block", stack, {top: "table", bottom: "table"}


def _on_lights() -> Told:
    for light, (word, state) in itertools.product(("lightbulb", "led"), (("on", 1), ("off", 0))):
        yield f"turn_{word}_{light}", {light: 1 - state, "grasped": 0}, {light: state}


def _drops() -> Told:
    halves = ("slider_right", "slider_left")
    for block in BLOCKS:
        others = [other for other in BLOCKS if other != block]
        for places in itertools.product(halves, halves):
            away = dict(zip(others, places, strict=True))
            yield "push_into_drawer", {block: "table", **away, "drawer": "open", "grasped": 0}, {block: "drawer"}


def _kind(task: str) -> str:
    """Name the kind of a task; no sequence has two of one kind."""
    verb, _, rest = task.partition("_")
    if verb in ("rotate", "push") and task != "push_into_drawer":
        return "turn or push"
    if verb in ("open", "close"):
        return "drawer"
    if verb == "turn":
        return "light"
    return f"lift {rest.rpartition('_')[2]}" if verb == "lift" else {"move": "slider", "place": "place"}.get(verb, task)


def _hash(text: str) -> int:
    """Hash a text to 32 bits as pyhash's ``fnv1_32`` does: FNV-1, but from 0 and over UTF-16."""
    found = 0
    for byte in text.encode("utf-16-le"):
        found = (found * 0x01000193) % 2**32 ^ byte
    return found


TASKS = tuple(rules())
"""All 34 tasks, in the original's order."""
