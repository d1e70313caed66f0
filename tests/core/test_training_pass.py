"""One training pass computes no more than it needs, waits for nothing, and runs in bf16."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from seerkit import Policy, keys
from seerkit.sample import sample_batch
from tests.small import small_policy

RECIPES = [
    "seer_calvin",
    "seer_calvin_pretrain",
    "seer_libero_pretrain",
    "gr1_calvin",
    "seer_flow",
    "seer_diffusion",
    "seer_bins",
    "seer_dino_foresight",
    "seer_depth_foresight",
    "seer_goal_image",
    "seer_tabletop",
]


def losses(policy: Policy, td: TensorDict) -> TensorDict:
    """What `Policy.loss` computes once the batch has been checked (on the CPU, where checking costs no waiting)."""
    for name, stage in policy.training_stages.items():
        td = stage(policy._supervised(td) if name == "trunk" else td)
    return policy.supervise(td)


class Waits(TorchDispatchMode):
    """Note every operation for which the host would wait for an accelerator, or send it a tensor built anew."""

    WAITING = ("_local_scalar_dense", "nonzero", "unique_dim", "_unique2", "masked_select", "lift_fresh", "is_nonzero")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        name = func.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put", "index_put_") else []
        if name in self.WAITING or any(index is not None and index.dtype == torch.bool for index in indices):
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


def test_the_watch_sees_what_waits() -> None:
    x = torch.arange(4.0)
    with Waits() as waits:
        x.sum().item()
        x[x > 1]
        torch.tensor([1, 2])
        torch.unique(x)
    assert len(waits.found) >= 4


@pytest.mark.parametrize("name", RECIPES)
def test_a_pass_waits_for_nothing(name: str) -> None:
    policy = small_policy(name).train()
    if name == "seer_tabletop":  # its words learn, so they are told apart in every batch, on the CPU
        policy.encoders["goal"].tower.requires_grad_(False).eval()
    td = sample_batch(policy.recipe, batch=2)
    losses(policy, td)  # what is worked out once, is worked out now
    with Waits() as waits:
        terms = losses(policy, td)
        torch.stack([*terms.values()]).sum().backward()
    assert waits.found == []


@pytest.mark.parametrize("name", RECIPES)
def test_bf16_runs_through_and_losses_stay_fp32(name: str) -> None:
    policy = small_policy(name).train()
    td = sample_batch(policy.recipe, batch=2)
    full, half = {}, {}
    for found, enabled in ((full, False), (half, True)):
        torch.manual_seed(0)
        policy.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            terms = policy.loss(td)
        assert {value.dtype for value in terms.values()} == {torch.float32}
        torch.stack([*terms.values()]).sum().backward()
        found |= dict(terms.items())
        found["gradient"] = torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
    cosine = torch.nn.functional.cosine_similarity(full.pop("gradient"), half.pop("gradient"), dim=0)
    assert cosine > 0.98
    for name_of_term, value in full.items():
        torch.testing.assert_close(half[name_of_term], value, rtol=0.05, atol=1e-4)


def test_frozen_encoders_leave_nothing_for_the_backward_pass() -> None:
    policy = small_policy("seer_calvin").train()
    td = sample_batch(policy.recipe, batch=2)
    kept: list[Tensor] = []
    policy.loss(td)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        features = policy.encoders["image"].vit(torch.randn(4, 3, 32, 32))
        text = policy.encoders["text"](["push the block"])
        feature = policy.encoders["goal"]._recall(policy.encoders["goal"].tower, text, device=text.device)
    assert kept == []
    assert not features.requires_grad
    assert not feature.requires_grad


def test_both_cameras_go_through_the_encoder_together() -> None:
    policy = small_policy("seer_calvin").train()
    seen: list[torch.Size] = []
    policy.encoders["image"].vit.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    policy.loss(sample_batch(policy.recipe, batch=2))
    assert seen == [(2 * policy.steps * 2, 3, 32, 32)]


def test_steps_without_a_goal_are_neither_read_nor_decoded() -> None:
    policy = small_policy("seer_calvin_pretrain").train()
    counts: dict[str, int] = {}
    policy.heads["foresight"].register_forward_pre_hook(lambda _, given: counts.update(decoded=given[0].shape[1]))
    policy.trunk.blocks[0].register_forward_pre_hook(lambda _, given: counts.update(tokens=given[0].shape[1]))
    policy.loss(sample_batch(policy.recipe, batch=1))
    queries = sum(policy.layout.queries.values())
    assert counts["decoded"] == policy.steps - 4
    assert counts["tokens"] <= policy.steps * policy.layout.tokens_per_step - 4 * queries


def test_another_mask_is_noticed() -> None:
    policy = small_policy("seer_calvin").eval()
    td = sample_batch(policy.recipe, batch=1)
    before = policy(td)[keys.CHUNK]
    assert torch.equal(policy(td)[keys.CHUNK], before)
    policy.trunk.mask.fill_(True)
    assert not torch.equal(policy(td)[keys.CHUNK], before)


def test_acting_before_training_is_no_hindrance() -> None:
    policy = small_policy("seer_calvin").eval()
    td = sample_batch(policy.recipe, batch=1)
    with torch.inference_mode():
        policy(td)
    torch.stack([*policy.train().loss(td).values()]).sum().backward()
    assert policy.trunk.time.grad is not None
