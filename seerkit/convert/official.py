"""An official checkpoint's tensors against a policy's: what is carried, what is never used, what does not fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seerkit.convert import gr1, seer
from seerkit.convert.encoders import CLIP_LEFT_OUT, MAE_LEFT_OUT
from seerkit.convert.read import WeightsError
from seerkit.convert.rules import Table, nearest

if TYPE_CHECKING:
    from seerkit.policy import Policy
    from seerkit.recipe import Recipe

PARTS = (
    "encoders.goal.",
    "encoders.state.",
    "encoders.image.resample.",
    "encoders.image.image.primary.",
    "encoders.image.image.wrist.",
    "encoders.image.summary.primary.",
    "encoders.image.summary.wrist.",
    "heads.action.",
    "heads.foresight.",
    "trunk.queries.action",
    "trunk.queries.foresight",
)
"""What a recipe may do without; the official tensors of an absent part are kept beside the checkpoint."""

MASK = r"transformer\.h\.\d+\.attn\.bias"
"""GPT-2's triangular masks, whose size is the file's own."""


class OtherModelError(WeightsError):
    """A recipe with parts that an official model does not have."""


@dataclass(frozen=True)
class Inside:
    """A frozen encoder that some official files hold.

    Args:
        ours: where its tensors are in a policy.
        left_out: pattern of its tensors that are of no use here.
    """

    ours: str
    left_out: str


@dataclass(frozen=True)
class System:
    """Describe how an official project stores its checkpoints.

    Args:
        recipes: how the names of its recipes begin.
        original: the recipe of the published model; its classes are what official checkpoints hold.
        table: its names and ours.
        wrapper: under which key of the file the tensors are.
        prefix: before every name.
        idle: makes the tensors it stores and never uses, for a recipe and a size of GPT-2's masks.
        may_lack: patterns of never-used tensors that newer files do without, all of a kind or none.
        computed: pattern of never-used tensors that are fixed numbers and computed here.
        inside: frozen encoders its files may hold, by the official prefix.
    """

    recipes: str
    original: str
    table: Table
    wrapper: str
    prefix: str
    idle: Callable[[Recipe, int], dict[str, Tensor]]
    may_lack: tuple[str, ...] = ()
    computed: str = ""
    inside: Mapping[str, Inside] = field(default_factory=dict)

    def unprefixed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take off the prefix that distributed training puts before every name."""
        return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}


def _seer_idle(recipe: Recipe, positions: int) -> dict[str, Tensor]:  # noqa: ARG001 - Seer stores no masks
    return seer.idle_tensors(recipe.config["dim"])


