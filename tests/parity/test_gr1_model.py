"""Our parts compute what the official GR-1 computes: every recorded case is found and checked by itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from seerkit import Policy, keys, load_recipe
from seerkit.camera import TensorPixels
from seerkit.camera.shift import apply_shift
from seerkit.convert.gr1 import TABLE
from seerkit.patches import normalise_patches, patchify
from tests.parity import golden, gr1

CASES = golden.cases("gr1")
pytestmark = pytest.mark.skipif(not CASES, reason=golden.MISSING)
IMAGES = {"primary": "rgb", "wrist": "hand_rgb"}
PREDICTIONS = {"primary": "obs", "wrist": "obs_hand"}
LOSSES = {"primary": "loss_rgb_static", "wrist": "loss_rgb_gripper"}


def test_every_case_is_of_a_known_kind() -> None:
    kinds = {gr1.kind(case) for case in CASES}
    assert {"model", "rollout", "preprocess", "shift"} <= kinds


def test_a_case_of_unknown_kind_fails_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "mystery").mkdir()
    with pytest.raises(LookupError, match="mystery"):
        gr1.kind(tmp_path / "mystery")


# -- the model in its modes -----------------------------------------------------------------------------------------


def state_of(arm: Tensor, gripper: Tensor) -> Tensor:
    """The recorded pose and one-hot gripper (closed, open) as our state."""
    return torch.cat([arm, 2 * gripper[..., 1:] - 1], dim=-1)


def window(policy: Policy, recorded: dict[str, Tensor], attention_mask: Tensor) -> TensorDict:
    td = TensorDict(
        {
            keys.STATE: state_of(recorded["arm"], recorded["gripper"]),
            keys.GOAL_TEXT: recorded["language"].long(),
            keys.STEP_IS_PAD: attention_mask == 0,
        },
        batch_size=[len(attention_mask)],
    )
    for name in policy.cameras:
        td[keys.under(keys.PIXELS, name)] = recorded[IMAGES[name]]
    return td


@torch.no_grad()
def run(policy: Policy, td: TensorDict) -> tuple[TensorDict, dict[str, Tensor]]:
    """Run everything behind the pixels and record what the official code recorded on the way."""
    seen: dict[str, Tensor] = {}
    order = gr1.official_order(policy)
    hooks = [
        policy.trunk.norm.register_forward_hook(
            lambda _, given, made: seen.update(
                tokens_raw=given[0][:, :, order].flatten(1, 2), tokens_ln=made[:, :, order].flatten(1, 2)
            )
        ),
        policy.trunk.final.register_forward_hook(
            lambda _, __, made: seen.update(trunk_out=made.unflatten(1, (policy.steps, -1))[:, :, order].flatten(1, 2))
        ),
        policy.encoders["image"].resample.register_forward_hook(
            lambda _, __, made: seen.update(resampled_last_camera=made.chunk(len(policy.cameras))[-1][:, None])
        ),
    ]
    for name, stage in policy.stages.items():
        if not name.startswith("pixels_") and name != "text":
            td = stage(td)
    for hook in hooks:
        hook.remove()
    return td, seen


def close(ours: Tensor, theirs: Tensor, name: str) -> None:
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=0, msg=lambda text: f"{name}: {text}")


@pytest.mark.parametrize("case", gr1.of_kind("model"))
class TestModel:
    def test_everything_recorded(self, case: Path) -> None:
        recorded, theirs = gr1.inputs(case), gr1.outputs(case)
        policy = gr1.build(case)
        assert golden.TableTower is type(policy.encoders["goal"].tower)
        out, ours = run(policy, window(policy, recorded, recorded["attention_mask"]))
        if "action" in policy.heads:
            chunk = out[keys.CHUNK][:, :, 0]
            ours |= {"arm_action_preds": chunk[..., :-1], "gripper_action_preds": chunk[..., -1:]}
        normalised = not golden.config(case).get("without_norm_pixel_loss", False)
        for camera in gr1.foreseen(golden.config(case)):
            ours[f"{PREDICTIONS[camera]}_preds"] = out[keys.under(keys.FORESIGHT, camera)]
            target = patchify(recorded[IMAGES[camera]], policy.recipe.config["patch"])
            target = normalise_patches(target, epsilon="deviation") if normalised else target
            ours[f"{PREDICTIONS[camera]}_targets"] = target
        missing = {name for name in theirs if not name.startswith("loss_")} - set(ours)
        assert not missing, f"recorded but not compared: {missing}"
        for name in theirs:
            if not name.startswith("loss_"):
                close(ours[name], theirs[name], name)

    def test_losses(self, case: Path) -> None:
        recorded, theirs = gr1.inputs(case), gr1.outputs(case)
        policy = gr1.build(case)
        out, _ = run(policy, window(policy, recorded, recorded["attention_mask"]))
        terms, is_pad = policy.losses.terms, recorded["attention_mask"] == 0
        ours = {}
        if "loss_arm" in theirs:
            inputs = (out[keys.CHUNK], recorded["target_actions"][:, :, None], is_pad[..., None])
            ours = {f"loss_{name}": terms[name].module(*inputs) for name in ("arm", "gripper")}
        ahead = policy.ahead
        for camera in gr1.foreseen(golden.config(case)):
            if LOSSES[camera] in theirs:  # the last steps of the recorded window have no future in it
                future = recorded[IMAGES[camera]][:, ahead:]
                prediction = out[keys.under(keys.FORESIGHT, camera)][:, : future.shape[1]]
                ours[LOSSES[camera]] = terms["foresight"].module(prediction, future, is_pad[:, ahead:])
        if "loss_total" in theirs:  # the trainer the numbers come from weighs arm by 100 and everything else by 1
            ours["loss_total"] = sum(ours.values()) + 99 * ours["loss_arm"]
        losses = {name: value for name, value in theirs.items() if name.startswith("loss_")}
        assert set(losses) == set(ours)
        for name, value in losses.items():
            assert ours[name].item() == pytest.approx(value.item(), rel=1e-5), name

    def test_padding_and_the_future_change_nothing(self, case: Path) -> None:
        recorded, policy = gr1.inputs(case), gr1.build(case)
        mask = recorded["attention_mask"]
        before, _ = run(policy, window(policy, recorded, mask))
        valid = mask.bool()
        changed = dict(recorded)
        for name in IMAGES.values() & recorded.keys():
            changed[name] = torch.where(valid[..., None, None, None], recorded[name], 3.0)
        after, _ = run(policy, window(policy, changed, mask))
        for query in policy.layout.queries:
            hidden = keys.under(keys.HIDDEN, query)
            assert torch.equal(before[hidden][valid], after[hidden][valid])
        changed = {name: value.clone() for name, value in recorded.items()}
        for name in IMAGES.values() & recorded.keys():
            changed[name][:, -1] = 5.0
        late, _ = run(policy, window(policy, changed, mask))
        for query in policy.layout.queries:
            hidden = keys.under(keys.HIDDEN, query)
            assert torch.equal(before[hidden][:, :-1], late[hidden][:, :-1])
            assert not torch.equal(before[hidden][0, -1], late[hidden][0, -1])


# -- acting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", gr1.of_kind("rollout"))
class TestRollout:
    def test_actions(self, case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        recorded, theirs, policy = gr1.inputs(case), gr1.outputs(case), gr1.build(case)
        sentence = golden.config(case)["goal"]
        # the recorded run had its own tokenizer; its ids choose the row of the table that stands in for CLIP
        monkeypatch.setattr(policy.encoders["text"], "forward", lambda _: recorded["language"].long())
        agent, cameras = policy.agent(batch_size=1), zip(("primary", "wrist"), ("static", "gripper_cam"), strict=True)
        frames = {ours: recorded[name].permute(0, 3, 1, 2) for ours, name in cameras}
        states = torch.cat([recorded["robot_obs"][:, :6], recorded["robot_obs"][:, 14:]], dim=-1).float()
        for step, action in enumerate(theirs["actions"]):
            images = {name: frames[name][step] for name in policy.cameras}
            observation = {"image": images, "state": states[step], "language_instruction": sentence}
            ours = torch.from_numpy(agent.act(observation))
            close(ours, action, f"action {step}")
            assert agent.carry.length.item() == theirs["attention_masks"][step].sum(), "valid steps of the window"

    def test_recorded_windows(self, case: Path) -> None:
        """Whole windows as the official wrapper makes them, zeros and a mask behind the newest frame."""
        recorded, theirs, policy = gr1.inputs(case), gr1.outputs(case), gr1.build(case)
        names = sorted({name.partition("_")[0] for name in theirs if name[0] == "t" and name[1:2].isdigit()})
        assert names
        for name in names:
            newest = int(name[1:])
            mask = theirs["attention_masks"][newest][None]
            count = int(mask.sum())
            rows = slice(newest + 1 - count, newest + 1)
            states = torch.cat([recorded["robot_obs"][:, :6], recorded["robot_obs"][:, 14:]], dim=-1).float()[rows]
            padding = torch.tensor([[0.0] * 6 + [-1.0]]).expand(policy.steps - count, -1)
            given = {"arm": torch.cat([states, padding])[None, :, :6], "language": recorded["language"]}
            opened = (torch.cat([states, padding])[None, :, 6:] + 1) / 2
            given["gripper"] = torch.cat([1 - opened, opened], dim=-1)
            for camera, source in (("primary", "static"), ("wrist", "gripper_cam")):
                pixels = policy.pixels[camera](recorded[source].permute(0, 3, 1, 2)[None, rows])
                close(pixels, theirs[f"{name}_{IMAGES[camera]}"][:, :count], f"{name} {camera}")
                assert not theirs[f"{name}_{IMAGES[camera]}"][:, count:].any()
                given[IMAGES[camera]] = theirs[f"{name}_{IMAGES[camera]}"]
            close(given["arm"], theirs[f"{name}_arm"], f"{name}_arm")
            close(given["gripper"], theirs[f"{name}_gripper"], f"{name}_gripper")
            out, _ = run(policy, window(policy, given, mask))
            newest_chunk = out[keys.CHUNK][0, count - 1, 0]
            close(newest_chunk[:-1], theirs["actions"][newest, :-1], f"{name} action")
            assert (newest_chunk[-1] > 0) == (theirs["actions"][newest, -1] > 0)


# -- preparation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", gr1.of_kind("preprocess"))
def test_preprocess(case: Path) -> None:
    settings, recorded, theirs = golden.config(case), gr1.inputs(case), gr1.outputs(case)
    for part in load_recipe("gr1_calvin").config["pixels"].values():
        assert (part["mean"], part["std"]) == (settings["mean"], settings["std"])
    pixels = TensorPixels(size=settings["resize"], mean=settings["mean"], std=settings["std"]).eval()
    assert set(recorded) == set(theirs)
    for name, frame in recorded.items():
        close(pixels(frame.permute(2, 0, 1)[None, None])[0, 0], theirs[name], name)


@pytest.mark.parametrize("case", gr1.of_kind("shift"))
def test_random_shift(case: Path) -> None:
    pad, images, theirs = golden.config(case)["pad"], gr1.inputs(case)["images"], gr1.outputs(case)
    names = [name.removesuffix("_shift") for name in theirs if name.endswith("_shift")]
    assert names
    for name in names:
        shifts = theirs[f"{name}_shift"].flatten(1).expand(len(images), 2)
        close(apply_shift(images, shifts, pad), theirs[f"{name}_out"], name)


# -- full size ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full() -> dict[str, Tensor]:
    """The full-size policy's own tensors as it starts, under their official names."""
    torch.manual_seed(0)
    policy = Policy(load_recipe("gr1_calvin", "goal=words", "encoders.goal.module.width=512"))
    trained = {name: p.detach() for name, p in policy.named_parameters() if p.requires_grad and "tower" not in name}
    return TABLE.give_back(trained)


