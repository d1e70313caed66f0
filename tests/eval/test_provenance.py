"""What a report says of where its numbers come from, and what others published."""

import pytest

from seerkit import load_recipe
from seerkit.eval.html import render
from seerkit.eval.provenance import conventions, mismatches, sampler
from seerkit.eval.published import METRICS, NUMBERS, RATE, benchmark_of, published
from seerkit.eval.records import Episode, Rollout
from seerkit.eval.report import Report
from seerkit.eval.rollout import rollout
from seerkit.eval.scene import Scene
from seerkit.recipe import list_recipes
from tests.eval.fakes import FakeAgent, FakeReach


class Spoken(FakeReach):
    """An environment that says what its numbers mean, and what draws it."""

    settings = {"button": "head"}  # noqa: RUF012 - an attribute, as environments have it
    metadata = {"render_fps": 20}  # noqa: RUF012 - gymnasium's own declaration
    renderer = "EGL, llvmpipe"
    simulator = "theirs 1.0"
    state_names = ("x [m]", "y [m]", "z [m]", "rx [rad]", "ry [rad]", "rz [rad]", "gripper")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_rollout_keeps_what_its_environment_says_of_itself(workers: int) -> None:
    played = rollout(FakeAgent(max(1, workers)), Scene(Spoken, horizon=5, start="fork"), episodes=2, workers=workers)
    assert played.environments == {
        "Spoken": {
            "settings": {"button": "head"},
            "frames": {"primary": [3, 16, 16], "wrist": [3, 16, 16]},
            "state": "pose_gripper",
            "fps": 20.0,
            "action_scale": [0.02, 0.05],
            "gripper": "+1 open, -1 closed",
            "axes": "tool's axes",
            "renderer": "EGL, llvmpipe",
            "simulator": "theirs 1.0",
        }
    }


def test_a_number_that_means_something_else_is_a_warning() -> None:
    said = {"Reach": {"state": "pose_gripper", "fps": 20.0, "action_scale": [0.02, 0.05], "gripper": None}}
    config = {"data": {"state": "pose_fingers", "fps": 20, "gripper": "-1 open, +1 closed"}}
    assert mismatches(config, said) == [
        "state: the recipe means 'pose_fingers', the environment Reach gives 'pose_gripper'."
    ]
    told = conventions(config, said)
    assert told["policy"]["action_scale"] is None
    assert told["environments"]["Reach"]["fps"] == 20.0
    assert mismatches({}, said) == mismatches({"data": {}}, {}) == []


def test_a_head_that_samples_says_how() -> None:
    assert sampler(load_recipe("seer_tabletop").config) is None
    told = sampler(load_recipe("seer_tabletop", "action=diffusion").config)
    assert told is not None
    assert told["sampling_steps"] == 10
    assert told["_target_"] == "seerkit.head.DiffusionHead"
    assert "episode's seed" in told["noise"]


@pytest.mark.parametrize(
    ("names", "split", "benchmark"),
    [
        (["calvin_d"], "ABC_D", "CALVIN ABC->D"),
        (["seerkit/Calvin-D-v0"], "ABCD_D", "CALVIN ABCD->D"),
        (["seerkit/Calvin-D-v0"], "D_D", None),
        (["seerkit/Calvin-A-v0"], "ABC_D", None),
        (["libero_10"], None, "LIBERO-LONG"),
        (["libero_100"], None, None),
        (["libero_10", "libero_90"], None, None),
        (["seerkit/Tabletop-Reach-v0"], None, None),
    ],
)
def test_published_numbers_stand_only_beside_their_own_benchmark(
    names: list[str], split: str | None, benchmark: str | None
) -> None:
    assert benchmark_of(names, split=split) == benchmark
    numbers = published(benchmark)
    assert bool(numbers) == (benchmark is not None)
    assert all(number.benchmark == benchmark for number in numbers)


def test_every_published_number_has_its_source_and_fits_its_metric() -> None:
    for number in NUMBERS:
        assert number.source
        assert 0 < number.value <= (100 if METRICS[number.benchmark] == RATE else 5)
        if number.in_a_row:  # the average length is the sum of the shares
            assert sum(number.in_a_row) / 100 == pytest.approx(number.value, abs=0.0101)
            assert list(number.in_a_row) == sorted(number.in_a_row, reverse=True)


def test_published_numbers_are_those_of_the_ablation_rows() -> None:
    """Two places of this library quote the same paper."""
    rows = [load_recipe(name).config["meta"] for name in list_recipes() if name.startswith("ablation/seer_table_3a/")]
    quoted = {tuple(number["in_a_row"]) for row in rows for number in row["ablation"]["published"]}
    scratch = next(number for number in NUMBERS if number.policy == "Seer, not pre-trained" and number.in_a_row)
    assert scratch.in_a_row in quoted


def test_the_page_shows_ours_beside_theirs_and_says_whose_is_whose() -> None:
    rollouts = {"trained": Rollout(tuple(Episode(i, i, "libero_10", "", i < 8, 9) for i in range(10)))}
    page = render(Report("Mine", rollouts, benchmark="LIBERO-LONG"))
    table = page.split('id="published"')[1].split("</section>")[0]
    assert "nobody measured these numbers here" in table
    assert table.count("<span>published</span>") == len(published("LIBERO-LONG"))
    assert table.count("<span>here</span>") == 1
    assert "80.0 % (49 to 94 %)" in table
    assert "87.7 %" in table
    chains = render(Report("Mine", rollouts, benchmark="CALVIN ABC->D")).split('id="published"')[1].split("<section")[0]
    assert "<span>here</span>" not in chains  # a success rate is not an average length
    assert "94.4 / 87.2 / 79.9 / 72.2 / 64.3" in chains
    assert 'id="published"' not in render(Report("Mine", rollouts))
