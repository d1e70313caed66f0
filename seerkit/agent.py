"""Agent: a policy with the state it carries from step to step, for a robot or a gymnasium loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from seerkit import keys
from seerkit.asked import Asked, changed_rows, read_goal
from seerkit.history import HistoryWindow

if TYPE_CHECKING:
    from seerkit.policy import Policy


@dataclass
class Carry:
    """What one control step hands to the next; nothing else is remembered anywhere.

    Args:
        length: int64 ``(B,)``, frames in each row's window.
        is_init: bool ``(B,)``, rows whose next step begins an episode.
        windows: group -> encoded frames ``(B, T, n, D)``.
        goal: group -> encoded goal ``(B, 1, n, D)``.
        asked: the sentences, pictures or states ``goal`` was made from.
        plan: the ensembler's carry.
    """

    length: Tensor
    is_init: Tensor
    windows: dict[str, Tensor] = field(default_factory=dict)
    goal: dict[str, Tensor] = field(default_factory=dict)
    asked: Asked = field(default_factory=dict)
    plan: tuple[Tensor, ...] = ()


class Agent:
    """Act in ``batch_size`` environments at once with one policy.

    At every step only the newest frame is encoded; old readouts and, unless asked for, the foresight decoder are not
    computed; a goal is encoded when it changes, for the rows where it does. The actions are those of re-encoding the
    whole window, to rounding.

    Args:
        policy: put into evaluation mode.
        batch_size: robots or environments acted for together.

    Raises:
        ValueError: if the policy has no action head, or an observation does not have ``batch_size`` rows or the shapes
            the policy reads.
    """

    def __init__(self, policy: Policy, *, batch_size: int = 1) -> None:
        if "action" not in policy.heads:
            raise ValueError(f"recipe {policy.recipe.name!r} predicts no actions; its heads: {sorted(policy.heads)}")
        self.policy = policy.eval()
        self.batch_size = batch_size
        self.foresight: dict[str, np.ndarray] = {}
        """The frames foreseen by the last ``act(..., foresee=True)``: per camera uint8 ``(B, 3, S, S)``."""
        self._history = HistoryWindow()
        self._generators = [torch.Generator().manual_seed(row) for row in range(batch_size)]
        self.reset()

    @property
    def device(self) -> torch.device:
        """Where the policy's parameters live."""
        return next(self.policy.parameters()).device

    def reset(
        self, rows: Sequence[bool] | np.ndarray | None = None, *, seeds: Sequence[int | None] | None = None
    ) -> None:
        """Begin new episodes in the given rows (a mask), or everywhere.

        Args:
            rows: ``True`` where an episode begins.
            seeds: one per row, for heads that sample: what a row draws is a function of its seed alone. Without one,
                a row goes on with the generator it has.

        Raises:
            ValueError: if mask or seeds do not have ``batch_size`` entries.
        """
        mask = (
            torch.ones(self.batch_size, dtype=torch.bool) if rows is None else torch.as_tensor(np.asarray(rows, bool))
        )
        if mask.shape != (self.batch_size,) or (seeds is not None and len(seeds) != self.batch_size):
            given = f"shape {tuple(mask.shape)}" + (f" and {len(seeds)} seeds" if seeds is not None else "")
            raise ValueError(f"expected a mask of {self.batch_size} rows, got {given}")
        for row in mask.nonzero().flatten().tolist():
            if seeds is not None and seeds[row] is not None:
                self._generators[row].manual_seed(int(seeds[row] or 0))
        if rows is None:
            blank = torch.zeros(self.batch_size, dtype=torch.long, device=self.device)
            self.carry = Carry(length=blank, is_init=torch.ones_like(blank, dtype=torch.bool))
        else:
            self.carry.is_init = self.carry.is_init | mask.to(self.device)

    @torch.inference_mode()
    def act(self, observation: Mapping[str, Any], *, foresee: bool = False) -> np.ndarray:
        """Return the action to execute now.

        Args:
            observation: ``{"image": {camera: uint8 (B, 3, H, W)}, "state": (B, S), "language_instruction": B
                sentences}``, as gymnasium's vector environments give; without the leading axis if ``batch_size`` is 1.
                A policy whose goal is a picture or a state reads ``"goal": {"image": {camera: uint8 (B, 3, H, W)},
                "state": (B, S)}``. Only what the policy reads must be there.
            foresee: also predict the future frames, into `foresight`, if the recipe foresees pixels.

        Shape:
            returns: float32 ``(B, A)``, or ``(A,)`` for an observation without a leading axis.

        Raises:
            KeyError: if the observation lacks an entry.
            ValueError: if shapes or types are not those the policy reads.
        """
        td, asked, single = self._unpack(observation)
        out = self._step(td, asked, foresee=foresee)
        action: np.ndarray = out[keys.ACTION].float().cpu().numpy()  # pyright: ignore[reportAssignmentType]
        return np.squeeze(action, axis=0) if single else action

    @property
    def looking(self) -> np.ndarray:
        """Whose next action depends on the next observation: bool ``(B,)``.

        A row that carries out a chunk does not look, unless the policy remembers what it saw (``steps`` above 1).
        """
        return (~self._holding()).cpu().numpy()

    def _holding(self) -> Tensor:
        carry, policy = self.carry, self.policy
        if not carry.plan or policy.steps > 1 or not hasattr(policy.ensemble, "holds"):
            return torch.zeros_like(carry.is_init)
        return policy.ensemble.holds(carry.is_init, *carry.plan)

    def _step(self, td: TensorDict, asked: Asked, *, foresee: bool) -> TensorDict:
        carry, policy = self.carry, self.policy
        fresh = carry.is_init
        if not foresee and bool(self._holding().all()):
            self._draw_noise()  # so that what a row draws later does not depend on when its neighbours look
            action, *plan = policy.ensemble.proceed(*carry.plan)
            carry.plan = tuple(plan)
            return TensorDict({keys.ACTION: _switch(action)}, batch_size=[self.batch_size])
        encoded = policy.encode(td, goal=False)
        self._remember(encoded, self._encode_goal(asked))
        foresee = foresee and policy.pictures
        heads = [name for name in policy.heads if name == "action" or (foresee and name == "foresight")]
        out = self._read(heads)
        chunk = out[keys.CHUNK][:, 0]
        chunk = torch.cat([chunk[..., :-1], chunk[..., -1:].sigmoid()], dim=-1)
        if not carry.plan:
            size = {"chunk": chunk.shape[1], "action_dim": chunk.shape[2]}
            carry.plan = tuple(part.to(chunk.device) for part in policy.ensemble.initial(len(chunk), **size))
        action, *plan = policy.ensemble(chunk, fresh, *carry.plan)
        carry.plan, carry.is_init = tuple(plan), torch.zeros_like(fresh)
        out[keys.ACTION] = _switch(action)
        if foresee:
            self.foresight = {name: self._picture(name, out, encoded) for name in policy.cameras}
        return out

    def _encode_goal(self, asked: Asked) -> dict[str, Tensor]:
        carry, policy = self.carry, self.policy
        changed = changed_rows(asked, carry.asked, rows=self.batch_size)
        if changed:
            td = TensorDict({}, batch_size=[len(changed)])
            for key, value in asked.items():
                if isinstance(value, Tensor):
                    td[key] = value[changed].to(self.device)
                else:
                    td.set_non_tensor(key, [value[row] for row in changed])
            for name in policy.goal_stages:
                td = policy.stages[name](td)
            for key in td.keys(include_nested=True, leaves_only=True):
                if key[0] != keys.TOKENS[0]:
                    continue
                group = str(key[1])
                value: Tensor = td[key]
                if group not in carry.goal:
                    carry.goal[group] = torch.zeros_like(value[:1]).repeat(self.batch_size, *[1] * (value.dim() - 1))
                carry.goal[group] = carry.goal[group].index_copy(0, torch.tensor(changed, device=value.device), value)
            carry.asked = {key: value.clone() if isinstance(value, Tensor) else value for key, value in asked.items()}
        return carry.goal

    def _remember(self, encoded: Any, goal: Mapping[str, Tensor]) -> None:  # noqa: ANN401 - a tensordict
        carry, length = self.carry, self.carry.length
        for group in self.policy.layout.context:
            if group in goal:
                continue
            frame = encoded[keys.under(keys.TOKENS, group)][:, 0]
            if group not in carry.windows:
                carry.windows[group] = frame.new_zeros(len(frame), self.policy.steps, *frame.shape[1:])
            carry.windows[group], carry.length = self._history(frame, carry.windows[group], length, carry.is_init)

    def _read(self, heads: Sequence[str]) -> TensorDict:
        """Read the heads at each row's newest step; rows with equally long histories go together."""
        carry, out = self.carry, TensorDict({}, batch_size=[self.batch_size])
        noise = self._draw_noise()
        parts, order = [], []
        for length in carry.length.unique().tolist():
            rows = (carry.length == length).nonzero().squeeze(1)
            tokens = {group: window[rows, :length] for group, window in carry.windows.items()}
            tokens |= {group: value[rows] for group, value in carry.goal.items()}
            own = None if noise is None else noise[rows.cpu()]
            parts.append(self.policy.read(tokens, heads=heads, at=[length - 1], noise=own))
            order.append(rows)
        place = torch.cat(order).argsort()
        return out.update(torch.cat(parts)[place])

    def _draw_noise(self) -> Tensor | None:
        """Draw what sampling heads start from, row by row, so that no row depends on its neighbours."""
        if not self.policy.samples:
            return None
        return torch.cat([self.policy.draw_noise(1, 1, generator=draw) for draw in self._generators])

    def _picture(self, camera: str, out: TensorDict, encoded: Any) -> np.ndarray:  # noqa: ANN401 - a tensordict
        patches = out[keys.under(keys.FORESIGHT, camera)][:, 0]
        pixels = encoded[keys.under(keys.PIXELS, camera)][:, 0]
        return self.policy.picture(camera, patches, pixels).cpu().numpy()

    def _unpack(self, observation: Mapping[str, Any]) -> tuple[TensorDict, Asked, bool]:
        reads = self.policy.inputs
        for key in (keys.IMAGE, keys.STATE, keys.INSTRUCTION):
            name = key if isinstance(key, str) else key[-1]
            if name not in observation and (key in reads or key == keys.IMAGE):
                raise KeyError(f"the observation lacks {name!r}; it holds {sorted(observation)}")
        missing = [name for name in self.policy.cameras if name not in observation["image"]]
        if missing:
            raise KeyError(f"the observation lacks cameras {missing}; it holds {sorted(observation['image'])}")
        first = observation["image"][self.policy.cameras[0]]
        single = len(getattr(first, "shape", np.shape(first))) == 3
        td = TensorDict({}, batch_size=[self.batch_size], device=self.device)
        for name in self.policy.cameras:
            td[keys.under(keys.IMAGE, name)] = self._row(observation["image"][name], single, f"image {name!r}", 3)
        if keys.STATE in reads:
            td[keys.STATE] = self._row(observation["state"], single, "state", 1).float()
        self._check(td)
        asked: Asked = {}
        if keys.INSTRUCTION in reads:
            given = observation["language_instruction"]
            sentences = [given] if isinstance(given, str) else [str(sentence) for sentence in given]
            if len(sentences) != self.batch_size:
                raise ValueError(f"expected {self.batch_size} instructions, got {len(sentences)}")
            asked[keys.INSTRUCTION] = sentences
        asked |= read_goal(observation, reads, rows=self.batch_size, single=single)
        return td, asked, single

    def _row(self, value: object, single: bool, what: str, dims: int) -> Tensor:
        tensor = torch.as_tensor(np.asarray(value) if not isinstance(value, Tensor) else value)
        tensor = tensor[None] if single else tensor
        if tensor.dim() != dims + 1 or len(tensor) != self.batch_size:
            raise ValueError(f"{what}: expected {self.batch_size} rows of {dims} axes, got shape {tuple(tensor.shape)}")
        return tensor[:, None].to(self.device)

    def _check(self, td: TensorDict) -> None:
        for name in self.policy.cameras:
            image = td[keys.under(keys.IMAGE, name)]
            if image.dtype != torch.uint8 or image.shape[2] != 3:
                raise ValueError(f"image {name!r}: expected uint8 (B, 3, H, W), got {image.dtype} {tuple(image.shape)}")
        if keys.STATE in self.policy.inputs and not torch.isfinite(td[keys.STATE]).all():
            raise ValueError("state: expected finite numbers, got NaN or infinity")


def _switch(action: Tensor) -> Tensor:
    """Turn the gripper's probability of being open into +1 or -1."""
    return torch.cat([action[:, :-1], torch.where(action[:, -1:] > 0.5, 1.0, -1.0)], dim=-1)
