"""Stores that are appended to, killed, filled up, damaged: nothing is lost and nothing made up."""

from __future__ import annotations

import dataclasses
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from seerkit import keys
from seerkit.cli import app
from seerkit.data.check import check, tails
from seerkit.data.convert import convert
from seerkit.data.rows import Picked
from seerkit.data.source import Episode, Segment, Source
from seerkit.data.store import Conventions, Store, StoreError, array_file
from seerkit.data.writer import BLOCK, StoreWriter, copy_episode, merge
from tests.data.stores import CONVENTIONS, EPISODES, add, contents, python, write


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


@pytest.mark.parametrize("kinds", [("raw", "raw"), ("jpeg", "jpeg"), ("raw", "jpeg")])
def test_damage_is_not_copied_as_if_it_were_sound(tmp_path: Path, kinds: tuple[str, str]) -> None:
    store = write(tmp_path / "store", frames=kinds[0])
    convert(store, tmp_path / "sound", frames=kinds[1])
    name = "wrist.memmap" if kinds == ("raw", "raw") else "wrist.jpeg"
    file = (
        tmp_path / "store/steps/observation/image" / name
        if kinds[0] == kinds[1]
        else array_file(store.path, ("action",))
    )
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"episode 1: (observation/image/wrist|action) has not the checksum"):
        convert(Store(store.path), tmp_path / "out", frames=kinds[1])
    with pytest.raises(StoreError, match="has not the checksum"):
        merge([Store(store.path)], tmp_path / "merged")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "merged").exists()


def test_a_long_episode_is_checked_a_few_steps_at_a_time(tmp_path: Path) -> None:
    """What is wrong is named by the episode's step, and the whole is never in memory."""
    state = np.zeros((3 * BLOCK, 7), np.float32)
    with StoreWriter(tmp_path / "store", Conventions(cameras={"primary": (3, 2, 2)})) as writer:
        for _ in range(2):
            frames = np.zeros((len(state), 3, 2, 2), np.uint8)
            writer.add({"primary": frames}, state, state, instruction="go")
    store, asked = Store(tmp_path / "store"), []
    source = dataclasses.replace(store.only(torch.ones(len(store), dtype=torch.bool)), state=_Noted(store.state, asked))
    assert list(check(source)) == []
    assert max(asked) <= BLOCK
    assert list(check(store)) == []
    numbers = np.memmap(array_file(store.path, keys.STATE), np.float32, "r+").reshape(-1, 7)
    numbers[len(state) + BLOCK + 5, 2] = np.nan
    numbers.flush()
    (found,) = check(Store(store.path))
    assert found.episode == 1
    assert found.text.endswith(f"at step {BLOCK + 5}")


class _Noted(Picked):
    """An array that notes how many rows it is asked for."""

    def __init__(self, array: torch.Tensor, asked: list[int]) -> None:
        super().__init__(array, torch.arange(len(array)))
        self._asked = asked

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        self._asked.append(rows.numel())
        return super().take(rows)


def test_a_wrong_kind_of_frames_leaves_nothing(tmp_path: Path) -> None:
    store = write(tmp_path / "store")
    with pytest.raises(ValueError, match="frames must be one of"):
        convert(store, tmp_path / "out", frames="jpg")  # pyright: ignore[reportArgumentType]
    assert [entry.name for entry in tmp_path.iterdir()] == ["store"]
    assert convert(store, tmp_path / "out", frames="jpeg").kind == "jpeg"


def test_copying_asks_for_the_segments_of_an_episode_alone(tmp_path: Path) -> None:
    """As many as CALVIN has, twice over: looking through all of them for each episode would take minutes."""
    count = 20_000
    episodes = [Episode(number, 1, "") for number in range(count)]
    segments = [Segment(number, 1, f"go {number}", number) for number in reversed(range(count))]
    zeros = torch.zeros(count, 7)
    conventions = Conventions(cameras={})
    source = Source(Path("made"), "made", conventions, episodes, {}, zeros, zeros, segments=segments)
    with StoreWriter(tmp_path / "store", conventions, segments=True) as writer:
        began = time.monotonic()
        for number in range(500):
            copy_episode(writer, source, number)
        assert time.monotonic() - began < 3
    assert [one.instruction for one in Store(tmp_path / "store").segments or ()] == [f"go {n}" for n in range(500)]


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
