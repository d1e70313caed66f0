"""The windows a recipe is trained on: which spans of which data, cut how."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from seerkit.data.conventions import Conventions, check_conventions
from seerkit.data.mixture import Mixture
from seerkit.data.official import OfficialWindows
from seerkit.data.pauses import moving, thinned
from seerkit.data.rows import Picked
from seerkit.data.source import Source, StoreError
from seerkit.data.split import spans, split_spans
from seerkit.data.toggles import around_toggles
from seerkit.data.windows import Windows
from seerkit.recipe import foresight_ahead, foresight_target
from seerkit.train.features import open_features
from seerkit.train.settings import Settings

if TYPE_CHECKING:
    from seerkit.policy import Policy

ANNOTATION = "annotation"
"""A recipe's ``data.language`` if every span keeps its own sentence; any other text is said to all of them."""

LOADERS = ("all", "official")
"""A recipe's ``data.loader``: every window, or those that the official Seer's loaders cut."""
PAUSES = ("keep", "drop")
"""A recipe's ``data.pauses``: whether steps at which nothing happens are learned from."""


def mixed_windows(
    policy: Policy | nn.Module, sources: Sequence[Source], settings: Settings, weights: Sequence[float] | None = None
) -> tuple[Windows | Mixture, Windows | Mixture | None, list[str]]:
    """Cut several data sets and mix their windows; see `training_windows` and `seerkit.data.mixture.Mixture`.

    What is held out is taken from every data set, and each of these windows is looked at once.

    Args:
        policy: what is to be trained.
        sources: recorded episodes.
        settings: the hold-out and the seed are read.
        weights: share of each among the windows drawn; in proportion to their sizes if not given.
    """
    if not sources:
        raise ValueError("there is nothing to learn from: no data set was given")
    kept, held, sentences = zip(*(training_windows(policy, source, settings) for source in sources), strict=True)
    if len(sources) == 1 and weights is None:
        return kept[0], held[0], sentences[0]
    aside = [windows for windows in held if windows is not None]
    together = sorted({sentence for some in sentences for sentence in some})
    return Mixture(kept, weights), Mixture(aside) if aside else None, together


def training_windows(
    policy: Policy | nn.Module, source: Source, settings: Settings
) -> tuple[Windows, Windows | None, list[str]]:
    """Cut a data set into the windows a policy's recipe asks for.

    Args:
        policy: what is to be trained.
        source: recorded episodes.
        settings: the hold-out, the seed and the length of trajectories are read.

    Returns:
        The windows to train on, those held out (``None`` without a hold-out), and the sentences of the whole data set.

    Raises:
        StoreError: the data lacks what the recipe needs.
        ConventionError: its numbers mean something else.
    """
    config: dict[str, Any] = policy.recipe.config  # pyright: ignore[reportAssignmentType, reportAttributeAccessIssue]
    data = config.get("data") or {}
    _check_fits(source, config)
    if settings.trajectory_chunk and data.get("loader") == "official":
        raise ValueError(
            "data.loader=official cuts single windows; expected train.trajectory_chunk=0, or data.loader=all"
        )
    whole, rows = source, None
    if _pauses(data) == "drop":
        kept_steps, carried = moving(whole)
        source, rows = thinned(whole, kept_steps, carried), kept_steps.nonzero().flatten()
    chosen = spans(source, data.get("segments") or "labelled")
    fraction = 1.0 if data.get("fraction") is None else data["fraction"]
    kept, held = split_spans(source, chosen, holdout=settings.holdout, seed=settings.seed, fraction=fraction)
    cut = _cut(policy, config)
    longer = {**cut, "steps": cut["steps"] + settings.trajectory_chunk}
    windows = _as_asked(Windows(source, **longer, episodes=kept), config)
    if settings.cached_features:
        features = open_features(policy, whole)  # pyright: ignore[reportArgumentType]
        windows = windows.with_rows({key: one if rows is None else Picked(one, rows) for key, one in features.items()})
    if times := data.get("gripper_events"):
        windows = windows.repeated(around_toggles(windows).repeat(times))
    aside = _as_asked(Windows(source, **cut, episodes=held), config) if held else None
    return windows, aside, source.instructions if cut["sentence"] is None else [cut["sentence"]]


