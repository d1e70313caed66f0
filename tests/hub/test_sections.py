"""A recipe of the Hub is looked at as it is written, before anything in it is worked out."""

from __future__ import annotations

import copy
from importlib import import_module
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from seerkit import Policy, load_recipe
from seerkit.hub import CheckpointError
from seerkit.hub.trust import check_recipe
from seerkit.recipe import RecipeError, resolve
from tests.hub.loopback import Loopback
from tests.small import small_recipe

REPO = "eve/policy"
TREE = small_recipe("seer_tabletop").config


def of_the_hub(hub: Loopback, tree: dict[str, Any]) -> None:
    hub.put(REPO, {"recipe.yaml": yaml.safe_dump(tree, sort_keys=False).encode()})


def test_sizes_are_looked_at_before_they_are_worked_out(hub: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text times thousands of cameras, for many groups, would fill any memory before anybody looked."""
    tree = copy.deepcopy(dict(TREE))
    tree["cameras"] = [f"c{i}" for i in range(2_000)]
    tree["layout"]["context"] = {f"g{i}": {"per_camera": "x" * 9_000} for i in range(90)}
    monkeypatch.setattr(
        import_module("seerkit.hub.pull"), "load_recipe", lambda *_: pytest.fail("the recipe was worked out")
    )
    of_the_hub(hub, tree)
    with pytest.raises(CheckpointError, match="cameras has 2,000 names; at most 16"):
        Policy.from_pretrained(REPO, endpoint=hub.address)


@pytest.mark.parametrize("size", ["xx", True, 0, -1, 1.5, None, {"primary": 3}, {"primary": "x", "wrist": "y"}])
def test_sizes_per_camera_are_whole_numbers(size: object) -> None:
    tree = copy.deepcopy(dict(load_recipe("seer_calvin").config))
    tree["layout"]["context"]["image"] = {"per_camera": size}
    with pytest.raises(RecipeError, match="per_camera is a whole number from 1 on"):
        resolve(OmegaConf.create(tree))


@pytest.mark.parametrize("per_camera", [9_000, {"primary": 9_000, "wrist": 9_000}])
def test_a_window_is_measured_before_it_is_worked_out(per_camera: object) -> None:
    tree = copy.deepcopy(dict(TREE))
    tree["layout"]["context"]["image"] = {"per_camera": per_camera}
    with pytest.raises(CheckpointError, match=r"a window of [\d,]+ tokens"):
        check_recipe(tree, source="it")


@pytest.mark.parametrize(("deep", "fine"), [(28, True), (29, False)])
def test_layers_count_together(deep: int, fine: bool) -> None:
    """Each stack alone would pass."""
    tree = copy.deepcopy(dict(load_recipe("seer_calvin").config))
    already = 12 + 3 + 24 + 2
    tree["heads"]["action"]["module"]["x"] = [{"depth": deep}, {"layers": [deep] * 6}, {"blocks": 256 - already - 196}]
    if fine:
        check_recipe(tree, source="it")
    else:
        with pytest.raises(CheckpointError, match="263 layers together; at most 256"):
            check_recipe(tree, source="it")


def test_sizes_may_be_written_per_camera() -> None:
    tree = copy.deepcopy(dict(TREE))
    size = tree["layout"]["context"]["image"]
    tree["layout"]["context"]["image"] = {"per_camera": size // len(tree["cameras"])}
    check_recipe(tree, source="it")
    assert resolve(OmegaConf.create(tree)).config["layout"]["context"]["image"] == size