def test_full_size_tensors(full: dict[str, Tensor]) -> None:
    recorded = json.loads((gr1.FOLDER / "full_state_keys.json").read_text())
    theirs = {name: tuple(shape) for name, shape, _ in recorded if not TABLE.is_idle(name)}
    assert {name: tuple(tensor.shape) for name, tensor in full.items()} == theirs


def test_initial_weights(full: dict[str, Tensor]) -> None:
    """Mean, deviation and range of every tensor as recorded, within what so many random numbers allow."""
    recorded = json.loads((gr1.FOLDER / "full_init_stats.json").read_text())
    compared = 0
    for name, theirs in recorded.items():
        if TABLE.is_idle(name) or name.startswith(("model_mae.", "model_clip.")):
            continue
        ours, count = full[name].double(), full[name].numel()
        compared += 1
        if count < 10:  # too few to measure: what starts at one value must, what is drawn must vary
            assert (ours.std(unbiased=False).item() > 0) == (theirs["std"] > 0), name
            continue
        sampled = theirs["std"] / count**0.5
        assert ours.mean().item() == pytest.approx(theirs["mean"], abs=8 * sampled + 2e-5), name
        assert ours.std(unbiased=False).item() == pytest.approx(theirs["std"], abs=8 * sampled + 2e-5), name
        if count >= 1000 and theirs["std"]:  # tells a uniform from a normal distribution
            assert ours.abs().max().item() == pytest.approx(max(-theirs["min"], theirs["max"]), rel=0.25), name
    assert compared == len(full)
