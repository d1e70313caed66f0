"""A run begins from another policy's weights exactly as declared, or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from seerkit import Policy, list_recipes, load_recipe
from seerkit.cli import app
from seerkit.init_from import CarriedOver, InitError, frozen_tensors, prepare
from seerkit.init_from import carry_over as carry
from tests.small import small_policy, small_recipe
from tests.train import toy

OFFICIAL = [{"reset": ["trunk.queries.action", "trunk.queries.foresight"]}, {"slice": ["trunk.time"]}]


def policy(name: str, *overrides: str) -> Policy:
    """A small policy whose every number is random, the queries' too."""
    built = small_policy(name, "goal=words", *overrides)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.normal_()
    return built


@pytest.fixture(scope="module")
def pretrained() -> Policy:
    torch.manual_seed(1)
    return policy("seer_calvin_pretrain")


@pytest.fixture
def fresh() -> Policy:
    torch.manual_seed(2)
    return policy("seer_calvin")


def copy(policy: Policy) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in policy.state_dict().items()}


def carry_over(policy: Policy, state: dict[str, Tensor], steps: list[Any]) -> CarriedOver:
    """Carry over from a policy that froze what this one freezes."""
    return carry(policy, state, steps, frozen=frozen_tensors(policy))


def test_seer_fine_tunes_as_the_official_code(pretrained: Policy, fresh: Policy) -> None:
    before, there = copy(fresh), pretrained.state_dict()
    assert load_recipe("seer_calvin").config["init_from"]["steps"] == OFFICIAL
    done = carry_over(fresh, there, OFFICIAL)
    after = fresh.state_dict()
    assert torch.equal(after["trunk.time"], there["trunk.time"][:10])
    kept = {"trunk.queries.action", "trunk.queries.foresight"}
    frozen = {name for name, parameter in fresh.named_parameters() if not parameter.requires_grad}
    for name, tensor in after.items():
        if name in kept | frozen:
            assert torch.equal(tensor, before[name]), name
        elif name != "trunk.time":
            assert torch.equal(tensor, there[name]), name
    assert set(done.reset) == kept
    assert done.sliced == {"trunk.time": (14, 10)}
    assert set(done.carried) == after.keys() - kept - frozen - {"trunk.time"}
    assert set(done.frozen) == frozen != set()
    assert done.fresh == done.dropped == []


def test_seer_large_resets_nothing(pretrained: Policy, fresh: Policy) -> None:
    steps = load_recipe("seer_large_calvin").config["init_from"]["steps"]
    assert carry_over(fresh, pretrained.state_dict(), steps).reset == []
    assert torch.equal(fresh.trunk.queries["action"], pretrained.trunk.queries["action"])


def test_gr1_learns_to_act_after_videos() -> None:
    torch.manual_seed(3)
    video, acting = policy("gr1_video_pretrain"), policy("gr1_calvin")
    before, there = copy(acting), copy(video)
    done = carry_over(acting, there, load_recipe("gr1_calvin").config["init_from"]["steps"])
    rows = len(there["trunk.queries.foresight"])
    queries = acting.trunk.queries["foresight"]
    assert done.extended == {"trunk.queries.foresight": (rows, 2 * rows)}
    assert torch.equal(queries[:rows], there["trunk.queries.foresight"])
    assert torch.equal(queries[rows:], before["trunk.queries.foresight"][rows:])
    assert torch.equal(acting.state_dict()["heads.action.arm.weight"], before["heads.action.arm.weight"])
    wrist = "encoders.image.image.wrist.weight"
    assert wrist in done.fresh
    assert torch.equal(acting.state_dict()[wrist], before[wrist])
    primary = "encoders.image.image.primary.weight"
    assert torch.equal(acting.state_dict()[primary], there[primary])


def test_a_part_may_be_dropped(pretrained: Policy) -> None:
    blind = policy("seer_calvin", "foresight=none")
    steps: list[Any] = [{"reset": ["trunk.queries.action"]}, {"slice": ["trunk.time"]}]
    with pytest.raises(InitError, match=r"unexpected +heads.foresight.mask_token .* if meant so, a step 'drop'"):
        carry_over(blind, pretrained.state_dict(), steps)
    done = carry_over(blind, pretrained.state_dict(), [*steps, {"drop": ["heads.foresight.*", "*.queries.foresight"]}])
    assert "heads.foresight.mask_token" in done.dropped


def without(name: str, state: dict[str, Tensor]) -> None:
    del state[name]


def add(name: str, state: dict[str, Tensor]) -> None:
    state[name] = torch.zeros(3)


def cut(name: str, state: dict[str, Tensor]) -> None:
    state[name] = state[name][:7]


def halve(name: str, state: dict[str, Tensor]) -> None:
    state[name] = state[name].half()


