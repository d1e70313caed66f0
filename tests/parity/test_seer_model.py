"""Our parts compute what the official Seer computes: every recorded model is found and checked by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tensordict import TensorDict
from torch import Tensor

from seerkit import Policy, keys
from seerkit.convert.seer import from_seer
from tests.parity import golden

CASES = golden.cases("seer")
pytestmark = pytest.mark.skipif(not CASES, reason=golden.MISSING)


def test_every_case_is_of_a_known_kind() -> None:
    kinds = {case.name: golden.kind(case) for case in CASES}
    assert kinds
    covered = {"model", "episode", "preprocess", "shift", "tokens", "structure"}
    assert set(kinds.values()) <= covered


def test_a_case_of_unknown_kind_fails_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "mystery").mkdir()
    with pytest.raises(LookupError, match="mystery"):
        golden.kind(tmp_path / "mystery")


# -- the model ------------------------------------------------------------------------------------------------------


def window(case: Path, inputs: dict[str, Tensor], policy: Policy) -> TensorDict:
    """The recorded batch under our keys, with frames that are already prepared."""
    settings, train = golden.config(case)["seer"], golden.config(case)["train"]
    steps, chunk = settings["sequence_length"], settings["action_pred_steps"]
    state = inputs["robot_obs"][:, :steps]
    fingers = 2 if settings["gripper_width"] else 1
    actions = hold(inputs["actions"], steps + chunk)
    td = TensorDict(
        {
            keys.STATE: torch.cat([state[..., :6], state[..., -fingers:]], dim=-1),
            keys.GOAL_TEXT: inputs["text_token"].long(),
            keys.TARGET_CHUNK: torch.stack([actions[:, j : j + steps] for j in range(chunk)], dim=2),
        },
        batch_size=[len(state)],
    )
    td[keys.ACTION_IS_PAD] = torch.zeros(td[keys.TARGET_CHUNK].shape[:3], dtype=torch.bool)
    td[keys.FUTURE_IS_PAD] = torch.zeros(len(state), steps, dtype=torch.bool)
    for name in policy.cameras:
        frames = hold(inputs[f"images_{name}"], steps + train["future_steps"])
        td[keys.under(keys.PIXELS, name)] = frames[:, :steps]
        td[keys.under(keys.TARGET_PIXELS, name)] = frames[:, train["future_steps"] :][:, :steps]
    return td


def hold(sequence: Tensor, length: int) -> Tensor:
    """Repeat the last element; what is added lies in steps that enter no loss."""
    missing = max(0, length - sequence.shape[1])
    return torch.cat([sequence, *[sequence[:, -1:]] * missing], dim=1)


def run(policy: Policy, td: TensorDict, mode: str) -> TensorDict:
    stages = policy.training_stages if mode == "train" else policy.stages
    for name, stage in stages.items():
        if not name.startswith("pixels_") and name != "text":
            td = stage(td)
    return td


def record(policy: Policy) -> dict[str, Tensor]:
    """Record intermediate results while the policy runs."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, *, flat: bool = False) -> Callable[..., None]:
        def hook(*call: object) -> None:
            output = call[-1]
            if isinstance(output, Tensor):
                seen[name] = output.detach().flatten(1, 2) if flat else output.detach()

        return hook

    image = policy.encoders["image"]
    image.vit.register_forward_hook(keep("vit"))
    image.resample.register_forward_hook(keep("resampler"))
    for index, block in enumerate(policy.trunk.blocks):
        block.register_forward_hook(keep(f"block{index}"))
    policy.trunk.norm.register_forward_hook(keep("transformer_input", flat=True))
    policy.trunk.final.register_forward_hook(keep("transformer_output"))
    return seen


