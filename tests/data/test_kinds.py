"""Kinds of stores: frames as JPEG, sentences of spans, the first version; what can be done with them."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from seerkit.cli import app
from seerkit.data.check import check
from seerkit.data.convert import convert
from seerkit.data.formats import open_source
from seerkit.data.rows import take
from seerkit.data.source import Segment
from seerkit.data.split import spans, split_spans
from seerkit.data.store import Conventions, Store, StoreError
from seerkit.data.windows import Windows
from seerkit.data.writer import StoreWriter, merge
from tests.data import made
from tests.data.stores import CONVENTIONS, EPISODES, add, contents, write


def test_jpeg_is_a_seventh_of_the_disk_and_pillows_pixels(tmp_path: Path) -> None:
    episode = made.episodes(1, (12,), size=(200, 200), wrist=(84, 84))[0]
    conventions = Conventions(cameras={"primary": (3, 200, 200), "wrist": (3, 84, 84)})
    sizes = {}
    for kind in ("raw", "jpeg"):
        with StoreWriter(tmp_path / kind, conventions, frames=kind) as writer:  # pyright: ignore[reportArgumentType]
            writer.add(episode["images"], episode["state"], episode["action"], instruction="x")
        sizes[kind] = sum(len(content) for content in contents(tmp_path / kind).values())
    assert sizes["jpeg"] <= 0.15 * sizes["raw"], sizes
    read = take(Store(tmp_path / "jpeg").frames["wrist"], torch.tensor([[3, 11], [0, 3]]))
    for place, step in zip(read.flatten(0, 1), (3, 11, 0, 3), strict=True):
        frame = episode["images"]["wrist"][step]
        buffer = io.BytesIO()
        Image.fromarray(frame.transpose(1, 2, 0)).save(buffer, "JPEG", quality=95, subsampling=0)
        assert np.array_equal(place.permute(1, 2, 0).numpy(), np.asarray(Image.open(buffer)))
        assert np.abs(place.numpy().astype(int) - frame).mean() < 2


def test_windows_of_a_jpeg_store(tmp_path: Path) -> None:
    store = write(tmp_path / "store", frames="jpeg")
    batch = Windows(store, steps=3, chunk=2, ahead=1).gather(torch.tensor([0, 5]))
    assert batch["observation", "image", "primary"].shape == (2, 3, 3, 24, 32)
    raw = write(tmp_path / "raw")
    with pytest.raises(StoreError, match="both keep raw frames or JPEG"):
        merge([store, raw], tmp_path / "both")
    joined = merge([store, store], tmp_path / "joined")
    pictures = take(store.frames["wrist"], torch.tensor([0, 3]))
    assert torch.equal(take(joined.frames["wrist"], torch.tensor([27, 30])), pictures), "not compressed again"
    assert contents(convert(store, tmp_path / "copy", frames="jpeg").path) == contents(store.path)


def labelled(path: Path) -> Store:
    with StoreWriter(path, CONVENTIONS, segments=True) as writer:
        for number in range(4):
            add(writer, number)
            writer.mark(1, 3, f"do {number}", task="one")
            writer.mark(2, 2, f"overlap {number}")
    return Store(path)


def test_segments_are_kept_and_may_overlap(tmp_path: Path) -> None:
    store = labelled(tmp_path / "store")
    assert store.segments is not None
    assert store.segments[2] == Segment(7, 3, "do 1", 1, "one")
    assert not list(check(store))
    copy = convert(store, tmp_path / "copy")
    assert copy.segments == store.segments
    twice = merge([store, copy], tmp_path / "twice")
    assert twice.segments is not None
    assert [(span.start, span.episode) for span in twice.segments[8:10]] == [(28, 4), (29, 4)]
    free = [(span.start, span.length) for span in spans(store, "unlabelled")]
    assert free == [(0, 1), (4, 2), (6, 1), (10, 5), (15, 1), (19, 3), (22, 1), (26, 1)]
    assert [span.length for span in spans(store, "all")] == [6, 9, 7, 5]
    kept, held = split_spans(store, spans(store), holdout=0.25, seed=1, fraction=0.5)
    assert len(kept) == 3
    assert len(held) == 2


def test_a_segment_outside_its_episode_is_refused(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store", CONVENTIONS, segments=True) as writer:
        add(writer, 0)
        for start, length in ((-1, 2), (0, 0), (5, 2)):
            with pytest.raises(StoreError, match="must lie in 0"):
                writer.mark(start, length, "x")
    with StoreWriter(tmp_path / "plain", CONVENTIONS) as writer:
        add(writer, 0)
        with pytest.raises(StoreError, match="segments=True"):
            writer.mark(0, 1, "x")


def test_only_some_steps(tmp_path: Path) -> None:
    store = labelled(tmp_path / "store")
    kept = torch.ones(len(store), dtype=torch.bool)
    kept[:6], kept[8] = False, False
    part = store.only(kept)
    assert [episode.length for episode in part.episodes] == [8, 7, 5]
    assert part.segments is not None
    assert part.segments[0] == Segment(1, 2, "do 1", 0, "one")
    rows = kept.nonzero().flatten()
    assert torch.equal(take(part.arrays()["action",], torch.arange(20)), store.action[rows])
    with pytest.raises(StoreError, match="no step would be left of 27"):
        store.only(torch.zeros(27, dtype=torch.bool))


def test_torchrl_samples_slices_of_a_store(tmp_path: Path) -> None:
    from tensordict import TensorDict
    from torchrl.data import SliceSampler, TensorDictReplayBuffer, TensorStorage

    store = write(tmp_path / "store")
    steps = TensorDict.load_memmap(store.path / "steps")
    number = torch.repeat_interleave(torch.arange(4), torch.tensor([episode.length for episode in store.episodes]))
    steps = steps.copy().set("episode", number)
    sampler = SliceSampler(slice_len=4, traj_key="episode")
    buffer = TensorDictReplayBuffer(storage=TensorStorage(steps), sampler=sampler, batch_size=32)
    sample = buffer.sample().view(8, 4)
    for piece in sample:
        assert len(set(piece["episode"].tolist())) == 1
        episode = EPISODES[int(piece["episode"][0])]["action"]
        starts = [row for row in range(len(episode) - 3) if np.array_equal(episode[row : row + 4], piece["action"])]
        assert starts, "four steps of one episode, in order"


def test_stores_of_the_first_version_are_read_and_appended_to(tmp_path: Path) -> None:
    store = write(tmp_path / "store", (0, 1))
    meta = json.loads((store.path / "store.json").read_text())
    for name in ("tables", "frames"):
        del meta[name]
    (store.path / "store.json").write_text(json.dumps({**meta, "version": 1}))
    lines = [json.loads(line) for line in (store.path / "episodes.jsonl").read_text().splitlines()]
    old = "".join(json.dumps({k: v for k, v in line.items() if k != "checksums"}) + "\n" for line in lines)
    (store.path / "episodes.jsonl").write_text(old)
    read = Store(store.path)
    assert read.episodes == store.episodes
    assert not list(check(read))
    grown = write(store.path, (2,), append=True)
    assert [episode.length for episode in grown.episodes] == [6, 9, 7]
    assert not list(check(grown))
    assert np.array_equal(grown.episode(2)["action",].numpy(), EPISODES[2]["action"])


def test_the_commands_join_divide_and_show(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", (0, 1)).path, write(tmp_path / "b", (2, 3)).path

    def run(*arguments: object) -> str:
        result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["data", *map(str, arguments)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    run("merge", a, b, "--out", tmp_path / "both")
    assert contents(tmp_path / "both") == contents(write(tmp_path / "whole").path)
    shown = run("info", tmp_path / "both")
    assert "4 episodes" in shown
    assert "27 steps" in shown
    assert EPISODES[0]["instruction"] in shown
    run("split", tmp_path / "both", "--out", tmp_path / "sides", "--holdout", 0.25)
    train, held = Store(tmp_path / "sides" / "train"), Store(tmp_path / "sides" / "held-out")
    assert (len(train.episodes), len(held.episodes)) == (3, 1)
    assert {e.seed for e in train.episodes} | {e.seed for e in held.episodes} == {0, 1, 2, 3}
    run("convert", tmp_path / "both", "--out", tmp_path / "small", "--frames", "jpeg")
    assert open_source(tmp_path / "small").instructions == Store(tmp_path / "both").instructions


def test_dividing_what_cannot_be_divided_leaves_nothing(tmp_path: Path) -> None:
    store = write(tmp_path / "store", (0,))
    result = CliRunner().invoke(app, ["data", "split", str(store.path), "--out", str(tmp_path / "sides")])
    assert isinstance(result.exception, StoreError)
    assert os.listdir(tmp_path) == ["store"]


def test_a_path_that_is_missing_comes_with_the_nearest_one(tmp_path: Path) -> None:
    write(tmp_path / "demos")
    with pytest.raises(StoreError, match=r"demoes does not exist; did you mean .*/demos\?"):
        open_source(tmp_path / "demoes")
    with pytest.raises(StoreError, match=r"nowhere/at_all does not exist$"):
        open_source(tmp_path / "nowhere" / "at_all")


def test_a_long_episode_shows_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seerkit.data.writer.BLOCK", 3)
    source = write(tmp_path / "demos", numbers=(0, 1))
    told: list[tuple[int, int]] = []
    convert(source, tmp_path / "copy", progress=lambda done, total: told.append((done, total)))
    ends = [start + min(3 * n, length) for start, length in _spans(source) for n in range(1, -(-length // 3) + 1)]
    assert told == [(done, len(source)) for done in [0, *ends]]


def _spans(store: Store) -> list[tuple[int, int]]:
    return [(episode.start, episode.length) for episode in store.episodes]
