import numpy as np
import pytest

from seerkit.envs import TASKS, env_id, register_envs
from seerkit.envs.contract import EVAL_SEEDS, TRAIN_SEEDS, action_space, check_action, observation_space
from seerkit.envs.instruction import LENGTH, check_instruction


def test_spaces_say_what_the_contract_says() -> None:
    space = observation_space(48)
    assert list(space["image"]) == ["primary", "wrist"]
    assert space["image"]["wrist"].shape == (3, 48, 48)
    assert space["image"]["wrist"].dtype == np.uint8
    assert space["state"].shape == (7,)
    assert space.contains(space.sample())
    assert action_space().shape == (7,)


def test_training_and_evaluation_seeds_are_disjoint() -> None:
    assert not set(TRAIN_SEEDS[:: 10**5]) & set(EVAL_SEEDS[:: 10**5])
    assert TRAIN_SEEDS.stop <= EVAL_SEEDS.start


@pytest.mark.parametrize(
    ("action", "given"),
    [
        (np.full(7, np.nan), r"not finite at \[0, 1, 2, 3, 4, 5, 6\]"),
        ([0, 0, 0, 0, 0, np.inf, 0], r"not finite at \[5\]"),
        (np.zeros(6), r"given shape \(6,\)"),
        (np.zeros((1, 7)), r"given shape \(1, 7\)"),
        ("left", "given 'left'"),
        (None, r"given shape \(\)"),
    ],
)
def test_a_bad_action_names_expected_and_given(action: object, given: str) -> None:
    with pytest.raises(ValueError, match=rf"expected a finite action of shape \(7,\), .*{given}"):
        check_action(action)


@pytest.mark.parametrize("text", ["", "x" * (LENGTH + 1), "déjà vu"])
def test_an_instruction_must_fit_its_space(text: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        check_instruction(text)


def test_registering_twice_changes_nothing() -> None:
    from gymnasium.envs.registration import registry

    register_envs()
    before = {name: id(spec) for name, spec in registry.items()}
    register_envs()
    assert {name: id(spec) for name, spec in registry.items()} == before
    assert {f"seerkit/Tabletop-{task}-v0" for task in TASKS} <= set(before)


def test_a_wrong_name_answers_with_the_nearest() -> None:
    assert env_id("Reach") == "seerkit/Tabletop-Reach-v0"
    with pytest.raises(ValueError, match="given 'PickPlac'; did you mean 'PickPlace'"):
        env_id("PickPlac")
