"""Acting step by step equals predicting from the whole window."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from seerkit import Agent, Policy, keys
from tests.small import small_policy

STEPS, ROWS, LENGTH = 5, 3, 15


@pytest.fixture(scope="module")
def policy() -> Policy:
    torch.manual_seed(0)
    policy = small_policy("seer_calvin", "goal=words", f"steps={STEPS}")
    for query in policy.trunk.queries.values():
        torch.nn.init.normal_(query, std=0.5)
    return policy.eval()


def observations(seed: int = 0) -> list[dict]:
    rng = np.random.default_rng(seed)
    return [
        {
            "image": {n: rng.integers(0, 256, (ROWS, 3, 32, 32), dtype=np.uint8) for n in ("primary", "wrist")},
            "state": rng.normal(size=(ROWS, 7)).astype(np.float32),
            "language_instruction": ("lift it", "push it", "lift it"),
        }
        for _ in range(LENGTH)
    ]


def from_window(policy: Policy, past: list[dict], row: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Action and foresight at the newest step, re-encoding the row's whole window."""
    past = past[-STEPS:]
    td = TensorDict({}, batch_size=[1])
    for name in policy.cameras:
        frames = np.stack([o["image"][name][row] for o in past])
        td[keys.under(keys.IMAGE, name)] = torch.from_numpy(frames)[None]
    td[keys.STATE] = torch.from_numpy(np.stack([o["state"][row] for o in past]))[None]
    td.set_non_tensor(keys.INSTRUCTION, [past[-1]["language_instruction"][row]])
    with torch.no_grad():
        chunk = policy(td)[keys.CHUNK][0, -1, 0]
    gripper = 1.0 if chunk[-1] > 0 else -1.0
    foreseen = {name: frames[0, -1].numpy() for name, frames in policy.foresee(td).items()}
    return np.append(chunk[:-1].numpy(), gripper), foreseen


def test_cached_rollout_equals_re_encoding_with_rows_resetting_alone(policy: Policy) -> None:
    agent, episode_start = Agent(policy, batch_size=ROWS), [0] * ROWS
    resets = {4: 1, 8: 0, 9: 2}  # step -> row; windows are then filled to different lengths
    sequence = observations()
    for step, observation in enumerate(sequence):
        if step in resets:
            row = resets[step]
            agent.reset(np.arange(ROWS) == row)
            episode_start[row] = step
        actions = agent.act(observation, foresee=True)
        for row in range(ROWS):
            expected, foreseen = from_window(policy, sequence[episode_start[row] : step + 1], row)
            np.testing.assert_allclose(actions[row], expected, atol=1e-6, rtol=0)
            for name in policy.cameras:
                difference = agent.foresight[name][row].astype(int) - foreseen[name].astype(int)
                assert np.abs(difference).max() <= 1  # a level may round the other way
    assert agent.carry.length.tolist() == [STEPS] * ROWS


def test_a_batch_acts_as_its_rows_would_alone(policy: Policy) -> None:
    together = Agent(policy, batch_size=ROWS)
    alone = [Agent(policy, batch_size=1) for _ in range(ROWS)]
    for observation in observations(1)[:6]:
        batch = together.act(observation)
        for row, agent in enumerate(alone):
            single = {
                "image": {name: frames[row] for name, frames in observation["image"].items()},
                "state": observation["state"][row],
                "language_instruction": observation["language_instruction"][row],
            }
            np.testing.assert_allclose(agent.act(single), batch[row], atol=1e-6, rtol=0)


def test_text_is_encoded_only_when_it_changes(policy: Policy) -> None:
    calls = []
    hook = policy.encoders["goal"].register_forward_hook(lambda *call: calls.append(len(call[1][0])))
    try:
        agent, sequence = Agent(policy, batch_size=ROWS), observations(2)
        for observation in sequence[:3]:
            agent.act(observation)
        before = agent.act(sequence[3])
        again = Agent(policy, batch_size=ROWS)
        changed = {**sequence[3], "language_instruction": ("lift it", "open it", "lift it")}
        agent.act(changed)
        again.act(changed)
    finally:
        hook.remove()
    assert calls == [3, 1, 3]
    assert before.shape == (ROWS, 7)


def test_only_what_is_asked_for_is_computed(policy: Policy) -> None:
    decoded = []
    hook = policy.heads["foresight"].register_forward_hook(lambda *_: decoded.append(True))
    try:
        agent = Agent(policy, batch_size=ROWS)
        agent.act(observations()[0])
        assert not decoded
        agent.act(observations()[1], foresee=True)
        assert decoded
    finally:
        hook.remove()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda o: o.pop("state"), KeyError, "lacks 'state'"),
        (lambda o: o["image"].pop("wrist"), KeyError, r"lacks cameras \['wrist'\]"),
        (lambda o: o.update(state=o["state"][:2]), ValueError, "expected 3 rows"),
        (lambda o: o["image"].update(wrist=o["image"]["wrist"].astype(np.float32)), ValueError, "uint8"),
        (lambda o: o["image"].update(wrist=o["image"]["wrist"].transpose(0, 2, 3, 1)), ValueError, r"\(B, 3, H, W\)"),
        (lambda o: o["state"].__setitem__((0, 0), np.nan), ValueError, "NaN"),
        (lambda o: o.update(language_instruction=("one",)), ValueError, "expected 3 instructions"),
    ],
)
def test_bad_observations_say_what_was_expected(policy: Policy, change, error: type, message: str) -> None:  # noqa: ANN001
    observation = observations()[0]
    change(observation)
    with pytest.raises(error, match=message):
        Agent(policy, batch_size=ROWS).act(observation)


def test_reset_takes_a_mask_of_rows(policy: Policy) -> None:
    with pytest.raises(ValueError, match="mask of 3 rows"):
        Agent(policy, batch_size=ROWS).reset([True])
