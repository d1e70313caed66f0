"""Official checkpoints come in and go out again with every tensor equal, or fail with the tensor's name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from seerkit import Policy, load_recipe
from seerkit.convert import seer
from seerkit.convert.official import SYSTEMS, Carried, carry, official_tensors, trainable
from seerkit.convert.read import WeightsError
from seerkit.convert.weights import UNUSED, export_policy, import_policy
from tests.convert import official
from tests.convert.skeletons import skeleton

pytestmark = pytest.mark.skipif(not official.ROOT.is_dir(), reason=official.MISSING)


def there_and_back(state: dict[str, Tensor], recipe: str, system: str) -> tuple[Carried, dict[str, Tensor]]:
    policy, source = skeleton(recipe), SYSTEMS[system]
    carried = carry(source.unprefixed(state), policy, source)
    own = {name: carried.weights[name] for name in trainable(policy)}
    back = {**official_tensors(own, policy, source), **carried.kept}
    return carried, {f"{source.prefix}{name}": tensor for name, tensor in back.items()}


def test_full_size_seer_is_the_same_after_the_round_trip() -> None:
    state = official.seer()
    carried, back = there_and_back(state, "seer_calvin", "seer")
    official.same(back, state)
    assert len(carried.weights) == 386
    assert carried.idle == sorted(seer.idle_tensors(4).keys())
    assert {name.rsplit(".vit.")[0].rsplit(".tower.")[0] for name in carried.elsewhere} == {
        "encoders.goal.tower",
        "encoders.image.vit",
    }
    conv1d = "module.transformer_backbone.h.5.mlp.c_fc.weight"
    assert torch.equal(carried.weights["trunk.blocks.5.wide.weight"], state[conv1d].T)
    assert torch.equal(carried.weights["trunk.queries.foresight"], state["module.obs_tokens"][0, 0])


@pytest.mark.slow
def test_full_size_seer_large_is_the_same_after_the_round_trip() -> None:
    state = official.seer("seer_large_calvin")
    official.same(there_and_back(state, "seer_large_calvin", "seer")[1], state)


def test_full_size_gr1_is_the_same_after_the_round_trip() -> None:
    state = official.gr1_state()
    carried, back = there_and_back(state, "gr1_calvin", "gr1")
    official.same(back, state)
    assert carried.notes == []
    queries = carried.weights["trunk.queries.foresight"]
    assert torch.equal(queries, torch.cat([state["obs_queries.weight"], state["obs_hand_queries.weight"]]))
    assert torch.equal(carried.weights["trunk.time"][:, 0], state["embed_timestep.weight"])


def test_gr1_brings_its_frozen_encoders_along() -> None:
    state = official.gr1_state()
    text = official.frozen("clip", without="visual.")
    mae = official.frozen("mae_encoder_decoder", without="decoder")
    del mae["mask_token"]
    state |= {f"model_mae.{name}": tensor for name, tensor in mae.items()}
    state |= {f"model_clip.{name}": tensor.half() for name, tensor in text.items()}
    state["model_clip.visual.proj"] = torch.randn(768, 512)
    policy, source = skeleton("gr1_calvin"), SYSTEMS["gr1"]
    carried = carry(state, policy, source)
    assert carried.elsewhere == []
    assert torch.equal(carried.weights["encoders.image.vit.vit.cls_token"], mae["cls_token"])
    projection = carried.weights["encoders.goal.tower.tower.text_projection"]
    assert projection.dtype == torch.float32
    assert torch.equal(projection, text["text_projection"].half().float())
    assert carried.dtypes["model_clip.text_projection"] == "float16"
    assert {"model_clip.visual.proj", "model_clip.logit_scale"} <= carried.kept.keys()
    del state["model_mae.norm.bias"]
    with pytest.raises(WeightsError, match=r"missing +model_mae.norm.bias"):
        carry(state, policy, source)


def test_gr1_of_newer_training_code_has_no_masks() -> None:
    state = official.gr1_state()
    lean = {name: tensor for name, tensor in state.items() if not name.endswith((".attn.bias", "masked_bias"))}
    carried, back = there_and_back(lean, "gr1_calvin", "gr1")
    official.same(back, lean)
    assert carried.idle == ["decoder_pos_embed", "transformer.wte.weight"]
    with pytest.raises(WeightsError, match=r"missing +transformer.h.3.attn.masked_bias \(\)"):
        there_and_back({**lean, "transformer.h.0.attn.masked_bias": torch.tensor(-1e4)}, "gr1_calvin", "gr1")


def test_other_fixed_positions_are_noted() -> None:
    state = official.gr1_state()
    state["decoder_pos_embed"] = state["decoder_pos_embed"] + 0.1
    (note,) = there_and_back(state, "gr1_calvin", "gr1")[0].notes
    assert "decoder_pos_embed" in note


def test_one_camera_of_gr1_leaves_the_other_aside() -> None:
    carried, back = there_and_back(official.gr1_state(), "gr1_video_pretrain", "gr1")
    official.same(back, official.gr1_state() | back)
    assert {"obs_hand_queries.weight", "embed_hand_img.bias", "action_queries.weight"} <= carried.kept.keys()
    assert carried.weights["trunk.queries.foresight"].shape == (10, 384)


FAULTS = {
    "missing": ("text_projector.bias", r"missing +text_projector.bias \(384,\)"),
    "missing idle": ("recon_state_decoder.2.weight", r"missing +recon_state_decoder.2.weight"),
    "unexpected": ("text_projector.scale", r"unexpected +text_projector.scale \(3,\)"),
    "unknown": ("wpe.weight", r"unexpected +wpe.weight \(3,\)"),
    "shape": ("obs_tokens", r"shape +obs_tokens: expected \(1, 1, 18, 384\), given \(1, 1, 17, 384\)"),
    "idle shape": (
        "action_projector.bias",
        r"shape +action_projector.bias: expected \(384,\), given \(1, 1, 17, 384\)",
    ),
    "type": ("mask_token", r"type +mask_token: expected torch.float32, given torch.float64"),
}


@pytest.mark.parametrize(
    ("fault", "told"), [*((fault, True) for fault in FAULTS), ("missing", False), ("shape", False)]
)
def test_one_fault_is_named(fault: str, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, message = FAULTS[fault]
    state = official.seer()
    if "missing" in fault:
        del state[f"module.{name}"]
    elif "shape" in fault:
        state[f"module.{name}"] = torch.zeros(1, 1, 17, 384)
    else:
        state[f"module.{name}"] = torch.zeros(3) if fault.startswith("un") else state[f"module.{name}"].double()
    monkeypatch.setattr("seerkit.convert.weights.read_weights", lambda _: state)
    recipe = load_recipe("seer_calvin") if told else None
    with pytest.raises(WeightsError, match=message):
        import_policy(tmp_path / "in.pth", tmp_path / "out", system="seer", recipe=recipe)
    assert list(tmp_path.iterdir()) == []


def test_the_recipe_is_told_from_the_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = official.seer()
    position = "module.transformer_backbone_position_embedding"
    monkeypatch.setattr("seerkit.convert.weights.read_weights", lambda _: state)
    chosen: list[str] = []

    def stop(recipe: object, *_: object) -> None:
        chosen.append(recipe.name)  # pyright: ignore[reportAttributeAccessIssue]
        raise InterruptedError

    monkeypatch.setattr("seerkit.convert.weights._filled", stop)
    for steps, recipe in {10: "seer_calvin", 14: "seer_calvin_pretrain"}.items():
        state[position] = torch.zeros(1, steps, 1, 384)
        with pytest.raises(InterruptedError):
            import_policy(tmp_path / "in.pth", tmp_path / "out", system="seer")
        assert chosen.pop() == recipe
    state[position] = torch.zeros(1, 7, 1, 384)
    with pytest.raises(WeightsError, match=r"fit seer_libero_long and seer_real.*--recipe"):
        import_policy(tmp_path / "in.pth", tmp_path / "out", system="seer")
    state[position] = torch.zeros(1, 9, 1, 384)
    with pytest.raises(WeightsError, match=r"no recipe fits these tensors .dim 384, steps 9, depth 24.*"):
        import_policy(tmp_path / "in.pth", tmp_path / "out", system="seer")


# -- through files --------------------------------------------------------------------------------------------------


def test_tiny_seer_through_files(tmp_path: Path) -> None:
    state, overrides = official.tiny_seer()
    path = official.write(tmp_path / "9.pth", {f"module.{name}": t for name, t in state.items()}, "model_state_dict")
    recipe = load_recipe("seer_calvin", *overrides)
    done = import_policy(path, tmp_path / "policy", system="seer", recipe=recipe)
    assert done.lines["never used"].startswith("14, kept in unused.safetensors")
    assert "recon_state_decoder" in done.lines["never used"]
    policy = Policy.from_pretrained(tmp_path / "policy")
    for name, tensor in seer.from_seer(state).items():
        assert torch.equal(policy.state_dict()[name], tensor), name
    export_policy(tmp_path / "policy", tmp_path / "back.pth", system="seer")
    official.same(official.read(tmp_path / "back.pth", "model_state_dict"), official.read(path, "model_state_dict"))


def test_tiny_gr1_with_its_encoder_through_files(tmp_path: Path) -> None:
    state, overrides = official.tiny_gr1()
    state["model_mae.cls_token"] = state["model_mae.cls_token"].half()
    path = official.write(tmp_path / "snapshot.pt", state, "state_dict")
    import_policy(path, tmp_path / "policy", system="gr1", recipe=load_recipe("gr1_calvin", *overrides))
    policy = Policy.from_pretrained(tmp_path / "policy")
    blocks = policy.encoders["image"].vit.vit.blocks  # pyright: ignore
    assert torch.equal(blocks[1].mlp.fc1.weight, state["model_mae.blocks.1.mlp.fc1.weight"])
    export_policy(tmp_path / "policy", tmp_path / "back.pt", system="gr1")
    official.same(official.read(tmp_path / "back.pt", "state_dict"), state)


def test_a_policy_trained_here_gets_fresh_tensors_where_none_matter(tmp_path: Path) -> None:
    state, overrides = official.tiny_seer()
    torch.manual_seed(0)
    Policy(load_recipe("seer_calvin", *overrides)).save_pretrained(tmp_path / "policy")
    done = export_policy(tmp_path / "policy", tmp_path / "back.pth", system="seer")
    assert done.lines["freshly initialised"].startswith("14 that the official model never uses")
    back = official.read(tmp_path / "back.pth", "model_state_dict")
    assert {name: tensor.shape for name, tensor in back.items()} == {
        f"module.{name}": tensor.shape for name, tensor in state.items()
    }


def test_what_has_no_place_there_is_named(tmp_path: Path) -> None:
    state, overrides = official.tiny_seer()
    words = load_recipe("seer_calvin", *[o for o in overrides if "tower" not in o], "goal=words")
    Policy(words).save_pretrained(tmp_path / "words")
    with pytest.raises(WeightsError, match=r"the official Seer has not: .'encoders.goal.tower.words.weight'"):
        export_policy(tmp_path / "words", tmp_path / "a.pth", system="seer")
    small = load_recipe("seer_calvin", *[o for o in overrides if "foresight" not in o], "foresight=none")
    Policy(small).save_pretrained(tmp_path / "blind")
    with pytest.raises(
        WeightsError, match=r"nothing for these.*'obs_tokens', 'mask_token', .*'image_decoder_pred.{rest}'"
    ):
        export_policy(tmp_path / "blind", tmp_path / "b.pth", system="seer")
    assert not (tmp_path / "a.pth").exists()
    assert not (tmp_path / "b.pth").exists()
    path = official.write(tmp_path / "in.pth", state, "model_state_dict")
    done = import_policy(path, tmp_path / "without", system="seer", recipe=small)
    assert "obs_tokens" in done.lines["without use in this recipe"]
    export_policy(tmp_path / "without", tmp_path / "c.pth", system="seer")
    assert official.read(tmp_path / "c.pth", "model_state_dict").keys() == {f"module.{name}" for name in state}


def test_a_damaged_checkpoint_is_not_exported(tmp_path: Path) -> None:
    state, overrides = official.tiny_seer()
    path = official.write(tmp_path / "in.pth", state, "model_state_dict")
    import_policy(path, tmp_path / "policy", system="seer", recipe=load_recipe("seer_calvin", *overrides))
    with pytest.raises(WeightsError, match="came from 'seer'; expected 'gr1'"):
        export_policy(tmp_path / "policy", tmp_path / "a.pt", system="gr1")
    weights = load_file(tmp_path / "policy" / "model.safetensors")
    del weights["trunk.final.bias"]
    save_file(weights, tmp_path / "policy" / "model.safetensors")
    with pytest.raises(WeightsError, match=r"missing +trunk.final.bias"):
        export_policy(tmp_path / "policy", tmp_path / "b.pth", system="seer")
    (tmp_path / "policy" / UNUSED).write_bytes(b"short")
    with pytest.raises(WeightsError, match=r"missing +trunk.final.bias|damaged"):
        export_policy(tmp_path / "policy", tmp_path / "c.pth", system="seer")


def test_what_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for convert in (import_policy, export_policy):
        with pytest.raises(FileExistsError, match="exists already"):
            convert(tmp_path / "absent", tmp_path / "out", system="seer")
    assert json.dumps([str(path) for path in (tmp_path / "out").iterdir()]) == "[]"