@pytest.mark.parametrize("case", golden.of_kind("model"))
class TestModel:
    @pytest.fixture
    def inputs(self, case: Path) -> dict[str, Tensor]:
        return load_file(case / "inputs.safetensors")

    @pytest.fixture
    def outputs(self, case: Path) -> dict[str, Tensor]:
        return load_file(case / "outputs.safetensors")

    @pytest.fixture
    def policy(self, case: Path, inputs: dict[str, Tensor]) -> Policy:
        return golden.build(case, inputs["text_table"], *loss_overrides(golden.config(case)))

    def test_mask(self, case: Path, policy: Policy, outputs: dict[str, Tensor]) -> None:
        settings = golden.config(case)["seer"]
        mask = policy.layout.mask(settings["sequence_length"])
        for name in ("attention_mask", "attention_mask_train"):
            theirs = golden.allowed(outputs[name])
            if policy.layout.hides():
                check_hidden(policy, mask, theirs, settings)
            else:
                assert torch.equal(mask, theirs), f"{name}: {(mask != theirs).sum()} pairs differ"

    def test_intermediates_and_outputs(
        self, case: Path, policy: Policy, inputs: dict[str, Tensor], outputs: dict[str, Tensor]
    ) -> None:
        policy.trunk.mask.copy_(golden.allowed(outputs["attention_mask"]))
        seen = record(policy)
        with torch.no_grad():
            out = run(policy, window(case, inputs, policy), "infer")
        ours = {
            **{name: value for name, value in seen.items() if name not in ("vit", "resampler")},
            "arm": out[keys.CHUNK][..., :-1],
            "gripper": out[keys.CHUNK][..., -1:].sigmoid(),
            "state_embedding": out["tokens", "state"].flatten(0, 2),
        }
        steps = golden.config(case)["seer"]["sequence_length"]
        ours["text_embedding"] = out["tokens", "goal"].expand(-1, steps, -1, -1).flatten(0, 2)
        for index, name in enumerate(policy.cameras):
            half = len(seen["vit"]) // 2
            ours[f"vit_{name}"] = seen["vit"][index * half : (index + 1) * half]
            ours[f"resampler_{name}"] = seen["resampler"][index * half : (index + 1) * half][:, None]
        if "foresight" in policy.heads:
            foresight = [out["foresight", name] for name in policy.cameras]
            ours["image_pred"] = torch.stack(foresight, dim=2).flatten(0, 1)
            head = policy.heads["foresight"]
            grids = [positions(golden.config(case)["seer"]["num_obs_token_per_image"], head), head.place]
            ours["image_decoder_position_embedding"] = torch.cat(grids)[None]
        unused = {"attention_mask", "attention_mask_train"}
        unused |= set() if "foresight" in policy.heads else {"image_decoder_position_embedding"}
        recorded = sorted(set(outputs) - unused)
        assert set(recorded) <= set(ours), f"recorded but not compared: {set(recorded) - set(ours)}"
        for name in recorded:
            torch.testing.assert_close(
                ours[name], outputs[name], atol=2e-5, rtol=0, msg=lambda text, name=name: f"{name}: {text}"
            )

    def test_losses_and_gradients(
        self,
        case: Path,
        policy: Policy,
        inputs: dict[str, Tensor],
        outputs: dict[str, Tensor],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        settings = golden.config(case)
        policy.trunk.mask.copy_(golden.allowed(outputs["attention_mask_train"]))
        policy.train()
        without_dropout(policy)
        nothing = torch.zeros_like(policy.trunk.mask)  # the recorded draw is already in the mask
        monkeypatch.setattr(policy.trunk, "hidden", lambda _: nothing)
        td = window(case, inputs, policy)
        terms = policy.supervise(run(policy, td, "train"))
        total = sum(terms.values())
        check_losses(policy, terms, total, settings["losses"])
        (total / settings["train"]["gradient_accumulation_steps"]).backward()
        check_gradients(policy, load_file(case / "grads.safetensors"))


def loss_overrides(settings: dict) -> list[str]:
    train = settings["train"]
    action = float(train["loss_action"])
    weights = [
        f"losses.arm.weight={action * train['loss_arm_action_ratio']}",
        f"losses.gripper.weight={action * train['loss_gripper_action_ratio']}",
    ]
    if settings["seer"]["obs_pred"]:
        weights += [
            f"losses.foresight.weight={0.1 * float(train['loss_image'])}",
            f"heads.foresight.ahead={train['future_steps']}",
        ]
    return weights


def positions(places: int, head: torch.nn.Module) -> Tensor:
    from seerkit.head.foresight import grid_positions

    return grid_positions(places, head.mask_token.shape[-1])


def without_dropout(policy: Policy) -> None:
    policy.trunk.dropout = 0.0
    for block in policy.trunk.blocks:
        block.dropout = 0.0
    for name in policy.cameras:
        policy.pixels[name].shift = 0


def check_hidden(policy: Policy, mask: Tensor, theirs: Tensor, settings: dict) -> None:
    """What differs are foresight tokens hidden from the same step's actions: the declared number at each step."""
    layout, steps = policy.layout, settings["sequence_length"]
    assert not (theirs & ~mask).any()
    hidden = (mask & ~theirs).view(steps, layout.tokens_per_step, steps, layout.tokens_per_step)
    rows, columns = layout.slots()["action"], layout.slots()["foresight"]
    count = int(settings["mask_l_obs_ratio"] * layout.sizes["foresight"])
    for step in range(steps):
        block = hidden[step, rows, step, columns]
        assert (block.sum(dim=-1) == count).all()
        assert (block == block[:1]).all(), "all actions of a step miss the same tokens"
    assert hidden.sum() == steps * count * layout.sizes["action"]
    drawn = mask & ~layout.hidden(steps, generator=torch.Generator().manual_seed(0))
    assert drawn.sum() == theirs.sum()


def check_losses(policy: Policy, terms: TensorDict, total: Tensor, recorded: dict[str, float]) -> None:
    names = {"arm": "loss_arm_action", "gripper": "loss_gripper_action", "foresight": "loss_image"}
    for name, theirs in names.items():
        weight = policy.losses.weights.get(name, 0.0)
        if weight:
            assert terms[f"loss_{name}"].item() / weight == pytest.approx(recorded[theirs], rel=1e-5), name
    assert total.item() == pytest.approx(recorded["loss_calvin"], rel=1e-5)


def check_gradients(policy: Policy, recorded: dict[str, Tensor]) -> None:
    ours = {name: parameter.grad for name, parameter in policy.named_parameters() if parameter.requires_grad}
    theirs = from_seer(recorded)
    assert set(theirs) <= set(ours)
    for name, gradient in ours.items():
        if name not in theirs or gradient is None:
            assert gradient is None or not gradient.any(), f"{name}: the official model has no gradient there"
            continue
        assert golden.relative(gradient, theirs[name]) <= 1e-4, f"{name}: {golden.relative(gradient, theirs[name]):.1e}"
