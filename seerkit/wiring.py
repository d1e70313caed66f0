"""Tie a policy's parts to keys: the stages of acting and of learning, in order."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModule, TensorDictModuleBase
from torch import Tensor, nn

from seerkit import keys
from seerkit.assemble import bind
from seerkit.camera import PixelsAndFuture
from seerkit.layout import Attend, Edge, TokenLayout
from seerkit.recipe import RecipeError

Stages = dict[str, TensorDictModuleBase]


class TrunkStage(TensorDictModuleBase):
    """Run the trunk on the tokens of every context group.

    Args:
        trunk: a `seerkit.trunk.TokenTrunk`.
        layout: names the groups.
        skip: how many steps at the window's end are not read, because their goal lies outside the window.

    Raises:
        ValueError: if the window has no step left to read.
    """

    def __init__(self, trunk: nn.Module, *, layout: TokenLayout, skip: int) -> None:
        self.in_keys = [keys.under(keys.TOKENS, name) for name in layout.context]  # pyright: ignore
        self.out_keys = [keys.under(keys.HIDDEN, name) for name in layout.queries]  # pyright: ignore
        super().__init__()
        self.trunk, self.skip = trunk, skip

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        context = [tensordict[key] for key in self.in_keys]
        steps = max(group.shape[1] for group in context)
        if steps <= self.skip:
            raise ValueError(f"expected a window of more than {self.skip} steps (goal_ahead), got {steps}")
        is_pad = tensordict.get(keys.STEP_IS_PAD, None)
        hidden = self.trunk(*context, at=range(steps - self.skip), is_pad=is_pad)
        for key, value in zip(self.out_keys, hidden, strict=True):
            tensordict[key] = value
        return tensordict


class _Remembered(TensorDictModuleBase):
    """Let an image encoder start from features, where a batch brings them (see `keys.FEATURES`)."""

    def __init__(self, encoder: nn.Module, stage: TensorDictModule, cameras: Collection[str]) -> None:
        self.in_keys, self.out_keys = stage.in_keys, stage.out_keys  # pyright: ignore[reportAttributeAccessIssue]
        super().__init__()
        reads = [keys.under(keys.FEATURES, name) for name in cameras]
        self.stage, self.recalled = stage, bind(_FromFeatures(encoder), reads=reads, writes=[*stage.out_keys])

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        given = set(tensordict.keys(include_nested=True))
        return self.recalled(tensordict) if given.issuperset(self.recalled.in_keys) else self.stage(tensordict)


class _FromFeatures(nn.Module):
    """Call an encoder's ``from_features`` instead of its ``forward``."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, *features: Tensor) -> Any:  # noqa: ANN401 - one tensor or several
        return self.encoder.from_features(*features)  # pyright: ignore[reportCallIssue]


class _NoGradient(nn.Module):
    """Run a module that only makes targets: no gradient ever flows into it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    @torch.no_grad()
    def forward(self, *inputs: Tensor) -> Any:  # noqa: ANN401 - one tensor or several
        return self.module(*inputs)


class _Learn(nn.Module):
    """Call a head's ``learn`` instead of its ``forward``."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        if not hasattr(head, "learn"):
            raise RecipeError(f"a head with a 'learn' section needs a method learn; {type(head).__name__} has none")
        self.head = head

    def forward(self, *inputs: Tensor) -> Any:  # noqa: ANN401 - one tensor or several
        return self.head.learn(*inputs)  # pyright: ignore[reportCallIssue]


