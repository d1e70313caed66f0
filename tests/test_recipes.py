"""Every recipe and every option of every slot composes, builds small, runs, backpropagates and acts."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict

import seerkit
from seerkit import Policy, list_recipes, load_recipe
from seerkit.check import check_recipe
from seerkit.recipe import RecipeError, build, recipes_root
from seerkit.sample import sample_batch
from seerkit.train.settings import Settings
from tests.small import small_policy, small_recipe

WORDS = ("goal=words",)  # CLIP's text tower is built once, by test_every_recipe_works_small
OPTIONS = sorted(
    f"{path.parent.name}={path.stem}"
    for path in recipes_root().rglob("*.yaml")
    if path.parent != recipes_root() and "ablation" not in path.parts
)


def test_recipes_are_found() -> None:
    files = [*recipes_root().glob("*.yaml"), *recipes_root().glob("ablation/*/*.yaml")]
    assert len(list_recipes()) == len(files) >= 35
    settings = {field.name for field in dataclasses.fields(Settings)}
    for name in list_recipes():
        config = load_recipe(name).config
        assert set(config["train"]) == settings, f"{name} must list every setting, so that each can be overridden"
        meta = config["meta"]
        assert meta["name"] == name
        assert meta["summary"]
        assert meta["benchmark"]
        assert meta["paper"].startswith("https://"), f"{name} names no source paper"


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_works_small(name: str) -> None:
    goal = () if name == "seer" else ("goal=words",)  # CLIP's text tower once is enough
    assert check_recipe(small_recipe(name, *goal)).losses


@pytest.fixture(scope="module")
def twins() -> Iterator[Callable[..., Any]]:
    """One environment for all recipes that ask for the same."""
    from seerkit.envs import make

    @cache
    def twin(**options: Any) -> Any:  # noqa: ANN401
        return make("Reach", image_size=32, **options)

    made: list[Any] = []

    def get(**options: Any) -> Any:  # noqa: ANN401
        made.append(twin(**options))
        return made[-1]

    yield get
    for env in set(made):
        env.close()


@pytest.mark.sim
@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_learns_a_step_and_rolls_out_on_the_twin(name: str, twins: Callable[..., Any]) -> None:
    goal = () if load_recipe(name).config["encoders"].get("goal", {}).get("module", {}).get("tower") is None else WORDS
    policy = small_policy(name, *goal)
    policy.loss(sample_batch(policy.recipe, batch=2))  # shapes are checked before time is spent on the twin
    before = {key: value.clone() for key, value in policy.state_dict().items()}
    trained = [weight for weight in policy.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-3)
    torch.stack([*policy.train().loss(sample_batch(policy.recipe, batch=2)).values()]).sum().backward()
    optimiser.step()
    moved = [key for key, value in policy.state_dict().items() if not torch.equal(value, before[key])]
    assert len(moved) >= 0.9 * len(trained), "an update changes what is trained"
    fingers = policy.inputs and "widths" in str(policy.recipe.config["encoders"])
    options = {"state": "pose_fingers"} if fingers else {}
    if any(key[0] == "goal" for key in policy.inputs):
        options["goal"] = "demonstrated"
    env = twins(**options)
    observation, _ = env.reset(seed=1)
    if "action" not in policy.heads:
        assert_foresees(policy, observation)
        return
    agent = policy.agent()
    agent.reset(seeds=[1])
    actions = []
    for _ in range(policy.steps + 2 if policy.steps < 4 else 3):
        actions.append(agent.act(observation))
        assert actions[-1].shape == env.action_space.shape
        assert np.isfinite(actions[-1]).all()
        assert actions[-1][-1] in (-1.0, 1.0)
        observation, *_ = env.step(actions[-1])
    again = policy.agent()
    again.reset(seeds=[1])
    observation, _ = env.reset(seed=1)
    np.testing.assert_allclose(again.act(observation), actions[0], atol=1e-6)


def assert_foresees(policy: Policy, observation: dict[str, Any]) -> None:
    """A policy without actions looks at the twin's frames and foresees others."""
    td = TensorDict({}, batch_size=[1])
    for name in policy.cameras:
        td["observation", "image", name] = torch.from_numpy(observation["image"][name])[None, None]
    td.set_non_tensor("language_instruction", [observation["language_instruction"]])
    frames = policy.foresee(td)
    assert {name: tuple(frame.shape) for name, frame in frames.items()} == dict.fromkeys(
        policy.cameras, (1, 1, 3, 32, 32)
    )


