"""Stores that are appended to, killed, filled up, damaged, kept as JPEG: nothing is lost and nothing made up."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from seerkit.cli import app
from seerkit.data.check import check, tails
from seerkit.data.convert import convert
from seerkit.data.formats import open_source
from seerkit.data.rows import take
from seerkit.data.source import Segment
from seerkit.data.split import spans, split_spans
from seerkit.data.store import Conventions, Store, StoreError, array_file
from seerkit.data.windows import Windows
from seerkit.data.writer import StoreWriter, merge
from tests.conftest import ROOT
from tests.data import made

EPISODES = made.episodes(4, (6, 9, 7, 5), size=(24, 32), wrist=(16, 16))
CONVENTIONS = Conventions(cameras={"primary": (3, 24, 32), "wrist": (3, 16, 16)})


def add(writer: StoreWriter, number: int, *, seed: int | None = None) -> None:
    episode = EPISODES[number]
    about = {"instruction": episode["instruction"], "seed": number if seed is None else seed, "task": "made"}
    writer.add(episode["images"], episode["state"], episode["action"], **about)


def write(path: Path, numbers: tuple[int, ...] = (0, 1, 2, 3), **options: object) -> Store:
    with StoreWriter(path, CONVENTIONS, **options) as writer:  # pyright: ignore[reportArgumentType]
        for number in numbers:
            add(writer, number)
    return Store(path)


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def python(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script that knows this module as ``here``."""
    head = "import os, signal, sys\nfrom pathlib import Path\nfrom tests.data import test_robust as here\n"
    code = head + "from seerkit.data.writer import StoreWriter\n" + textwrap.dedent(script)
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)


# Appending


@pytest.mark.parametrize("frames", ["raw", "jpeg"])
def test_appending_is_writing_at_once(tmp_path: Path, frames: str) -> None:
    whole = write(tmp_path / "whole", frames=frames)
    for numbers in ((0,), (1, 2), (3,)):
        write(tmp_path / "grown", numbers, frames=frames, append=True)
    assert contents(tmp_path / "grown") == contents(tmp_path / "whole")
    assert not list(check(whole))


