"""Policies told by a picture or a state: what they read, that they listen, and how they act."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from seerkit import Agent, Policy, keys, load_recipe
from seerkit.sample import sample_batch
from tests.small import small_policy

STEPS, ROWS, LENGTH = 4, 3, 10
PICTURE = keys.under(keys.GOAL_IMAGE, "primary")
RECIPES = ["seer_goal_image", "seer_future_state"]


def make(name: str) -> Policy:
    torch.manual_seed(0)
    policy = small_policy(name, f"steps={STEPS}", "ensemble=first")
    for query in policy.trunk.queries.values():
        torch.nn.init.normal_(query, std=0.5)
    return policy.eval()


@pytest.fixture(scope="module", params=RECIPES)
def policy(request: pytest.FixtureRequest) -> Policy:
    return make(request.param)


@pytest.fixture(scope="module")
def by_picture() -> Policy:
    return make("seer_goal_image")


def observations(seed: int = 0) -> list[dict]:
    rng = np.random.default_rng(seed)
    goal = {
        "image": {"primary": rng.integers(0, 256, (ROWS, 3, 32, 32), dtype=np.uint8)},
        "state": rng.normal(size=(ROWS, 7)).astype(np.float32),
    }
    return [
        {
            "image": {n: rng.integers(0, 256, (ROWS, 3, 32, 32), dtype=np.uint8) for n in ("primary", "wrist")},
            "state": rng.normal(size=(ROWS, 7)).astype(np.float32),
            "language_instruction": ("do it",) * ROWS,
            "goal": goal,
        }
        for _ in range(LENGTH)
    ]


def test_inputs_name_the_goal_and_nothing_else() -> None:
    assert [key for key in make("seer_goal_image").inputs if key[0] != "observation"] == [PICTURE]
    assert [key for key in make("seer_future_state").inputs if key[0] != "observation"] == [keys.GOAL_STATE]
    assert make("seer_goal_image").goal_stages == ["goal_pixels", "goal"]
    assert make("seer_future_state").goal_stages == ["goal"]


@pytest.mark.parametrize("name", ["seer_goal_image", "seer_tabletop_goal_image"])
def test_the_picture_is_never_shifted(name: str) -> None:
    policy = small_policy(name).train()
    td = sample_batch(policy.recipe, batch=2)
    first, second = (policy.stages["goal_pixels"](td.copy())[keys.GOAL_PIXELS] for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(policy.encoders["goal_pixels"].pixels.levels(first), td[PICTURE])
    assert first.mean().abs() < 0.5, "normalised"
    assert load_recipe(name).config["encoders"]["goal_pixels"]["module"]["pixels"]["shift"] == 0


def test_another_goal_changes_only_its_own_row(policy: Policy) -> None:
    td = sample_batch(policy.recipe, batch=ROWS, targets=False)
    other = td.clone()
    key = next(key for key in policy.inputs if key[0] == "goal")
    other[key][1] = td[key][2]
    with torch.no_grad():
        before, after = (policy(batch)[keys.CHUNK] for batch in (td, other))
    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert (before[1] != after[1]).flatten(1).any(dim=1).all(), "at every step"


def from_window(policy: Policy, past: list[dict], row: int) -> np.ndarray:
    """Action at the newest step, re-encoding the row's whole window and its goal."""
    past = past[-STEPS:]
    td = TensorDict({}, batch_size=[1])
    for name in policy.cameras:
        td[keys.under(keys.IMAGE, name)] = torch.from_numpy(np.stack([o["image"][name][row] for o in past]))[None]
    td[keys.STATE] = torch.from_numpy(np.stack([o["state"][row] for o in past]))[None]
    td[PICTURE] = torch.from_numpy(past[-1]["goal"]["image"]["primary"][row])[None]
    td[keys.GOAL_STATE] = torch.from_numpy(past[-1]["goal"]["state"][row])[None]
    with torch.no_grad():
        chunk = policy(td)[keys.CHUNK][0, -1, 0]
    return np.append(chunk[:-1].numpy(), 1.0 if chunk[-1] > 0 else -1.0)


def renewed(observation: dict, row: int, seed: int) -> dict:
    """The same observation with another goal in one row."""
    new = observations(seed)[0]["goal"]
    picture, state = observation["goal"]["image"]["primary"].copy(), observation["goal"]["state"].copy()
    picture[row], state[row] = new["image"]["primary"][row], new["state"][row]
    return {**observation, "goal": {"image": {"primary": picture}, "state": state}}


def test_acting_equals_re_encoding_the_window_while_goals_change(policy: Policy) -> None:
    agent, sequence, begun = Agent(policy, batch_size=ROWS), observations(), 0
    sequence[6:] = [renewed(observation, 1, seed=9) for observation in sequence[6:]]
    for step, observation in enumerate(sequence):
        if step == 6:
            agent.reset(np.arange(ROWS) == 1)
            begun = step
        actions = agent.act(observation)
        for row in range(ROWS):
            expected = from_window(policy, sequence[begun if row == 1 else 0 : step + 1], row)
            np.testing.assert_allclose(actions[row], expected, atol=1e-6, rtol=0)


