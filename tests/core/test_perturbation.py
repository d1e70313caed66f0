"""Outputs depend on what they may depend on and on nothing else, to the last bit."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDictBase

from seerkit import Policy, keys
from seerkit.sample import sample_batch
from tests.small import small_policy

STEPS = 6


@pytest.fixture(scope="module")
def policy() -> Policy:
    torch.manual_seed(0)
    policy = small_policy("seer_calvin", "goal=words", f"steps={STEPS}", "encoders.image.module.vit.frozen=false")
    for query in policy.trunk.queries.values():
        torch.nn.init.normal_(query, std=0.5)
    return policy.eval()


@pytest.fixture
def batch(policy: Policy) -> TensorDictBase:
    torch.manual_seed(1)
    return sample_batch(policy.recipe, batch=3, targets=False)


def outputs(policy: Policy, td: TensorDictBase) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        out = policy(td)
    return {"chunk": out[keys.CHUNK], **{name: out["foresight", name] for name in policy.cameras}}


def test_the_future_is_not_seen(policy: Policy, batch: TensorDictBase) -> None:
    before = outputs(policy, batch)
    changed = batch.clone()
    changed["observation", "image", "wrist"][:, 4:] = 255 - changed["observation", "image", "wrist"][:, 4:]
    changed["observation", "state"][:, 4:] += 1
    after = outputs(policy, changed)
    for name, value in before.items():
        assert torch.equal(value[:, :4], after[name][:, :4]), name
        assert not torch.equal(value[:, 4:], after[name][:, 4:]), name


@pytest.mark.parametrize("padded", [slice(4, None), slice(0, 2)], ids=["behind", "before"])
def test_padded_steps_are_seen_by_nobody(policy: Policy, batch: TensorDictBase, padded: slice) -> None:
    batch[keys.STEP_IS_PAD] = torch.zeros(3, STEPS, dtype=torch.bool)
    batch[keys.STEP_IS_PAD][0, padded] = True
    valid = ~batch[keys.STEP_IS_PAD]
    before = outputs(policy, batch)
    changed = batch.clone()
    changed["observation", "image", "primary"][:, padded] = 255 - changed["observation", "image", "primary"][:, padded]
    changed["observation", "state"][:, padded] += 1
    after = outputs(policy, changed)
    for name, value in before.items():
        assert torch.isfinite(value).all(), name
        assert torch.equal(value[0][valid[0]], after[name][0][valid[0]]), name
        assert not torch.equal(value[1], after[name][1]), f"{name}: in the other rows these steps count"


def test_padded_steps_enter_no_loss(policy: Policy) -> None:
    torch.manual_seed(2)
    batch = sample_batch(policy.recipe, batch=2)
    batch[keys.STEP_IS_PAD] = torch.zeros(2, STEPS, dtype=torch.bool)
    batch[keys.STEP_IS_PAD][:, 4:] = True
    before = policy.loss(batch)
    batch[keys.TARGET_CHUNK][:, 4:] = 0.5
    batch["future", "image", "wrist"][:, 1:] = 0  # what steps 4 and 5 would foresee
    after = policy.loss(batch)
    assert all(torch.equal(before[name], after[name]) for name in before.keys())  # noqa: SIM118 - a TensorDict


def test_steps_whose_goal_is_padding_enter_no_loss() -> None:
    torch.manual_seed(3)
    policy = small_policy("seer_calvin_pretrain", "goal=words", "steps=8")  # the goal state lies 4 steps ahead
    batch = sample_batch(policy.recipe, batch=1)
    batch[keys.STEP_IS_PAD] = torch.arange(8)[None] >= 5
    out = policy.rehearse(batch)
    assert out[keys.ACTION_IS_PAD][0, :, 0].tolist() == [False, True, True, True]
    assert out[keys.FUTURE_IS_PAD][0].tolist() == [False, True, True, True]


def test_rows_do_not_mix(policy: Policy, batch: TensorDictBase) -> None:
    before = outputs(policy, batch)
    changed = batch.clone()
    changed["observation", "image", "primary"][1] = 0
    changed["observation", "state"][1] = 9.0
    after = outputs(policy, changed)
    for name, value in before.items():
        assert torch.equal(value[[0, 2]], after[name][[0, 2]]), name
        assert not torch.equal(value[1], after[name][1]), name


def test_the_goal_matters_for_its_row_alone(policy: Policy, batch: TensorDictBase) -> None:
    before = outputs(policy, batch)
    changed = batch.clone()
    changed.set_non_tensor(keys.INSTRUCTION, ["reach block 0", "open the drawer", "reach block 2"])
    after = outputs(policy, changed)
    for name, value in before.items():
        assert torch.equal(value[[0, 2]], after[name][[0, 2]]), name
        assert not torch.equal(value[1], after[name][1]), name


def test_foresight_ignores_actions_but_not_the_reverse(policy: Policy, batch: TensorDictBase) -> None:
    before = outputs(policy, batch)
    queries = policy.trunk.queries
    saved = {name: query.detach().clone() for name, query in queries.items()}
    try:
        with torch.no_grad():
            queries["action"].add_(1.0)
        with_other_action = outputs(policy, batch)
        with torch.no_grad():
            queries["action"].copy_(saved["action"])
            queries["foresight"].add_(torch.randn_like(queries["foresight"]))
        with_other_foresight = outputs(policy, batch)
    finally:
        with torch.no_grad():
            for name, query in saved.items():
                queries[name].copy_(query)
    for name in policy.cameras:
        assert torch.equal(before[name], with_other_action[name])
        assert not torch.equal(before[name], with_other_foresight[name])
    assert not torch.equal(before["chunk"], with_other_action["chunk"])
    assert not torch.equal(before["chunk"], with_other_foresight["chunk"]), "inverse dynamics reads foresight"


def test_without_the_edge_actions_ignore_foresight(batch: TensorDictBase) -> None:
    torch.manual_seed(0)
    policy = small_policy(
        "seer_calvin", "goal=words", f"steps={STEPS}", "layout.edges.action.foresight.when=never"
    ).eval()
    before = outputs(policy, batch)
    with torch.no_grad():
        policy.trunk.queries["foresight"].add_(torch.randn_like(policy.trunk.queries["foresight"]))
    after = outputs(policy, batch)
    assert torch.equal(before["chunk"], after["chunk"])
    assert not torch.equal(before["primary"], after["primary"])


def test_pretraining_actions_see_neither_goal_nor_state(batch: TensorDictBase) -> None:
    torch.manual_seed(0)
    policy = small_policy("seer_calvin_pretrain", "goal=words", f"steps={STEPS}").eval()
    size, slots = policy.layout.tokens_per_step, policy.layout.slots()
    mask = policy.trunk.mask.view(STEPS, size, STEPS, size)
    assert not mask[:, slots["action"], :, slots["goal"]].any()
    assert not mask[:, slots["action"], :, slots["state"]].any()
    goal = mask[0, slots["foresight"], :, slots["state"]][0, :, 0]
    assert goal.tolist() == [True, False, False, False, True, False]
    assert outputs(policy, batch)["chunk"].shape[1] == STEPS


def test_the_order_of_query_tokens_is_the_layouts(policy: Policy) -> None:
    """``nn.ParameterDict`` sorts; tokens must not."""
    assert [*policy.trunk.queries] == ["action", "foresight"] or [*policy.layout.queries] == ["foresight", "action"]
    context = [torch.zeros(1, 1, n, 32) for n in policy.layout.context.values()]
    with torch.no_grad():
        tokens = policy.trunk.embed(*context)[0, 0]
        expected = policy.trunk.norm(policy.trunk.queries["action"] + policy.trunk.time[0])
    torch.testing.assert_close(tokens[policy.layout.slots()["action"]], expected)
