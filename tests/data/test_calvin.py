"""CALVIN folders: every number, span and scene as it was written, however few files are looked at before."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seerkit import keys
from seerkit.data.conventions import ConventionError
from seerkit.data.convert import convert
from seerkit.data.formats import open_source
from seerkit.data.source import Segment, Source, StoreError
from seerkit.data.split import Which, spans
from seerkit.data.windows import Windows
from seerkit.train.loop import train
from seerkit.train.settings import Settings
from tests.data import made_calvin as made
from tests.data.asked import cut
from tests.small import small_policy

Made = list[dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Made]:
    path = tmp_path_factory.mktemp("calvin") / "task_ABC_D"
    return path, made.write_calvin(path / "training")


@pytest.fixture(scope="module")
def play(folder: tuple[Path, Made]) -> Source:
    return open_source(folder[0])


def test_every_number_is_the_one_that_was_written(play: Source, folder: tuple[Path, Made]) -> None:
    assert [episode.length for episode in play.episodes] == list(made.LENGTHS)
    for index, episode in enumerate(folder[1]):
        read = play.episode(index)
        for camera, frames in episode["images"].items():
            assert np.array_equal(read[*keys.IMAGE, camera].numpy(), frames)
        assert np.array_equal(read[keys.STATE].numpy(), episode["state"])
        assert np.array_equal(read[keys.ACTION,].numpy(), episode["action"])


def test_sentences_and_scenes(play: Source) -> None:
    starts = np.cumsum([0, *made.LENGTHS])
    expected = [Segment(starts[e] + a, b - a + 1, text, e, task) for e, a, b, text, task in made.SENTENCES]
    assert play.segments == expected
    assert play.instructions == sorted(text for *_, text, _ in made.SENTENCES)
    assert [episode.task for episode in play.episodes] == ["calvin_scene_A", "calvin_scene_B", "calvin_scene_B"]
    assert {episode.instruction for episode in play.episodes} == {""}


@pytest.mark.parametrize("place", ["except_lang_idx/except_lang_idx.npy", "except_lang_idx.npy"])
def test_listed_spans_without_a_sentence_are_those_that_are_found(
    play: Source, folder: tuple[Path, Made], tmp_path: Path, place: str
) -> None:
    shutil.copytree(folder[0] / "training", tmp_path / "training")
    made.write_between(tmp_path / "training" / place)
    listed = open_source(tmp_path)
    assert spans(listed, "unlabelled") == spans(play, "unlabelled")
    assert spans(listed, "labelled") == spans(play, "labelled")
    few = np.load(tmp_path / "training" / place)[1:3]
    np.save(tmp_path / "training" / place, few)
    assert len(spans(open_source(tmp_path), "unlabelled")) == 2, "the list is taken at its word"
    store = convert(open_source(tmp_path), tmp_path / "store")
    assert spans(store, "unlabelled") == spans(open_source(tmp_path), "unlabelled")


def test_a_listed_span_ends_where_the_episode_does(folder: tuple[Path, Made], tmp_path: Path) -> None:
    shutil.copytree(folder[0] / "training", tmp_path / "training")
    np.save(tmp_path / "training" / "except_lang_idx.npy", np.array([[43, 50], [120, 120]]))
    found = spans(open_source(tmp_path), "unlabelled")
    assert [(span.start, span.length) for span in found] == [(26, 4), (30, 4), (54, 1)]


def test_opening_reads_few_files_and_reading_none_twice(folder: tuple[Path, Made], tmp_path: Path) -> None:
    shutil.copytree(folder[0] / "training", tmp_path / "training")
    ends = {
        f"episode_{first + at:07d}.npz" for first, n in zip(made.FIRST, made.LENGTHS, strict=True) for at in (0, n - 1)
    }
    for file in (tmp_path / "training").glob("episode_*.npz"):
        if file.name not in ends:
            file.unlink()
    source = open_source(tmp_path)
    assert len(source) == sum(made.LENGTHS)
    with pytest.raises(StoreError, match=r"episode_0000018.npz is missing"):
        source.episode(0)


def test_threads_and_processes_read_the_same(play: Source, folder: tuple[Path, Made]) -> None:
    rows = torch.randint(0, len(play), (3, 40))
    alone, sent = open_source(folder[0], threads=1), pickle.loads(pickle.dumps(play))
    for key, array in play.arrays().items():
        for other in (alone, sent):
            assert torch.equal(array.take(rows), other.arrays()[key].take(rows))  # pyright: ignore[reportAttributeAccessIssue]


def test_which_half(folder: tuple[Path, Made], tmp_path: Path) -> None:
    shutil.copytree(folder[0] / "training", tmp_path / "training")
    other = made.write_calvin(tmp_path / "validation", lengths=[22], first=[5], sentences=made.SENTENCES[:1], seed=9)
    assert len(open_source(tmp_path)) == sum(made.LENGTHS)
    for path, options in ((tmp_path, {"split": "validation"}), (tmp_path / "validation", {})):
        source = open_source(path, **options)
        assert np.array_equal(source.episode(0)[keys.STATE].numpy(), other[0]["state"])
    with pytest.raises(StoreError, match=r"has no validation/ep_start_end_ids.npy"):
        open_source(folder[0], split="validation")
    with pytest.raises(ValueError, match="did you mean 'split'"):
        open_source(folder[0], spilt="validation")


def test_depth_in_whole_millimetres(folder: tuple[Path, Made]) -> None:
    deep = open_source(folder[0], depth=True)
    read = deep.episode(2)
    for camera, metres in folder[1][2]["depth"].items():
        given = read[*keys.DEPTH, camera][:, 0].numpy() / 1000.0
        assert np.abs(given - metres).max() <= 0.0005001
        assert read[*keys.DEPTH, camera].dtype == torch.uint16


@pytest.mark.parametrize("which", ["labelled", "unlabelled", "all"])
def test_a_store_gives_the_same_windows(play: Source, tmp_path: Path, which: Which) -> None:
    store = convert(play, tmp_path / "store")
    here, there = (
        Windows(source, steps=5, chunk=3, ahead=3, episodes=spans(source, which)) for source in (play, store)
    )
    assert len(here) == len(there)
    index = torch.randperm(len(here))[:100]
    mine, copied = here.gather(index), there.gather(index)
    assert set(mine.keys(include_nested=True)) == set(copied.keys(include_nested=True))
    for key in mine.keys(include_nested=True, leaves_only=True):
        assert mine[key] == copied[key] if key == keys.INSTRUCTION else torch.equal(mine[key], copied[key])


SETTINGS = Settings(updates=3, batch_size=2, warmup=1, lr=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "overrides"),
    [("seer_calvin", []), ("seer_calvin_pretrain", ["steps=8"]), ("seer_calvin", ["data.loader=official"])],
)
def test_training_reads_the_folder_in_place(
    folder: tuple[Path, Made], tmp_path: Path, recipe: str, overrides: list[str]
) -> None:
    policy = small_policy(recipe, *overrides)
    before = {name: value.clone() for name, value in policy.named_parameters() if value.requires_grad}
    result = train(policy, folder[0], tmp_path / "run", settings=SETTINGS, device="cpu", progress=False)
    assert result.updates == 3
    assert any(not torch.equal(value, before[name]) for name, value in policy.named_parameters() if name in before)


def test_what_the_recipes_are_shown(play: Source) -> None:
    told = cut(play, "seer_calvin")
    assert {*told.gather(torch.arange(len(told)))[keys.INSTRUCTION]} == {*play.instructions}
    mute = cut(play, "seer_calvin_pretrain")
    assert mute.episodes == spans(play, "unlabelled")
    assert {*mute.gather(torch.arange(len(mute)))[keys.INSTRUCTION]} == {"no lang"}


def test_a_tenth_is_a_tenth_of_the_sentences(tmp_path: Path) -> None:
    sentences = [(0, at, at + 14, f"sentence {at}", "task") for at in range(40)]
    made.write_calvin(tmp_path / "training", lengths=[60], first=[0], sentences=sentences)
    source = open_source(tmp_path)
    chosen = [cut(source, "seer_calvin", f"data.fraction={share}").episodes for share in (0.1, 0.5, 1.0)]
    assert [len(some) for some in chosen] == [4, 20, 40]
    starts = [{span.start for span in some if isinstance(span, Segment)} for some in chosen]
    assert starts[0] < starts[1] < starts[2]


def test_a_recipe_of_other_conventions_is_refused(play: Source) -> None:
    with pytest.raises(ConventionError, match=r"data.fps: the recipe expects 20.0, the data has 30.0"):
        cut(play, "seer_libero_long")