def test_a_goal_that_changes_on_the_way_moves_only_its_own_row(policy: Policy) -> None:
    one, two = Agent(policy, batch_size=ROWS), Agent(policy, batch_size=ROWS)
    for step, observation in enumerate(observations(1)):
        changed = renewed(observation, 0, seed=5) if step >= 4 else observation
        a, b = one.act(observation), two.act(changed)
        assert np.array_equal(a[1:], b[1:])
        assert np.array_equal(a[0], b[0]) == (step < 4)


def test_a_goal_is_encoded_once_per_episode_and_only_where_it_is_new(policy: Policy) -> None:
    calls = []
    hook = policy.encoders["goal"].register_forward_hook(lambda *call: calls.append(len(call[1][0])))
    try:
        agent, sequence = Agent(policy, batch_size=ROWS), observations(2)
        for observation in sequence[:4]:
            agent.act({**observation, "language_instruction": ("another",) * ROWS})  # words it does not read
        agent.reset(np.arange(ROWS) == 2)
        goal = sequence[4]["goal"]
        agent.act(renewed(sequence[4], 2, seed=7))
        goal["image"]["primary"][:], goal["state"][:] = 0, 0  # the env's buffers may be written over
        agent.act(sequence[5])
    finally:
        hook.remove()
    assert calls == [3, 1, 3]


def test_one_row_needs_no_leading_axis_and_unread_words_need_not_be_there(policy: Policy) -> None:
    batch = observations(3)[0]
    single = {
        "image": {name: frames[0] for name, frames in batch["image"].items()},
        "state": batch["state"][0],
        "goal": {"image": {"primary": batch["goal"]["image"]["primary"][0]}, "state": batch["goal"]["state"][0]},
    }
    alone = Agent(policy, batch_size=1).act(single)
    np.testing.assert_allclose(alone, Agent(policy, batch_size=ROWS).act(batch)[0], atol=1e-6, rtol=0)


def test_a_policy_without_a_present_state_needs_only_the_one_to_be_reached() -> None:
    policy, seen = small_policy("seer_future_state", "state=none", "steps=2").eval(), observations(4)[0]
    without = {name: value for name, value in seen.items() if name != "state"}
    agents = [Agent(policy, batch_size=ROWS) for _ in range(2)]
    assert np.array_equal(agents[0].act(seen), agents[1].act(without))


Change = Callable[[dict], object]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda o: o.pop("goal"), KeyError, "observation lacks 'goal'"),
        (lambda o: o["goal"].pop("image"), KeyError, r"observation\['goal'\] lacks 'image'; it holds \['state'\]"),
        (lambda o: o["goal"].update(image={"wrist": 0}), KeyError, r"lacks 'primary'; it holds \['wrist'\]"),
        (lambda o: o["goal"].update(image=3), KeyError, "it holds int"),
        (
            lambda o: o["goal"]["image"].update(primary=np.zeros((2, 3, 32, 32), np.uint8)),
            ValueError,
            "expected 3 rows",
        ),
        (lambda o: o["goal"]["image"].update(primary=np.zeros((3, 32, 32, 3), np.uint8)), ValueError, "uint8"),
        (lambda o: o["goal"]["image"].update(primary=np.zeros((3, 3, 32, 32))), ValueError, "uint8.*float64"),
    ],
)
def test_a_missing_or_odd_goal_is_named(by_picture: Policy, change: Change, error: type, message: str) -> None:
    observation = observations()[0]
    change(observation)
    with pytest.raises(error, match=message):
        Agent(by_picture, batch_size=ROWS).act(observation)


def test_a_goal_state_must_be_finite() -> None:
    observation = observations()[0]
    observation["goal"]["state"][1, 2] = np.inf
    with pytest.raises(ValueError, match="goal state: expected finite"):
        Agent(make("seer_future_state"), batch_size=ROWS).act(observation)


@pytest.mark.parametrize(
    ("name", "key", "value", "message"),
    [
        ("seer_goal_image", PICTURE, None, r"lacks .*goal.*image.*primary.*; nearest"),
        ("seer_goal_image", PICTURE, torch.zeros(2, 1, 3, 32, 32, dtype=torch.uint8), r"uint8 \(B, 3, H, W\)"),
        ("seer_goal_image", PICTURE, torch.zeros(2, 3, 32, 32), r"uint8 \(B, 3, H, W\)"),
        ("seer_future_state", keys.GOAL_STATE, None, r"lacks .*goal.*state.*; nearest"),
        ("seer_future_state", keys.GOAL_STATE, torch.zeros(2, 1, 7), r"float \(B, S\)"),
        ("seer_future_state", keys.GOAL_STATE, torch.full((2, 7), torch.nan), "finite"),
    ],
)
def test_a_batch_with_a_bad_goal_is_named(name: str, key: tuple, value: torch.Tensor | None, message: str) -> None:
    policy = make(name)
    td = sample_batch(policy.recipe, batch=2)
    td.pop(key)
    if value is not None:
        td[key] = value
    for use in (policy, policy.loss):
        with pytest.raises((KeyError, ValueError), match=message):
            use(td)