VIOLATIONS = {
    "type": (halve, "trunk.norm.bias", OFFICIAL, r"type +trunk.norm.bias: torch.float16 in the checkpoint"),
    "missing": (without, "trunk.final.bias", OFFICIAL, r"missing +trunk.final.bias \(32,\)"),
    "unexpected": (add, "trunk.extra", OFFICIAL, r"unexpected +trunk.extra \(3,\)"),
    "shape": (cut, "trunk.norm.weight", OFFICIAL, r"shape +trunk.norm.weight: \(7,\) in the checkpoint, \(32,\) here"),
    "longer": (cut, "trunk.time", OFFICIAL, r"slice +trunk.time: \(7, 1, 32\) in the checkpoint, \(10, 1, 32\) here"),
    "no slice": (None, "trunk.time", OFFICIAL[:1], r"shape +trunk.time: \(14, 1, 32\) in the checkpoint"),
    "extend the longer": (
        None,
        "",
        [OFFICIAL[0], {"extend": ["trunk.time"]}],
        r"extend +trunk.time: \(14, 1, 32\) in the checkpoint",
    ),
    "nothing to reset": (without, "trunk.queries.action", OFFICIAL, r"missing +trunk.queries.action .*: cannot reset"),
    "names nothing": (
        None,
        "",
        [*OFFICIAL, {"reset": ["trunk.queries.actoin"]}],
        r"idle step +reset trunk.queries.actoin: names nothing; did you mean 'trunk.queries.action'",
    ),
    "not fresh": (None, "", [*OFFICIAL, {"fresh": ["trunk.final.*"]}], r"fresh +trunk.final.bias: is in both; reset"),
    "not to drop": (None, "", [*OFFICIAL, {"drop": ["trunk.final.bias"]}], r"drop +trunk.final.bias: is in both"),
    "twice": (None, "", [*OFFICIAL, {"fresh": ["trunk.time"]}], r"twice +trunk.time: slice and fresh"),
    "no kind": (None, "", [{"rest": ["trunk.time"]}], r"got 'rest'; did you mean 'reset'"),
}


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_each_violation_is_named_and_changes_nothing(violation: str, pretrained: Policy, fresh: Policy) -> None:
    change, name, steps, message = VIOLATIONS[violation]
    state, before = copy(pretrained), copy(fresh)
    if change is not None:
        change(name, state)
    with pytest.raises(InitError, match=message):
        carry_over(fresh, state, steps)
    assert all(torch.equal(tensor, before[name]) for name, tensor in fresh.state_dict().items())


MALFORMED: list[object] = [["reset"], [{"reset": 3}], [{"reset": [3]}], [{"reset": None}], [{}]]
MALFORMED += [{"reset": ["trunk.time"]}, "reset", 3]


@pytest.mark.parametrize("steps", MALFORMED, ids=str)
def test_malformed_steps_are_told_what_is_expected(steps: Any, pretrained: Policy, fresh: Policy) -> None:  # noqa: ANN401
    with pytest.raises(InitError, match=r"a mapping from a kind to a name or names.*; given .*"):
        carry_over(fresh, pretrained.state_dict(), steps)


def test_a_section_that_is_no_mapping_is_told_what_is_expected() -> None:
    recipe = small_recipe("seer_calvin", "goal=words", "init_from=runs")
    with pytest.raises(InitError, match="'checkpoint' and 'steps', given 'runs'"):
        prepare(Policy(recipe))


def test_the_rows_tell_everything(pretrained: Policy, fresh: Policy) -> None:
    rows = [*carry_over(fresh, pretrained.state_dict(), OFFICIAL).rows()]
    assert ("first rows", "trunk.time", "10 of 14 rows") in rows
    assert ("reset", "trunk.queries.action", "keeps its initial value, as declared") in rows
    assert any(kind == "frozen" and part.startswith("encoders.image.vit") for kind, part, _ in rows)


# -- buffers and frozen parts ---------------------------------------------------------------------------------------


def resnet(frozen: str) -> Policy:
    """A small policy with batch norms in its vision encoder, every number of them random."""
    built = policy("r3m_gr1", f"encoders.image.module.vit.frozen={frozen}")
    for name, tensor in built.named_buffers():
        if "running" in name:
            tensor.uniform_(1, 2)
        elif name.endswith("tracked"):
            tensor.random_(1, 100)
    return built


def test_running_statistics_of_a_trained_encoder_are_carried_over() -> None:
    there, here = resnet("false"), resnet("false")
    done = carry(here, there.state_dict(), [])
    statistics = {name for name in there.state_dict() if "running" in name or "tracked" in name}
    assert len(statistics) > 20
    assert statistics <= {*done.carried}
    after = here.state_dict()
    assert all(torch.equal(after[name], there.state_dict()[name]) for name in statistics)
    short = copy(there)
    lost = min(statistics)
    del short[lost]
    with pytest.raises(InitError, match=f"missing +{lost}"):
        carry(here, short, [])


