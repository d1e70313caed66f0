"""Policies: parameters, saving, loading, wrong input."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from seerkit import Policy, build_policy, keys, load_recipe
from seerkit.assemble import assemble, bind, stage_table
from seerkit.describe import Card, card, make_card, structure
from seerkit.goal import ClipTokenizer, WordTower
from seerkit.hub import CheckpointError
from seerkit.recipe import Recipe, RecipeError, list_recipes
from seerkit.resample import GridPool
from seerkit.sample import sample_batch
from tests.small import small_policy, small_recipe

TRAINABLE = {"seer_calvin": 67_278_151, "seer_large_calvin": 354_868_487}


@pytest.mark.parametrize("name", TRAINABLE)
def test_trainable_parameters(name: str) -> None:
    with torch.device("meta"):
        policy = Policy(load_recipe(name))
    assert sum(p.numel() for p in policy.parameters() if p.requires_grad) == TRAINABLE[name]


def test_frozen_parts_stay_frozen() -> None:
    policy = small_policy("seer_calvin").train()
    frozen = [policy.encoders["image"].vit, policy.encoders["goal"].tower]
    for part in frozen:
        assert not any(module.training for module in part.modules())
        assert not any(p.requires_grad for p in part.parameters())
    assert policy.trunk.training


@pytest.mark.parametrize("name", list_recipes())
def test_cards_are_what_is_built(name: str) -> None:
    recipe = load_recipe(name)
    stored: Card = card(recipe)
    small = name.startswith(("seer_tabletop",))
    if small:
        assert make_card(recipe) == stored
        return
    with torch.device("meta"):
        policy = Policy(recipe)
    sizes = {kind: sum(p.numel() for p in policy.parameters() if p.requires_grad is kind) for kind in (True, False)}
    assert (stored["trainable"], stored["frozen"]) == (sizes[True], sizes[False])
    for kind, size in zip(("trainable", "frozen"), (sizes[True], sizes[False]), strict=True):
        assert sum(part[kind] for part in stored["parts"]) == size
    targets = {f"target_{target}": module for target, module in policy.targets.items()}
    assert [part["name"] for part in stored["parts"]] == [*policy.stages, *targets]
    assert [part["module"] for part in stored["parts"] if part["name"] not in ("trunk", *targets)] == [
        type(stage.module).__name__ for stage_name, stage in policy.stages.items() if stage_name != "trunk"
    ]


@pytest.mark.parametrize(
    ("name", "shape"), [("seer_dino_foresight", (1, 4, 64)), ("seer_depth_foresight", (1, 16, 64))]
)
def test_a_card_has_a_row_for_what_only_training_runs(name: str, shape: tuple[int, ...]) -> None:
    recipe = small_recipe(name, "goal=words")
    policy, made = Policy(recipe), make_card(recipe)
    (kind, module), row = *policy.targets.items(), made["parts"][-1]
    assert [part["name"] for part in made["parts"]] == [*policy.stages, f"target_{kind}"]
    assert (row["module"], row["reads"]) == (type(module).__name__, [".".join(key) for key in targets_read(recipe)])
    assert row["writes"] == {f"target.{kind}.{camera}": [*shape] for camera in policy.cameras}
    assert (row["trainable"], row["frozen"]) == (0, sum(p.numel() for p in module.parameters()))
    assert made["frozen"] == sum(p.numel() for p in policy.parameters() if not p.requires_grad)


def targets_read(recipe: Recipe) -> list[list[str]]:
    return [key for part in recipe.config["targets"].values() for key in part["reads"]]


def test_cards_are_keyed_by_what_is_built() -> None:
    assert structure(load_recipe("seer_calvin")) == structure(load_recipe("seer_calvin", "train.lr=1"))
    assert structure(load_recipe("seer_calvin")) != structure(load_recipe("seer_calvin", "trunk.depth=1"))


def test_save_and_load_give_the_same_policy(tmp_path: Path) -> None:
    policy = small_policy("seer_calvin", "goal=words", "steps=2").eval()
    again = build_policy(str(policy.save_pretrained(tmp_path / "checkpoint")))
    assert again.recipe.hash == policy.recipe.hash
    batch = sample_batch(policy.recipe, batch=2, targets=False)
    with torch.no_grad():
        assert torch.equal(policy(batch)[keys.CHUNK], again.eval()(batch)[keys.CHUNK])
    assert sorted(p.name for p in (tmp_path / "checkpoint").iterdir()) == [
        "README.md",
        "model.safetensors",
        "recipe.yaml",
    ]
    policy.save_pretrained(tmp_path / "checkpoint")  # writing again replaces the folder
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = small_policy("seer_tabletop")
    policy.save_pretrained(tmp_path / "checkpoint")
    before = (tmp_path / "checkpoint" / "model.safetensors").read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("seerkit.hub.checkpoint.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        policy.save_pretrained(tmp_path / "checkpoint")
    assert (tmp_path / "checkpoint" / "model.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]


def test_loading_is_strict(tmp_path: Path) -> None:
    folder = small_policy("seer_tabletop").save_pretrained(tmp_path / "checkpoint")
    weights = load_file(folder / "model.safetensors")
    lost = weights.pop("trunk.time")
    weights["trunk.tame"] = lost
    weights["trunk.norm.weight"] = torch.zeros(5)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        Policy.from_pretrained(folder)
    for line in ("missing     trunk.time", "unexpected  trunk.tame", r"trunk.norm.weight: expected (32,), given (5,)"):
        assert line in str(caught.value)


def test_a_damaged_or_incomplete_checkpoint_says_so(tmp_path: Path) -> None:
    folder = small_policy("seer_tabletop").save_pretrained(tmp_path / "checkpoint")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        Policy.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"lacks 'model\.safetensors'"):
        Policy.from_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda td: td.pop(("observation", "state")), KeyError, "lacks .*state"),
        (lambda td: td.pop(("target", "chunk")), KeyError, "lacks .*chunk"),
        (lambda td: td.pop(("future", "image", "wrist")), KeyError, "lacks .*wrist"),
        (lambda td: td.set(("observation", "image", "wrist"), torch.zeros(2, 3, 3, 32, 32)), ValueError, "uint8"),
        (
            lambda td: td.set(("observation", "image", "wrist"), torch.zeros(2, 3, 32, 32, 3, dtype=torch.uint8)),
            ValueError,
            r"expected uint8 \(B, T, 3, H, W\)",
        ),
        (lambda td: td.set(("target", "chunk"), torch.zeros(2, 3, 5, 7)), ValueError, r"expected shape \(2, 3, 3, 7\)"),
        (lambda td: td["target", "chunk"].fill_(float("nan")), ValueError, "finite actions"),
        (lambda td: td["observation", "state"].fill_(float("inf")), ValueError, "finite numbers"),
        (lambda td: td.set(("observation", "state"), torch.zeros(2, 3, 9)), ValueError, "expected a state of 7"),
    ],
)
def test_wrong_batches_say_what_was_expected(change, error: type, message: str) -> None:  # noqa: ANN001
    policy = small_policy("seer_calvin", "goal=words", "steps=3")
    batch = sample_batch(policy.recipe, batch=2)
    change(batch)
    with pytest.raises(error, match=message):
        policy.loss(batch)


def test_foresee_needs_a_foresight_head() -> None:
    policy = small_policy("seer_calvin", "goal=words", "foresight=none")
    with pytest.raises(ValueError, match="no foresight head"):
        policy.foresee(sample_batch(policy.recipe, batch=1))


def test_foresee_gives_images_and_leaves_the_mode_alone() -> None:
    policy = small_policy("seer_calvin", "goal=words", "steps=2").train()
    frames = policy.foresee(sample_batch(policy.recipe, batch=2, targets=False))
    assert {name: (tuple(f.shape), f.dtype) for name, f in frames.items()} == {
        name: ((2, 2, 3, 32, 32), torch.uint8) for name in ("primary", "wrist")
    }
    assert policy.training


def test_a_stage_that_reads_nothing_is_named() -> None:
    stages = {"double": bind(torch.nn.Linear(1, 1), reads=["x"], writes=["y"])}
    assert stage_table(stages) == [("double", "Linear", ["x"], ["y"])]
    with pytest.raises(ValueError, match=r"stage 'double' reads \['x'\]"):
        assemble(stages, inputs=["z"])


def test_components_that_do_not_fit_are_named() -> None:
    with pytest.raises(RecipeError, match=r"seerkit\.head\.ActionHead cannot be built.*widht"):
        build_policy("seer_tabletop", "+heads.action.module.widht=3")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        build_policy(str(Path(__file__).parent))


def test_a_checkpoint_takes_changes_that_leave_its_weights_fitting(tmp_path: Path) -> None:
    folder = str(small_policy("seer_tabletop").save_pretrained(tmp_path / "checkpoint"))
    assert build_policy(folder, "train.updates=7").recipe.config["train"]["updates"] == 7
    with pytest.raises(CheckpointError, match="shape"):
        build_policy(folder, "trunk.dim=64")
    with pytest.raises(RecipeError, match=r"did you mean 'train\.updates'"):
        build_policy(folder, "train.update=7")


def test_resamplers_may_differ_per_camera() -> None:
    policy = small_policy("seer_tabletop", "encoders.image.module.resample.wrist.side=2", "layout.context.image=20")
    td = policy.encode(sample_batch(policy.recipe, batch=2, targets=False))
    assert td["tokens", "image"].shape == (2, 1, 16 + 4, 32)
    with pytest.raises(RecipeError, match="one resampler per camera"):
        small_policy("seer_tabletop", "~encoders.image.module.resample.wrist")


def test_grid_pool_averages_neighbours() -> None:
    patches = torch.arange(16.0).view(1, 16, 1)
    assert GridPool(side=2)(patches).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    with pytest.raises(ValueError, match="divisible by 3"):
        GridPool(side=3)(patches)


def test_words_count_alike_and_marks_do_not_count() -> None:
    tower, tokens = WordTower(width=8), ClipTokenizer()(["red", "red red", ""])
    features = tower(tokens)
    torch.testing.assert_close(features[0], features[1])
    torch.testing.assert_close(features[2], torch.zeros(8))


def test_graph_can_be_cut() -> None:
    policy = small_policy("seer_tabletop")
    encode = policy.graph.select_subsequence(out_keys=[("tokens", "image")])
    assert len(encode.module) < len(policy.graph.module)
    assert small_recipe("seer_tabletop").config["layout"] == policy.recipe.config["layout"]