@pytest.mark.parametrize("name", list_recipes())
@pytest.mark.parametrize("without", ["foresight=none", "goal=none", "state=none", "resample=mean_pool"])
def test_every_recipe_can_do_without(name: str, without: str) -> None:
    """No recipe leaves anything of a slot behind when the slot is exchanged."""
    words = () if without == "goal=none" else ("goal=words",)
    if without == "foresight=none":
        if [*load_recipe(name).config["heads"]] == ["foresight"]:
            pytest.skip("nothing would be left to learn")
        if "future_step" in name:
            pytest.skip("its only change is one of the slot itself")
    with torch.device("meta"):
        assert Policy(small_recipe(name, *words, without))


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_works_small(option: str) -> None:
    if option == "goal=clip_text":
        pytest.skip("built by test_every_recipe_works_small[seer]")
    base = "seer_calvin_pretrain" if "pretrain" in option else "seer_calvin"
    words = () if option.startswith("goal=") else ("goal=words",)
    conv = ("camera=conv",)
    sizes = {"camera=conv": ("resample=keep",), "resample=keep": conv, "resample=keep_primary": conv}
    assert check_recipe(small_recipe(base, *words, option, *sizes.get(option, ()))).losses


@pytest.mark.parametrize("name", list_recipes())
def test_a_resolved_recipe_is_read_back(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    file = tmp_path / "mine.yaml"
    file.write_text(recipe.yaml())
    assert load_recipe(str(file)).config == recipe.config
    assert load_recipe(str(file)).hash == recipe.hash


def test_a_file_can_build_on_a_recipe_and_take_overrides(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "defaults: [seer_calvin, override resample: mean_pool, _self_]\ntrunk: {depth: 2}\n"
    )
    recipe = load_recipe(str(tmp_path / "mine.yaml"), "trunk.heads=6")
    assert (recipe.config["trunk"]["depth"], recipe.config["trunk"]["heads"]) == (2, 6)
    assert recipe.config["layout"]["context"]["image"] == 2
    (tmp_path / "flat.yaml").write_text(load_recipe("seer_calvin").yaml())
    assert load_recipe(str(tmp_path / "flat.yaml"), "trunk.depth=3").config["trunk"]["depth"] == 3
    with pytest.raises(RecipeError, match=r"did you mean 'trunk\.depth'"):
        load_recipe(str(tmp_path / "flat.yaml"), "trunk.dept=3")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("seer_calvinn",), "did you mean 'seer_calvin'"),
        (("seer_calvin", "foresigth=none"), "did you mean 'foresight'"),
        (("seer_calvin", "foresight=nome"), "did you mean 'none'"),
        (("seer_calvin", "trunk.dept=3"), r"did you mean 'trunk\.depth'"),
        (
            ("seer_calvin", "layout.edges.action.foresigth.when=never"),
            r"did you mean 'layout\.edges\.action\.foresight",
        ),
        (("seer_calvin", "trunk.depth"), "key=value"),
        (("nowhere.yaml",), "no recipe file"),
    ],
)
def test_wrong_names_are_answered_with_the_nearest(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(*arguments)


def test_a_change_to_a_component_that_is_not_there_is_named() -> None:
    with pytest.raises(RecipeError, match=r"heads\.foresight has no module, only \{'ahead': 5\}"):
        load_recipe("ablation/gr1_future_step/ahead_5", "foresight=none")


def test_a_recipe_with_nothing_to_learn_is_refused() -> None:
    with pytest.raises(RecipeError, match="needs a section 'heads'"):
        load_recipe("gr1_video_pretrain", "foresight=none")


def test_a_component_without_a_target_is_named() -> None:
    with pytest.raises(RecipeError, match="_target_"):
        build({"dim": 3})


def test_composing_inside_a_hydra_application(tmp_path: Path) -> None:
    """A user's own ``@hydra.main`` may build policies; its global state is left as it was."""
    script = tmp_path / "app.py"
    script.write_text(
        "import hydra\n"
        "from seerkit import load_recipe\n"
        "@hydra.main(version_base=None)\n"
        "def main(cfg):\n"
        "    print(load_recipe('seer_calvin', 'foresight=none').name)\n"
        "    print(hydra.core.hydra_config.HydraConfig.get().job.name)\n"
        "main()\n"
    )
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert ran.stdout.split() == ["seer_calvin", "app"]


def test_public_names_are_there() -> None:
    for name in seerkit.__all__:
        assert getattr(seerkit, name)