def every_window(policy: Policy | nn.Module, source: Source) -> Windows:
    """Cut all windows of the kind a policy is trained on, held-out ones among them, each once.

    Raises:
        StoreError: the data lacks what the recipe needs.
        ConventionError: its numbers mean something else.
    """
    config: dict[str, Any] = policy.recipe.config  # pyright: ignore[reportAssignmentType, reportAttributeAccessIssue]
    _check_fits(source, config)
    chosen = spans(source, (config.get("data") or {}).get("segments") or "labelled")
    return Windows(source, **_cut(policy, config), episodes=chosen)


def _check_fits(source: Source, config: Mapping[str, Any]) -> None:
    """Make sure that the data means what the recipe expects, and that single windows can be read."""
    check_conventions(config.get("data") or {}, _read(config, source.conventions), where=str(source.path))
    if not source.in_place:
        raise StoreError(
            f"{source.path} ({source.format}) is too slow to read single windows from; convert it once: "
            f"seerkit data convert {source.path} --out STORE"
        )


def _cut(policy: Policy | nn.Module, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the recipe's windows are cut, as `Windows` takes it."""
    language = (config.get("data") or {}).get("language")
    sentence = None if language in (None, ANNOTATION) else str(language)
    cut = {"steps": config["steps"], "chunk": config["chunk"], "ahead": foresight_ahead(config)}
    return {**cut, "cameras": list(config["cameras"]), "goal": _goals(policy), "sentence": sentence}


def _as_asked(windows: Windows, config: Mapping[str, Any]) -> Windows:
    """Cut the windows as the recipe's ``data.loader`` says, and let them give depth if the recipe learns from it."""
    data = config.get("data") or {}
    loader = data.get("loader") or "all"
    if loader not in LOADERS:
        raise ValueError(f"data.loader must be one of {LOADERS}, got {loader!r}")
    if loader == "official":
        if data.get("window") is None:
            raise ValueError("data.loader=official needs data.window: how many steps the official loader cuts")
        windows = OfficialWindows(windows, window=data["window"])
    return _deep(windows, config)


def _pauses(data: Mapping[str, Any]) -> str:
    """Read what a recipe's ``data`` section says of pauses and gripper toggles, and check it."""
    pauses, times = data.get("pauses") or "keep", data.get("gripper_events") or 0
    if pauses not in PAUSES:
        raise ValueError(f"data.pauses must be one of {PAUSES}, got {pauses!r}")
    if isinstance(times, bool) or not isinstance(times, int) or times < 0:
        raise ValueError(f"data.gripper_events must be a count, 0 or more, got {times!r}")
    return pauses


def _read(config: Mapping[str, Any], conventions: Conventions) -> Conventions:
    """Leave out what a recipe without an action head does not read: what an action means."""
    return conventions if config.get("heads", {}).get("action") else dataclasses.replace(conventions, action=())


def _deep(windows: Windows, config: Mapping[str, Any]) -> Windows:
    """Let windows give depth if the recipe learns from it, and make sure that the data has it."""
    if foresight_target(config) != "depth":
        return windows
    if not windows.store.conventions.depth:
        raise StoreError(
            f"recipe {config['meta']['name']!r} foresees depth, but the store {windows.store.path} holds none; record "
            "one with `seerkit collect ... --depth`, or choose another foresight"
        )
    return windows.with_depth()


def _goals(policy: Policy | nn.Module) -> list[str]:
    """Return which goals the policy reads beside its instruction."""
    read: Sequence[Any] = getattr(policy, "inputs", ())
    return sorted({key[1] for key in read if key[0] == "goal"})