def wire(parts: Mapping[str, Any], config: Mapping[str, Any], *, layout: TokenLayout) -> dict[str, Stages]:
    """Bind a policy's modules to their keys, for acting (``"infer"``) and for learning (``"train"``).

    Args:
        parts: ``pixels``, ``encoders``, ``targets``, ``heads`` (name -> module each) and ``trunk``.
        config: the resolved recipe.
        layout: who sees whom.

    Raises:
        RecipeError: if the layout has queries no head reads, or a head with a ``learn`` section has no such method.
    """
    _check_read(layout, config["heads"])
    encoders: Stages = {name: _bound(parts["encoders"][name], part) for name, part in config["encoders"].items()}
    heads: Stages = {name: _bound(parts["heads"][name], part) for name, part in config["heads"].items()}
    learning = {name: _learning(parts["heads"][name], part) for name, part in config["heads"].items() if _learns(part)}
    targets: Stages = {
        f"target_{name}": _bound(_NoGradient(parts["targets"][name]), part)
        for name, part in (config.get("targets") or {}).items()
    }
    trunk = {mode: TrunkStage(parts["trunk"], layout=layout, skip=skip) for mode, skip in _skips(config).items()}
    compares = _compares_pixels(config)
    recalling = {
        name: _Remembered(parts["encoders"][name], stage, config["cameras"])  # pyright: ignore[reportArgumentType]
        for name, stage in encoders.items()
        if hasattr(parts["encoders"][name], "from_features")
    }
    seen = {mode: _pixels(parts["pixels"], pair=compares and mode == "train") for mode in trunk}
    return {
        "infer": {**seen["infer"], **encoders, "trunk": trunk["infer"], **heads},
        "train": {**seen["train"], **encoders, **recalling, **targets, "trunk": trunk["train"], **heads, **learning},
    }


def outside(stages: Mapping[str, TensorDictModuleBase]) -> list[keys.NestedKey]:
    """Return the keys the stages read and none of them writes, in the order they are first read."""
    written: set[Any] = {key for stage in stages.values() for key in stage.out_keys}
    read: dict[Any, None] = {key: None for stage in stages.values() for key in stage.in_keys if key not in written}
    return [*read]


def make_layout(config: Mapping[str, Any]) -> TokenLayout:
    """Turn a recipe's ``layout`` section into a `TokenLayout`."""
    edges = {
        query: {key: Edge(**{**edge, "when": Attend(edge.get("when", "causal"))}) for key, edge in row.items()}
        for query, row in config.get("edges", {}).items()
    }
    order = config.get("interleave") or {}
    return TokenLayout(
        context=config["context"],
        queries=config.get("queries", {}),
        default=Attend(config.get("default", "causal")),
        edges=edges,
        interleave=tuple(order.get("groups", ())),
        shares=order.get("shares", 1),
        untimed=tuple(name for name, untimed in (config.get("untimed") or {}).items() if untimed),
    )


def _skips(config: Mapping[str, Any]) -> dict[str, int]:
    return {"infer": 0, "train": config.get("goal_ahead") or 0}


def _pixels(modules: Mapping[str, nn.Module], *, pair: bool) -> Stages:
    stages: Stages = {}
    for name, module in modules.items():
        image, pixels = keys.under(keys.IMAGE, name), keys.under(keys.PIXELS, name)
        if pair:  # a window and the frames after it are prepared together
            future, target = keys.under(keys.FUTURE, name), keys.under(keys.TARGET_PIXELS, name)
            together = PixelsAndFuture(pixels=module)  # pyright: ignore[reportArgumentType]
            stages[f"pixels_{name}"] = bind(together, reads=[image, future], writes=[pixels, target])
        else:
            stages[f"pixels_{name}"] = bind(module, reads=[image], writes=[pixels])
    return stages


def _compares_pixels(config: Mapping[str, Any]) -> bool:
    """Say whether training looks at the frames to come: a loss or a target reads them (depth does without)."""
    learned = [*config["losses"].values(), *(config.get("targets") or {}).values()]
    return any(tuple(key[:2]) == keys.TARGET_PIXELS for part in learned for key in part["reads"])


def _learns(part: Mapping[str, Any]) -> bool:
    return bool(part.get("learn"))


def _learning(head: nn.Module, part: Mapping[str, Any]) -> TensorDictModule:
    return bind(_Learn(head), reads=part["learn"]["reads"], writes=part["learn"]["writes"])


def _check_read(layout: TokenLayout, heads: Mapping[str, Any]) -> None:
    read = {key[1] for part in heads.values() for key in part["reads"] if key[0] == "hidden"}
    unread = [name for name in layout.queries if name not in read]
    if unread:
        raise RecipeError(f"layout.queries declares {unread}, which no head reads; heads: {sorted(heads)}")


def _bound(module: nn.Module, part: Mapping[str, Collection[Any]]) -> TensorDictModule:
    return bind(module, reads=part["reads"], writes=part["writes"])
