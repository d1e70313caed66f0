"""Frozen encoders: declared, loaded, never silently random; left out of checkpoints and put back."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from typer.testing import CliRunner

from seerkit import Policy, build_policy, list_recipes, load_recipe
from seerkit.camera import Vit
from seerkit.hub import CheckpointError, FrozenEncodersRandom, load_frozen
from seerkit.hub.frozen import frozen_modules
from seerkit.hub.sources import fit, read_source
from tests.hub.loopback import Loopback
from tests.hub.policies import (
    MAE,
    MAE_FILE,
    MAE_REPO,
    SOURCE,
    VIT,
    frozen_policy,
    holds,
    published,
    published_file,
    same,
)
from tests.small import small_policy


def recipe_file(folder: Path, *overrides: str) -> str:
    (folder / "small.yaml").write_text(frozen_policy(*overrides).recipe.yaml())
    return str(folder / "small.yaml")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("timm:vit_base_patch16_224.mae", "timm"),
        ("open_clip:ViT-B-32-quickgelu/openai", "open_clip"),
        ("hub:user/repo/some/file.safetensors@v1", "hub"),
        ("weights/mae.pth", "path"),
        ("~/mae.pth", "path"),
        ("random", "random"),
        ("checkpoint", "checkpoint"),
    ],
)
def test_sources_are_told_apart(text: str, kind: str) -> None:
    assert read_source(text).kind == kind


@pytest.mark.parametrize(
    "text",
    [
        "hub:user/repo/model.bin",
        "hub:user/model.safetensors",
        "hub:a/b/../../c.safetensors",
        "hub:a/b//etc/c.safetensors",
        "hub:a/b/./c.safetensors",
        "hub:a/b/c.safetensors@/etc",
        "hub:a/b/c.safetensors@v1/../../x",
        "open_clip:ViT-B-32",
        "timm:../x",
        "tim:vit",
        "https://example.org/x.safetensors",
        "",
        None,
        3,
    ],
)
def test_other_sources_are_refused(text: object) -> None:
    with pytest.raises(CheckpointError, match="source"):
        read_source(text)


def test_published_encoders_have_a_place_on_the_hub() -> None:
    assert read_source(MAE).place() == (MAE_REPO, MAE_FILE, None)
    clip = "timm/vit_base_patch32_clip_224.openai", "open_clip_model.safetensors", None
    assert read_source("open_clip:ViT-B-32-quickgelu/openai").place() == clip
    assert read_source("hub:a/b/c/d.safetensors@v1").place() == ("a/b", "c/d.safetensors", "v1")
    with pytest.raises(CheckpointError, match="openai"):
        read_source("open_clip:ViT-B-32-quickgelu/opnai").place()


def test_the_frozen_modules_of_seer_declare_their_sources() -> None:
    with torch.device("meta"):
        found = frozen_modules(small_policy("seer_calvin"))
    assert {name: frozen.source.text for name, frozen in found.items() if frozen.source} == {
        "encoders.image.vit": MAE,
        "encoders.goal.tower": "open_clip:ViT-B-32-quickgelu/openai",
    }
    assert frozen_modules(small_policy("seer_tabletop")) == {}


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_says_where_its_frozen_encoders_come_from(name: str) -> None:
    with torch.device("meta"):
        found = frozen_modules(Policy(load_recipe(name)))
    unsaid = [str(frozen) for frozen in found.values() if frozen.source is None or not frozen.source.fetchable]
    assert unsaid == [] or "r3m" in name, "R3M alone is not on the Hub"


def test_a_trained_encoder_is_not_a_frozen_one() -> None:
    assert frozen_modules(frozen_policy("encoders.image.module.vit.frozen=false")) == {}


def test_an_undeclared_frozen_module_is_found() -> None:
    policy = frozen_policy("~encoders.image.source")
    assert [(f.name, f.source) for f in frozen_modules(policy).values()] == [(VIT, None)]
    with pytest.warns(FrozenEncodersRandom, match=r"not declared.*\+encoders\.image\.source\.vit=PATH"):
        load_frozen(policy)


def test_a_source_for_nothing_is_an_error() -> None:
    with pytest.raises(CheckpointError, match=r"names 'vitt', but encoders\.image has \['vit'"):
        frozen_modules(frozen_policy("+encoders.image.source.vitt=random"))


def test_random_encoders_are_told_once_and_with_the_way_out(hub: Loopback, tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path)
    with pytest.warns(FrozenEncodersRandom) as told:
        policies = [build_policy(recipe), build_policy(recipe)]
    said = [str(warning.message) for warning in told if warning.category is FrozenEncodersRandom]
    assert len(said) == 1
    for text in (VIT, MAE, "fetch=True", "seerkit fetch", f"{SOURCE}=PATH", f"{SOURCE}=random"):
        assert text in said[0]
    assert [policy.origins for policy in policies] == [{}, {}]
    assert hub.log == [], "building went to the network"


def test_what_is_meant_to_be_random_is_not_told(hub: Loopback, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FrozenEncodersRandom)
        policy = build_policy(recipe_file(tmp_path), f"{SOURCE}=random", fetch=True, endpoint=hub.address)
    assert load_frozen(policy) == {VIT: "random"}
    assert hub.log == []


def test_fetching_loads_and_the_cache_serves_the_next_one(hub: Loopback, tmp_path: Path) -> None:
    hub.put(MAE_REPO, {MAE_FILE: published_file()})
    recipe = recipe_file(tmp_path)
    assert holds(build_policy(recipe, fetch=True, endpoint=hub.address), published())
    asked = len(hub.log)
    assert holds(build_policy(recipe), published())
    assert len(hub.log) == asked


def test_what_cannot_be_fetched_is_an_error(hub: Loopback, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"random weights.*{re.escape(MAE)}.*no such repository"):
        build_policy(recipe_file(tmp_path), fetch=True, endpoint=hub.address)


def test_training_does_not_begin_around_a_random_encoder(tmp_path: Path) -> None:
    from seerkit.cli import app

    words = ["train", recipe_file(tmp_path), "--data", str(tmp_path / "store"), "--out", str(tmp_path / "run")]
    with pytest.raises(CheckpointError, match=rf"{VIT} .*random weights.*|random weights: {VIT}.*no connection"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    assert not (tmp_path / "run").exists()
    done = CliRunner().invoke(app, [*words, f"{SOURCE}=random"])
    assert "store" in str(done.exception), "it should have gone on to the data"


def test_published_positions_are_brought_to_this_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that can adapt published tensors is asked to."""
    larger = published()
    positions = torch.cat([larger["pos_embed"], torch.ones(1, 9, 32)], dim=1)
    save_file({**larger, "pos_embed": positions}, tmp_path / "larger.safetensors")

    def cut(_: object, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {**tensors, "vit.pos_embed": tensors["vit.pos_embed"][:, :-9].contiguous()}

    with pytest.raises(CheckpointError, match=r"shape +vit\.pos_embed"):
        build_policy(recipe_file(tmp_path), f"{SOURCE}={tmp_path / 'larger.safetensors'}")
    monkeypatch.setattr(Vit, "at_this_size", cut, raising=False)
    assert holds(build_policy(recipe_file(tmp_path), f"{SOURCE}={tmp_path / 'larger.safetensors'}"), larger)


def test_a_path_loads_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    save_file(published(), tmp_path / "mae.safetensors")
    torch.save({"model": {**published(), "mask_token": torch.zeros(1, 1, 32)}}, tmp_path / "mae.pth")
    recipe = recipe_file(tmp_path)
    for name in ("mae.safetensors", "mae.pth"):
        assert holds(build_policy(recipe, f"{SOURCE}={tmp_path / name}"), published())
    with pytest.raises(CheckpointError, match="no such file"):
        build_policy(recipe, f"{SOURCE}={tmp_path / 'absent.pth'}")


def test_half_precision_is_widened_exactly(tmp_path: Path) -> None:
    half = {name: tensor.half() for name, tensor in published().items()}
    save_file(half, tmp_path / "half.safetensors")
    policy = build_policy(recipe_file(tmp_path), f"{SOURCE}={tmp_path / 'half.safetensors'}")
    assert holds(policy, {name: tensor.float() for name, tensor in half.items()})


def test_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    weights = published()
    weights["cls_token"] = torch.zeros(1, 1, 33)
    save_file(weights, tmp_path / "wrong.safetensors")
    with pytest.raises(CheckpointError, match=r"shape +vit\.cls_token: expected \(1, 1, 32\), given \(1, 1, 33\)"):
        build_policy(recipe_file(tmp_path), f"{SOURCE}={tmp_path / 'wrong.safetensors'}")
    del weights["cls_token"]
    save_file(weights, tmp_path / "wrong.safetensors")
    with pytest.raises(CheckpointError, match=r"missing +vit\.cls_token"):
        build_policy(recipe_file(tmp_path), f"{SOURCE}={tmp_path / 'wrong.safetensors'}")


def test_clip_gives_its_text_half() -> None:
    block = "transformer.resblocks.0."
    parts = ("attn.out_proj", "ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj")
    names = [f"{block}{part}.{kind}" for part in parts for kind in ("weight", "bias")]
    names += [f"{block}attn.in_proj_weight", f"{block}attn.in_proj_bias", "ln_final.weight", "ln_final.bias"]
    names += ["positional_embedding", "text_projection", "token_embedding.weight"]
    text = {name: torch.randn(2) for name in names}
    whole = {**text, "visual.proj": torch.zeros(2), "logit_scale": torch.zeros(())}
    fitted = fit(whole, {f"tower.{name}": torch.empty(2) for name in names})
    assert fitted.keys() == {f"tower.{name}" for name in names}
    assert all(torch.equal(fitted[f"tower.{name}"], text[name]) for name in names)


@pytest.mark.slow
def test_seer_gets_both_encoders_from_where_they_are_published(hub: Loopback, tmp_path: Path) -> None:
    """CLIP's text tower is as large as it is; open_clip's file holds the image tower, too, in half precision."""
    policy = small_policy("seer_calvin")
    tower = policy.encoders["goal"].tower.tower.state_dict()
    clip = {name: torch.randn_like(tensor).half() for name, tensor in tower.items()}
    whole = {**clip, "visual.proj": torch.zeros(2), "logit_scale": torch.zeros(())}
    hub.put("timm/vit_base_patch32_clip_224.openai", {"open_clip_model.safetensors": save(whole)})
    hub.put(MAE_REPO, {MAE_FILE: published_file()})
    (tmp_path / "small.yaml").write_text(policy.recipe.yaml())
    policy = build_policy(str(tmp_path / "small.yaml"), fetch=True, endpoint=hub.address)
    mine = policy.encoders["goal"].tower.tower.state_dict()
    assert mine.keys() == clip.keys()
    assert all(torch.equal(mine[name], clip[name].float()) for name in clip)
    folder = policy.save_pretrained(tmp_path / "saved")
    assert (folder / "model.safetensors").stat().st_size < 2 << 20
    assert same(policy, Policy.from_pretrained(folder))


# -- checkpoints ----------------------------------------------------------------------------------------------------


def fetched(hub: Loopback, folder: Path, seed: int = 0) -> Policy:
    hub.put(MAE_REPO, {MAE_FILE: published_file(seed)})
    return build_policy(recipe_file(folder), fetch=True, endpoint=hub.address)


def tensors(folder: Path) -> set[str]:
    return {name for name in load_file(folder / "model.safetensors") if name.startswith(VIT)}


def test_what_can_be_fetched_is_left_out_and_put_back(hub: Loopback, tmp_path: Path) -> None:
    policy = fetched(hub, tmp_path)
    folder = policy.save_pretrained(tmp_path / "saved")
    assert tensors(folder) == set()
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        noted = json.loads(file.metadata()["frozen"])
    assert noted == {VIT: {"source": MAE, "sha256": policy.origins[VIT].sha256}}
    again = Policy.from_pretrained(folder, endpoint=hub.address)
    assert same(policy, again)
    assert same(policy, Policy.from_pretrained(again.save_pretrained(tmp_path / "twice"), endpoint=hub.address))


def test_asked_for_it_stays_in(hub: Loopback, tmp_path: Path) -> None:
    policy = fetched(hub, tmp_path)
    folder = policy.save_pretrained(tmp_path / "saved", frozen=True)
    assert len(tensors(folder)) == len(published())
    asked = len(hub.log)
    assert same(policy, Policy.from_pretrained(folder))
    assert len(hub.log) == asked


def test_nothing_is_lost(hub: Loopback, tmp_path: Path) -> None:
    """Random, changed and path-loaded encoders are written; asked to leave them out, saving refuses."""
    save_file(published(), tmp_path / "mae.safetensors")
    random = frozen_policy()
    local = build_policy(recipe_file(tmp_path), f"{SOURCE}={tmp_path / 'mae.safetensors'}")
    changed = fetched(hub, tmp_path)
    with torch.no_grad():
        changed.encoders["image"].vit.vit.cls_token.add_(1)
    for name, policy in {"random": random, "local": local, "changed": changed}.items():
        folder = policy.save_pretrained(tmp_path / name)
        (tmp_path / "mae.safetensors").unlink(missing_ok=True)
        assert same(policy, Policy.from_pretrained(folder))
        with pytest.raises(CheckpointError, match=f"would lose weights: {VIT}"):
            policy.save_pretrained(tmp_path / name, frozen=False)


def test_another_encoder_is_noticed_and_a_path_helps(
    hub: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    policy = fetched(hub, tmp_path)
    folder = policy.save_pretrained(tmp_path / "saved")
    hub.put(MAE_REPO, {MAE_FILE: published_file(seed=1)})
    assert same(policy, Policy.from_pretrained(folder, endpoint=hub.address)), "what was fetched before still serves"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(CheckpointError, match=f"other weights than the checkpoint was trained with.*{SOURCE}=PATH"):
        Policy.from_pretrained(folder, endpoint=hub.address)
    save_file(published(), tmp_path / "mae.safetensors")
    assert same(policy, Policy.from_pretrained(folder, f"{SOURCE}={tmp_path / 'mae.safetensors'}"))


def test_an_encoder_that_is_gone_is_named(hub: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    folder = fetched(hub, tmp_path).save_pretrained(tmp_path / "saved")
    del hub.repos[MAE_REPO]
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(CheckpointError, match=f"leaves out {VIT} .*{re.escape(MAE)}.*cannot be had.*{SOURCE}=PATH"):
        Policy.from_pretrained(folder, endpoint=hub.address)
    with pytest.raises(CheckpointError, match=r"cannot be had.*no connection"):
        Policy.from_pretrained(folder)


def test_wrong_types_are_named(tmp_path: Path) -> None:
    folder = frozen_policy().save_pretrained(tmp_path / "saved")
    weights = load_file(folder / "model.safetensors")
    weights["trunk.time"] = weights["trunk.time"].double()
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"dtype +trunk\.time: expected torch\.float32, given torch\.float64"):
        Policy.from_pretrained(folder)
