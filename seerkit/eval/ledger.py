"""What an evaluation has played so far, on disk, so that it can be stopped at any moment and goes on."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from seerkit.eval.compare import differing
from seerkit.eval.records import Attempt, Episode, Latency, Recording
from seerkit.eval.report import finite, write_atomic

NAME, FILMS = "sequences.jsonl", "films"
SCHEMA, VERSION = "seerkit.eval.sequences", 1
PLAIN, FORESEEING = "answers_ms", "foreseeing_ms"
"""Under which names an episode's line has how long answers took, without and with the foresight drawn."""


class Ledger:
    """Keep every episode as one line as soon as it has ended, and its film beside it.

    Args:
        folder: where; made if it is not there.
        of: everything that decides how an episode goes, in plain values.
        fresh: whether to forget what the folder holds, once the environment has been made (see `settle`).

    Raises:
        ValueError: if the folder holds episodes of another evaluation (says what differs), or something else.
        RuntimeError: if another process is writing there.

    Attributes:
        episodes: index -> how it went.
        environment: what the environment said of itself; None before `settle`.
        seconds: how long all of it took.
    """

    def __init__(self, folder: Path | str, of: Mapping[str, Any], *, fresh: bool = False) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = self.folder / NAME
        self.episodes: dict[int, Episode] = {}
        self.environment: dict[str, Any] | None = None
        self.seconds = 0.0
        self._head = {"schema": SCHEMA, "version": VERSION, "of": finite(of)}
        self._warm_up: float | None = None
        self._answers: dict[str, list[float]] = {PLAIN: [], FORESEEING: []}
        self._cold = True
        self._file: BinaryIO | None = None
        self._lock = (self.folder / f".{NAME}.lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise RuntimeError(f"another evaluation is writing to {self.folder}; choose another --out") from error
        try:
            if self.path.exists() and not fresh:
                self._read()
        except BaseException:
            self._lock.close()
            raise

    def _read(self) -> None:
        for number, line in enumerate(self._lines()):
            if number == 0:
                self._compare(line)
            elif "environment" in line:
                self.environment = line["environment"]
            else:
                self._count(line)
                episode = _episode(line)
                self.episodes[episode.index] = episode

    def _count(self, line: dict[str, Any]) -> None:
        """Take the times out of an episode's line."""
        self.seconds += line.pop("seconds")
        warm_up = line.pop("warm_up_ms", None)
        self._warm_up = warm_up if self._warm_up is None else self._warm_up
        for kind, answers in self._answers.items():
            answers += line.pop(kind, [])

    def _lines(self) -> Iterator[dict[str, Any]]:
        """Read all lines, and cut off one that was being written when the process was killed."""
        whole = self.path.read_bytes()
        kept = whole[: whole.rfind(b"\n") + 1]
        if kept != whole:
            write_atomic(self.path, kept)
        for number, line in enumerate(kept.splitlines(), start=1):
            try:
                told = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{self.path}, line {number}: {error}; begin anew with --fresh") from error
            if not isinstance(told, dict) or (number > 1 and not told.keys() & {"environment", "attempts"}):
                raise ValueError(f"{self.path}, line {number}, is no episode; begin anew with --fresh")
            yield told

    def _compare(self, found: Mapping[str, Any]) -> None:
        if (found.get("schema"), found.get("version")) != (SCHEMA, VERSION):
            raise ValueError(f"{self.path} holds no episodes this version of seerkit reads; begin anew with --fresh")
        self._refuse_other(found["of"], self._head["of"])

    def _refuse_other(self, found: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        told = "; ".join(f"{one.name}: there {one.first!r}, now {one.second!r}" for one in differing(found, now))
        if told:
            raise ValueError(
                f"{self.folder} holds episodes of another evaluation ({told}); choose another --out, or begin anew "
                "with --fresh"
            )

    def settle(self, environment: Mapping[str, Any]) -> None:
        """Note what the environment says of itself, once it has been made; it must be what it was.

        Nothing is written before, and what the folder held is not forgotten before: a simulator that does not start
        costs nobody his results.

        Raises:
            ValueError: if it is another, drawn by another device, say.
        """
        said = finite(environment)
        if self.environment is None:
            shutil.rmtree(self.folder / FILMS, ignore_errors=True)  # those of an evaluation that is now forgotten
            lines = (self._head, {"environment": said})
            write_atomic(self.path, "".join(json.dumps(line) + "\n" for line in lines).encode())
            self.environment = said
        else:
            self._refuse_other(self.environment, said)
        self._file = self.path.open("ab")

    def add(
        self, episode: Episode, film: Recording | None, *, seconds: float, answers: Sequence[tuple[bool, float]] = ()
    ) -> None:
        """Note an episode that has ended. Its line is on disk when this returns, and its film before its line.

        Args:
            episode: how it went.
            film: of it, if it was filmed.
            seconds: how long since the one before.
            answers: the actor's since the one before: whether each also drew the foresight, and how long it took in
                seconds. The very first after the ledger was opened is noted as warm-up.
        """
        if film is not None:
            self._keep(episode.index, film)
        timed = [(FORESEEING if foresaw else PLAIN, round(1e3 * took, 3)) for foresaw, took in answers]
        line: dict[str, Any] = {**episode.to_dict(), "seconds": seconds}
        if self._cold and timed:
            self._cold, line["warm_up_ms"] = False, timed.pop(0)[1]
        for kind in self._answers:
            line[kind] = [took for drawn, took in timed if drawn == kind]
        self._write(line)
        self._count(line)
        self.episodes[episode.index] = episode

    def latency(self, *, rows: int) -> Latency | None:
        """Sum up the answers of all runs; None if there was none after the first of each.

        Args:
            rows: environments answered per call.
        """
        plain, drawing = self._answers[PLAIN], self._answers[FORESEEING]
        if self._warm_up is None or not (plain or drawing):
            return None
        return Latency(tuple(plain or drawing), self._warm_up, rows, not plain)

    def film(self, index: int) -> Recording | None:
        """Read the film of an episode, None if there is none."""
        path = self._film(index)
        if not path.is_file():
            return None
        with np.load(path) as arrays:
            head = json.loads(str(arrays["head"]))
            frames = {name: arrays[f"frames/{name}"] for name in head["cameras"]}
            foresight = {name: arrays[f"foresight/{name}"] for name in head["foreseen"]}
        return Recording(_episode(head["episode"]), frames, foresight, head["ahead"])

    def close(self) -> None:
        """Let others write."""
        if self._file is not None:
            self._file.close()
        self._lock.close()

    def _film(self, index: int) -> Path:
        return self.folder / FILMS / f"{index:06d}.npz"

    def _keep(self, index: int, film: Recording) -> None:
        path = self._film(index)
        path.parent.mkdir(exist_ok=True)
        head = {"episode": film.episode.to_dict(), "ahead": film.ahead}
        told = json.dumps({**head, "cameras": list(film.frames), "foreseen": list(film.foresight)})
        arrays: dict[str, Any] = {f"frames/{name}": seen for name, seen in film.frames.items()}
        arrays |= {f"foresight/{name}": drawn for name, drawn in film.foresight.items()}
        draft = path.with_suffix(".tmp")
        with draft.open("wb") as file:
            np.savez_compressed(file, **{**arrays, "head": np.array(told)})
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._file is None:
            raise RuntimeError("expected settle() before add()")
        self._file.write((json.dumps(finite(line)) + "\n").encode())
        self._file.flush()
        os.fsync(self._file.fileno())


def _episode(told: Mapping[str, Any]) -> Episode:
    fields = {name: told[name] for name in ("index", "seed", "task", "instruction", "success", "steps")}
    attempts = tuple(Attempt(**attempt) for attempt in told.get("attempts", ()))
    return Episode(**fields, asked=told.get("asked", 0), attempts=attempts, actions=told.get("actions", ""))