def _gr1_idle(recipe: Recipe, positions: int) -> dict[str, Tensor]:
    config = recipe.config
    patches = (config["image_size"] // config["patch"]) ** 2
    return gr1.idle_tensors(config["dim"], depth=config["trunk"]["depth"], patches=patches, positions=positions)


SYSTEMS = {
    "seer": System(
        recipes="seer_",
        original="seer_calvin",
        table=seer.TABLE,
        wrapper="model_state_dict",
        prefix="module.",
        idle=_seer_idle,
    ),
    "gr1": System(
        recipes="gr1_",
        original="gr1_calvin",
        table=gr1.TABLE,
        wrapper="state_dict",
        prefix="",
        idle=_gr1_idle,
        may_lack=(r"transformer\.wte\.weight", MASK, r".+\.attn\.masked_bias"),
        computed=r"transformer\.h\.\d+\.attn\.(masked_)?bias|decoder_pos_embed",
        inside={
            "model_mae.": Inside("encoders.image.vit.vit.", MAE_LEFT_OUT),
            "model_clip.": Inside("encoders.goal.tower.tower.", CLIP_LEFT_OUT),
        },
    ),
}


@dataclass(frozen=True)
class Carried:
    """Say what became of an official file's tensors.

    Args:
        weights: carried over, under our names.
        kept: official tensors without use in this policy, under their official names.
        idle: names of those of ``kept`` that the official model never uses, or that are computed here.
        dtypes: official types of the carried tensors that had another one than here.
        elsewhere: our frozen tensors that are not part of the file.
        notes: what one should know.
    """

    weights: dict[str, Tensor]
    kept: dict[str, Tensor]
    idle: list[str]
    dtypes: dict[str, str]
    elsewhere: list[str]
    notes: list[str]


def trainable(policy: Policy) -> dict[str, Tensor]:
    """Return the policy's own tensors; the others belong to frozen encoders."""
    return {name: parameter.detach() for name, parameter in policy.named_parameters() if parameter.requires_grad}


def carry(official: Mapping[str, Tensor], policy: Policy, system: System) -> Carried:
    """Fit an official checkpoint's tensors to a policy, strictly.

    Args:
        official: tensors by official name, without prefix.
        policy: only its names, shapes and types are looked at; it may live on the meta device.
        system: whose file it is.

    Raises:
        WeightsError: with one table of missing, unexpected, mis-shaped and wrongly typed tensors, by official name.
    """
    own = trainable(policy)
    frozen = {name: tensor for name, tensor in policy.state_dict().items() if name not in own}
    wanted = official_tensors(own, policy, system)
    encoders = _encoders(official, frozen, system)
    idle = _idle(official, policy.recipe, system)
    aside = _Aside(policy, frozen, system)
    kept = {name: official[name] for name in official if name in idle or aside.holds(name)}
    expected = {**wanted, **{name: frozen[ours] for name, ours in encoders.items()}, **idle}
    rows = differences(
        expected, {name: tensor for name, tensor in official.items() if name in idle or name not in kept}
    )
    rows += _wrong_types(wanted, official)
    if rows:
        raise WeightsError(
            f"this is not a {system.table.system} checkpoint for recipe {policy.recipe.name!r}:\n" + table_of(rows)
        )
    weights = system.table.carry({name: official[name] for name in wanted})
    weights |= {ours: official[name].to(torch.float32) for name, ours in encoders.items()}
    return Carried(
        weights=weights,
        kept=kept,
        idle=sorted(idle.keys() & kept.keys()),
        dtypes={name: str(official[name].dtype)[6:] for name in encoders if official[name].dtype != torch.float32},
        elsewhere=sorted(frozen.keys() - weights.keys()),
        notes=_notes(official, idle, system),
    )


def official_tensors(own: Mapping[str, Tensor], policy: Policy, system: System) -> dict[str, Tensor]:
    """Return a policy's own tensors as the official model would store them.

    Raises:
        OtherModelError: if the official model has no place for some.
        WeightsError: if a shape has no counterpart there.
    """
    strange = [name for name in own if not _has_place(name, system)]
    if strange:
        raise OtherModelError(
            f"recipe {policy.recipe.name!r} has parts that the official {system.table.system} has not: {strange[:6]}"
            f"{' ...' if len(strange) > 6 else ''}; `seerkit recipe` lists the recipes"
        )
    try:
        return system.table.give_back(own, cameras=len(policy.cameras))
    except ValueError as error:
        raise WeightsError(f"recipe {policy.recipe.name!r} is not of the official shape: {error}") from error


def absent_parts(policy: Policy) -> list[str]:
    """Return the parts of the official models that this policy does without."""
    names = [*policy.state_dict()]
    return [part for part in PARTS if not any(name.startswith(part) for name in names)]


def differences(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """Return one line per tensor that is missing, unexpected, or of another shape."""
    rows = [f"missing     {name} {tuple(expected[name].shape)}" for name in expected.keys() - given.keys()]
    for name in given.keys() - expected.keys():
        hint = nearest(name, [*(expected.keys() - given.keys())])
        rows.append(f"unexpected  {name} {tuple(given[name].shape)}{hint}")
    rows += [
        f"shape       {name}: expected {tuple(expected[name].shape)}, given {tuple(given[name].shape)}"
        for name in expected.keys() & given.keys()
        if expected[name].shape != given[name].shape
    ]
    return rows


def table_of(rows: Iterable[str], *, most: int = 60) -> str:
    """Return sorted lines, indented; the rest counted if there are too many."""
    lines = [f"  {row}" for row in sorted(rows)]
    return "\n".join([*lines[:most], *([f"  ... and {len(lines) - most} more"] if len(lines) > most else [])])


def _has_place(name: str, system: System) -> bool:
    try:
        system.table.official_names(name)
    except KeyError:
        return False
    return True


def _encoders(official: Mapping[str, Tensor], frozen: Mapping[str, Tensor], system: System) -> dict[str, str]:
    """Return official name -> our name of every tensor of the frozen encoders that the file holds."""
    names = {}
    for prefix, encoder in system.inside.items():
        if any(name.startswith(prefix) for name in official):
            mine = [name for name in frozen if name.startswith(encoder.ours)]
            names |= {f"{prefix}{name.removeprefix(encoder.ours)}": name for name in mine}
    return names


class _Aside:
    """Tell which official tensors have no use in a policy although they may well be in the file."""

    def __init__(self, policy: Policy, frozen: Mapping[str, Tensor], system: System) -> None:
        self.system, self.cameras = system, len(policy.cameras)
        self.absent = tuple(absent_parts(policy))
        self.encoders = {
            prefix: inside.left_out if any(name.startswith(inside.ours) for name in frozen) else ".*"
            for prefix, inside in system.inside.items()
        }

    def holds(self, name: str) -> bool:
        """Whether this official tensor belongs to an absent part, camera or half of an encoder."""
        for prefix, left_out in self.encoders.items():
            if name.startswith(prefix):
                return re.fullmatch(left_out, name.removeprefix(prefix)) is not None
        try:
            ours = self.system.table.our_name(name)
        except KeyError:
            return False
        if ours is None:
            return False
        return ours.startswith(self.absent) or name not in self.system.table.official_names(ours, cameras=self.cameras)


def _idle(official: Mapping[str, Tensor], recipe: Recipe, system: System) -> dict[str, Tensor]:
    """Return the never-used tensors the file should hold; some kinds newer files do without."""
    sizes = [tensor.shape[-1] for name, tensor in official.items() if tensor.dim() and re.fullmatch(MASK, name)]
    idle = system.idle(recipe, max(sizes, default=1024))
    lacking = [kind for kind in system.may_lack if not any(re.fullmatch(kind, name) for name in official)]
    return {name: tensor for name, tensor in idle.items() if not any(re.fullmatch(kind, name) for kind in lacking)}


def _wrong_types(wanted: Mapping[str, Tensor], official: Mapping[str, Tensor]) -> list[str]:
    return [
        f"type        {name}: expected {wanted[name].dtype}, given {official[name].dtype}"
        for name in wanted.keys() & official.keys()
        if wanted[name].dtype != official[name].dtype
    ]


def _notes(official: Mapping[str, Tensor], idle: Mapping[str, Tensor], system: System) -> list[str]:
    other = [
        name
        for name, tensor in idle.items()
        if re.fullmatch(system.computed, name)
        and not torch.allclose(tensor.double(), official[name].double(), atol=1e-5)
    ]
    if not other:
        return []
    return [f"other numbers in the file than the official code computes, and this policy computes them too: {other}"]
