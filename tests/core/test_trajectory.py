"""A row longer than the history is all the windows in it, to rounding, with its frames encoded once."""

from __future__ import annotations

import pytest
import torch
from tensordict import NonTensorStack, TensorDict
from torch import Tensor

from seerkit import Policy, keys
from seerkit.sample import sample_batch
from seerkit.trajectory import cut_windows, length
from tests.small import small_policy

RECIPES = [
    "seer_calvin",
    "seer_calvin_pretrain",
    "gr1_calvin",
    "seer_bins",
    "seer_dino_foresight",
    "seer_depth_foresight",
    "seer_goal_image",
    "seer_tabletop",
]
MORE = 3


def still(policy: Policy) -> Policy:
    """Without dropout, augmentation and hidden tokens, which draw random numbers."""
    policy.train()
    for module in policy.modules():
        for name in ("dropout", "shift"):
            if isinstance(getattr(module, name, None), (int, float)):
                setattr(module, name, 0)
    return policy


def window(td: TensorDict, start: int, steps: int, ahead: int) -> TensorDict:
    """The window of every row that begins at ``start``, by slicing what a data set would give."""
    cut = TensorDict(batch_size=td.batch_size)
    for key in td.keys(include_nested=True, leaves_only=True):
        value = td.get(key)
        if key[0] == "goal":
            cut[key] = value
        elif key[0] == "future":
            frames = torch.cat([td["observation", *key[1:]], value], dim=1)
            cut[key] = frames[:, start + steps : start + steps + ahead]
        else:
            cut[key] = value[:, start : start + steps]
    return cut


def trajectories(policy: Policy) -> TensorDict:
    torch.manual_seed(0)
    td = sample_batch(policy.recipe, batch=2, steps=policy.steps + MORE)
    td[keys.ACTION_IS_PAD] = torch.rand(td[keys.ACTION_IS_PAD].shape) < 0.2
    td[keys.FUTURE_IS_PAD] = torch.rand(td[keys.FUTURE_IS_PAD].shape) < 0.2
    td[keys.STEP_IS_PAD] = torch.zeros(2, policy.steps + MORE, dtype=torch.bool)
    td[keys.STEP_IS_PAD][1, -2:] = True
    return td


def gradient(policy: Policy, terms: TensorDict) -> Tensor:
    policy.zero_grad()
    torch.stack([*terms.values()]).sum().backward()
    return torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", RECIPES)
def test_a_trajectory_is_its_windows(name: str) -> None:
    policy = still(small_policy(name))
    td = trajectories(policy)
    policy.trunk.hidden = lambda _: torch.zeros_like(policy.trunk.mask)
    single = [window(td, start, policy.steps, policy.ahead) for start in range(MORE + 1)]
    one_by_one = torch.cat(single)
    one_by_one[keys.INSTRUCTION] = NonTensorStack.from_list(["reach block 0", "reach block 1"] * (MORE + 1))
    seen: list[int] = []
    policy.encoders["image"].vit.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    ours, theirs = policy.loss(td), policy.loss(one_by_one)
    assert seen[0] * (MORE + 1) * policy.steps == seen[1] * (MORE + policy.steps)
    for term in [*theirs.keys()]:
        torch.testing.assert_close(ours[term], theirs[term], rtol=1e-5, atol=1e-7)
    mine, wanted = gradient(policy, ours), gradient(policy, theirs)
    assert (mine - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_windows_come_row_by_row() -> None:
    td = TensorDict(batch_size=[2])
    td["tokens", "state"] = torch.arange(10.0).view(2, 5, 1, 1)
    td["tokens", "goal"] = torch.tensor([7.0, 8.0]).view(2, 1, 1, 1)
    assert length(td) == 5
    cut = cut_windows(td, steps=4)
    assert cut["tokens", "state"].squeeze().tolist() == [[0, 1, 2, 3], [1, 2, 3, 4], [5, 6, 7, 8], [6, 7, 8, 9]]
    assert cut["tokens", "goal"].flatten().tolist() == [7, 7, 8, 8]


def test_acting_still_refuses_a_history_that_is_too_long() -> None:
    policy = small_policy("seer_calvin")
    with pytest.raises(ValueError, match=r"one history of 1\.\.10 steps"):
        policy(sample_batch(policy.recipe, batch=1, steps=policy.steps + 1))