def test_statistics_of_a_frozen_encoder_stay() -> None:
    there, here = resnet("true"), resnet("true")
    before = copy(here)
    done = carry(here, there.state_dict(), [], frozen=frozen_tensors(there))
    assert {name for name in before if ".vit.model." in name} <= {*done.frozen}
    assert all(torch.equal(here.state_dict()[name], before[name]) for name in done.frozen)


def test_an_encoder_trained_there_and_frozen_here_is_not_left_out_in_silence(tmp_path: Path) -> None:
    trained = policy("seer_calvin_pretrain", "encoders.image.module.vit.frozen=false")
    trained.save_pretrained(tmp_path / "pre")
    begins = f"init_from.checkpoint='{tmp_path / 'pre'}'"
    recipe = small_recipe("seer_calvin", "goal=words", begins)
    with pytest.raises(InitError, match=r"frozen here +encoders.image.vit\..*trained in the checkpoint; .* 'drop'"):
        prepare(Policy(recipe))
    steps = "[{reset: ['trunk.queries.*']}, {slice: [trunk.time]}, {drop: ['encoders.image.vit.*']}]"
    done = prepare(Policy(small_recipe("seer_calvin", "goal=words", begins, f"init_from.steps={steps}")))
    assert done is not None
    assert {name for name in trained.state_dict() if name.startswith("encoders.image.vit.")} == {*done.dropped}


# -- recipes and runs -----------------------------------------------------------------------------------------------


def test_recipes_say_what_the_official_scripts_do() -> None:
    sections = {name: load_recipe(name).config.get("init_from") for name in list_recipes() if "/" not in name}
    for name, section in sections.items():
        assert section is None or section["checkpoint"] is None, name
        if name.endswith(("_scratch", "_pretrain")) and not name.startswith(("seer_tabletop", "gr1_tabletop")):
            assert section is None, name
    assert all(sections[name]["steps"] == OFFICIAL for name in ("seer_calvin", "seer_libero_long", "seer_real"))


def test_where_weights_come_from_does_not_decide_what_is_built() -> None:
    from seerkit.describe import structure

    recipe = load_recipe("seer_calvin", "init_from.checkpoint=a/b")
    assert structure(recipe) == structure(load_recipe("seer_calvin"))
    assert recipe.hash != load_recipe("seer_calvin").hash


def test_prepare(pretrained: Policy, tmp_path: Path) -> None:
    pretrained.save_pretrained(tmp_path / "pre")
    assert prepare(policy("seer_calvin")) is None
    begun = Policy(small_recipe("seer_calvin", "goal=words", f"init_from.checkpoint='{tmp_path / 'pre'}'"))
    done = prepare(begun)
    assert isinstance(done, CarriedOver)
    assert done.checkpoint == str(tmp_path / "pre")
    assert not begun.trunk.queries["action"].any()  # its initial value
    assert torch.equal(begun.trunk.time, pretrained.trunk.time[:10])
    for absent, message in {
        tmp_path / "no": "neither a folder nor user/repo",
        tmp_path: "lacks 'model.safetensors'",
    }.items():
        recipe = small_recipe("seer_calvin", "goal=words", f"init_from.checkpoint='{absent}'")
        with pytest.raises(ValueError, match=message):
            prepare(Policy(recipe))


def test_train_begins_from_a_checkpoint_once(tmp_path: Path) -> None:
    toy.toy_store(tmp_path / "store", cameras=("primary", "wrist"), side=20)
    before = toy.real_policy()
    with torch.no_grad():
        before.trunk.queries["action"].fill_(3.0)
    before.save_pretrained(tmp_path / "before")
    config = before.recipe.yaml()
    (tmp_path / "tiny.yaml").write_text(config.replace("checkpoint: null", f"checkpoint: {tmp_path / 'before'}"))
    arguments = ["train", str(tmp_path / "tiny.yaml"), "train.updates=2", "train.warmup=1", "train.batch_size=4"]
    arguments += ["train.holdout=0", "train.lr=0.000000001", "train.ema=null", "train.weight_decay=0"]
    arguments += ["--data", str(tmp_path / "store"), "--out", str(tmp_path / "run")]
    result = CliRunner(env={"COLUMNS": "120"}).invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "begins from" in result.output
    written = json.loads((tmp_path / "run" / "init_from.json").read_text())
    assert "trunk.queries.action" in written["carried"]
    trained = Policy.from_pretrained(tmp_path / "run" / "checkpoints" / "last")
    assert torch.allclose(trained.trunk.queries["action"], torch.tensor(3.0))
    again = CliRunner().invoke(app, [*arguments, "--resume"], catch_exceptions=False)
    assert again.exit_code == 0, again.output
    assert "begins from" not in again.output
