"""The benchmark's sequences: shipped as drawn, possible, and of five different kinds."""

from collections import Counter

import numpy as np
import pytest

from seerkit.envs.calvin.protocol import (
    COUNT,
    TASKS,
    after,
    conditions,
    draw_sequences,
    feasible,
    initial_state,
    sequences,
)


def test_the_shipped_sequences_are_those_the_seeds_draw() -> None:
    shipped: dict[str, list[tuple[str, ...]]] = {}
    for sequence in sequences():
        shipped.setdefault(str(sequence.condition), []).append(sequence.tasks)
    for number in (0, 39, 40, 77, 191):
        drawn = draw_sequences(number)
        assert len(drawn) == (6 if number < 40 else 5)
        assert sorted(shipped[str(conditions()[number])]) == sorted(drawn)


def test_there_are_1000_and_each_can_be_done() -> None:
    every = sequences()
    assert len(every) == COUNT == 1000
    assert all(len(set(sequence.tasks)) == 5 and feasible(sequence.condition, sequence.tasks) for sequence in every)
    assert {task for sequence in every for task in sequence.tasks} == set(TASKS)
    assert sequences(20) == every[:20]
    for count in (0, 1001):
        with pytest.raises(ValueError, match=f"1 to 1000 sequences, given {count}"):
            sequences(count)


def test_the_old_buttons_bug_concerns_185_sequences() -> None:
    concerned = [sequence for sequence in sequences() if "turn_off_led" in sequence.tasks]
    assert len(concerned) == 185
    assert all(sequence.condition["led"] == 1 for sequence in concerned)


def test_there_are_192_conditions() -> None:
    every = conditions()
    assert len(every) == len({str(condition) for condition in every}) == 192
    tables = Counter(list(condition.values()).count("table") for condition in every)
    assert set(tables) == {1, 2}
    assert len({initial_state(condition)[1].tobytes() for condition in every}) == 192


def test_blocks_start_apart() -> None:
    for condition in conditions():
        _, scene = initial_state(condition)
        places = scene[6:].reshape(3, 6)[:, :3]
        distances = [np.linalg.norm(places[i] - places[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
        assert min(distances) > 0.1


def test_a_task_changes_what_it_says() -> None:
    start = {**conditions()[0], "drawer": "closed", "red_block": "table", "blue_block": "table"}
    (opened,) = after(start, "open_drawer")
    assert opened == {**start, "drawer": "open"}
    assert after(opened, "open_drawer") == []
    (held,) = after(start, "lift_red_block_table")
    assert (held["red_block"], held["grasped"]) == ("grasped", 1)
    assert after(held, "open_drawer") == []
    assert after(held, "place_in_drawer") == []  # it is closed
    (stack,) = after({**held, "pink_block": "slider_left"}, "stack_block")
    assert after(stack, "unstack_block") == [{**stack, "red_block": "table", "blue_block": "table"}]
    assert len(after({**held, "pink_block": "table"}, "stack_block")) == 2  # so that no sequence asks for it
    assert start["drawer"] == "closed"