def test_readers_see_only_what_is_committed(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store", CONVENTIONS, append=True) as writer:
        add(writer, 0)
        with pytest.raises(StoreError, match="not a store"):
            Store(tmp_path / "store")
        writer.commit()
        add(writer, 1)
        before = Store(tmp_path / "store")
        assert len(before.episodes) == 1
        assert any("not committed" in note for note in tails(before))
        writer.commit()
        assert len(Store(tmp_path / "store").episodes) == 2
        assert len(before.episodes) == 1
    assert tails(Store(tmp_path / "store")) == []


@pytest.mark.parametrize("moment", ["after the arrays", "in the middle of an array", "before the commit"])
def test_a_kill_while_appending_loses_only_what_was_not_committed(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "store"
    write(path, (0, 1))
    before = contents(path)
    script = """
        from seerkit.data.pages import Pages
        die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        moment = sys.argv[2]
        if moment == "after the arrays":
            Pages.note = die
        if moment == "before the commit":
            Pages.commit = die
        with StoreWriter(sys.argv[1], here.CONVENTIONS, append=True) as writer:
            if moment == "in the middle of an array":
                file = next(file for name, file in writer._pages._files.items() if name.name == "wrist.memmap")
                file.write(b"torn")
                die()
            here.add(writer, 2)
    """
    assert python(script, path, moment).returncode == -signal.SIGKILL
    assert contents(path) != before
    torn = Store(path)
    assert len(torn.episodes) == 2
    assert tails(torn)
    assert not list(check(torn))
    write(path, (2, 3), append=True)
    assert contents(path) == contents(write(tmp_path / "whole").path)


def test_only_one_appends_at_a_time(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store", CONVENTIONS, append=True) as writer:
        add(writer, 0)
        with pytest.raises(StoreError, match="being written by another process"):
            write(tmp_path / "store", (1,), append=True)
        other = python("here.write(Path(sys.argv[1]), (1,), append=True)", tmp_path / "store")
        assert "being written by another process" in other.stderr
    assert len(write(tmp_path / "store", (1,), append=True).episodes) == 2


def test_an_exception_while_appending_takes_back_what_was_added(tmp_path: Path) -> None:
    path = write(tmp_path / "store", (0,)).path
    before = contents(path)

    def fails() -> None:
        with StoreWriter(path, CONVENTIONS, append=True) as writer:
            add(writer, 1)
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert contents(path) == before


def test_a_bad_episode_does_not_spoil_the_next(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store", CONVENTIONS) as writer:
        add(writer, 0)
        wrong = EPISODES[1]["action"].copy()
        wrong[4, 2] = np.inf
        with pytest.raises(StoreError, match="at step 4"):
            writer.add(EPISODES[1]["images"], EPISODES[1]["state"], wrong, instruction="x")
        for number in (1, 2, 3):
            add(writer, number)
    assert contents(tmp_path / "store") == contents(write(tmp_path / "whole").path)


def test_a_sentence_may_hold_any_character(tmp_path: Path) -> None:
    sentence = "lift\u2028the \x85 block\n„sofort“ \x1c"
    with StoreWriter(tmp_path / "store", CONVENTIONS) as writer:
        writer.add(EPISODES[0]["images"], EPISODES[0]["state"], EPISODES[0]["action"], instruction=sentence)
    assert Store(tmp_path / "store").episodes[0].instruction == sentence


# JPEG


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


# Conversion


def test_a_killed_conversion_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    source = write(tmp_path / "source")
    script = """
        from seerkit.data import convert as module
        from seerkit.data.store import Store
        module.COMMIT_EVERY = 0.0
        copied = []
        def told(done, total):
            copied.append(done)
            if len(copied) > 3:
                os.kill(os.getpid(), signal.SIGKILL)
        module.convert(Store(sys.argv[1]), sys.argv[2], progress=told)
    """
    assert python(script, source.path, tmp_path / "out").returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    draft = tmp_path / ".out.converting"
    done = len(Store(draft).episodes)
    assert 0 < done < 4
    told: list[int] = []
    convert(source, tmp_path / "out", progress=lambda steps, _: told.append(steps))
    assert told[0] == Store(tmp_path / "source").episodes[done].start, "it went on where it stopped"
    convert(source, tmp_path / "at-once")
    assert contents(tmp_path / "out") == contents(tmp_path / "at-once")
    assert {entry.name for entry in tmp_path.iterdir()} == {"source", "out", "at-once"}


def test_an_interrupted_conversion_of_something_else_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "source")
    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "out", progress=_interrupt)
    with pytest.raises(StoreError, match=r"interrupted copy .*which has changed or is not .*remove it to start over"):
        convert(source, tmp_path / "out", frames="jpeg")
    write(tmp_path / "source", (0,), append=True)
    with pytest.raises(StoreError, match="which has changed"):
        convert(Store(tmp_path / "source"), tmp_path / "out")
    array = array_file(tmp_path / "same", ("observation", "image", "wrist"))
    write(tmp_path / "same")
    with pytest.raises(KeyboardInterrupt):
        convert(Store(tmp_path / "same"), tmp_path / "other", progress=_interrupt)
    content = bytearray(array.read_bytes())
    content[7] ^= 1
    array.write_bytes(content)
    with pytest.raises(StoreError, match="which has changed"):
        convert(Store(tmp_path / "same"), tmp_path / "other")


def _interrupt(done: int, _: int) -> None:
    if done:
        raise KeyboardInterrupt


# The disk


@pytest.mark.parametrize("append", [False, True])
def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path, append: bool) -> None:
    if append:
        write(tmp_path / "store", (0,))
    before = contents(tmp_path)
    script = """
        import resource
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
        here.write(Path(sys.argv[1]), (1, 2, 3), append=sys.argv[2] == "True")
    """
    result = python(script, tmp_path / "store", append)
    assert "StoreError" in result.stderr
    assert "primary.memmap: cannot be written: [Errno 27] File too large" in result.stderr
    assert contents(tmp_path) == before


def test_a_full_disk_while_converting_keeps_what_was_copied(tmp_path: Path) -> None:
    source = write(tmp_path / "source")
    script = """
        import resource
        from seerkit.data import convert as module
        module.COMMIT_EVERY = 0.0
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
        module.convert(module.Store(sys.argv[1]), sys.argv[2])
    """
    assert "cannot be written" in python(script, source.path, tmp_path / "out").stderr
    assert not (tmp_path / "out").exists()
    assert len(Store(tmp_path / ".out.converting").episodes) == 2
    convert(source, tmp_path / "out")
    convert(source, tmp_path / "at-once")
    assert contents(tmp_path / "out") == contents(tmp_path / "at-once")


def test_a_target_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    source = write(tmp_path / "source", (0,))
    (tmp_path / "file").write_text("in the way")
    for parent in (Path("/proc/seerkit"), tmp_path / "file"):
        with pytest.raises(StoreError, match=rf"{parent}/\.?store.* cannot be written"):
            write(parent / "store", (0,))
        with pytest.raises(StoreError, match=rf"{parent}/\.?store.* cannot be written"):
            write(parent / "store", (0,), append=True)
        with pytest.raises(StoreError, match=rf"{parent}/\.?store.* cannot be written"):
            convert(source, parent / "store")


# Damage


def test_every_flipped_byte_is_found_and_named(tmp_path: Path) -> None:
    store = write(tmp_path / "store")
    for array in ("observation/image/primary", "observation/image/wrist", "observation/state", "action", "is_init"):
        file = array_file(store.path, tuple(array.split("/")))
        content = file.read_bytes()
        place = len(content) * store.episodes[2].start // len(store) + 2
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        found = list(check(Store(store.path)))
        assert [(one.episode, one.array) for one in found] == [(2, array)], array
        assert "damaged" in found[0].text
        file.write_bytes(content)
    table = store.path / "episodes.jsonl"
    table.write_text(table.read_text().replace("drawer", "drawet"))
    found = list(check(Store(store.path)))
    assert [(one.episode, one.array) for one in found] == [(None, "episodes.jsonl")]


def test_a_flipped_byte_of_a_jpeg_is_found(tmp_path: Path) -> None:
    store = write(tmp_path / "store", frames="jpeg")
    file = tmp_path / "store" / "steps" / "observation" / "image" / "wrist.jpeg"
    content = bytearray(file.read_bytes())
    content[-20] ^= 8
    file.write_bytes(content)
    assert [one.episode for one in check(Store(store.path))] == [3]


def test_the_command_checks(tmp_path: Path) -> None:
    store = write(tmp_path / "store")
    assert "ok" in CliRunner().invoke(app, ["data", "check", str(store.path)]).output
    with array_file(store.path, ("action",)).open("ab") as file:
        file.write(b"tail")
    told = CliRunner().invoke(app, ["data", "check", str(store.path)])
    assert told.exit_code == 0
    assert "note steps/action.memmap has 4 bytes that do not count: not committed" in told.output
    with array_file(store.path, ("action",)).open("r+b") as file:
        file.write(b"x")
    told = CliRunner().invoke(app, ["data", "check", str(store.path)])
    assert told.exit_code == 1
    assert "episode 0 action: checksum" in told.output


# Segments, shares, parts of a source


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


# Others


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
