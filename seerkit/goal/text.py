"""From a sentence to one goal token."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import torch
from torch import Tensor, nn

from seerkit._compat import ensure_torchvision
from seerkit.goal.recall import Recall, is_fixed
from seerkit.initialise import Start, begin

LENGTH_EPSILON = 1e-6
"""Added to a feature's length before dividing by it (GR-1)."""
CONTEXT_LENGTH = 77
"""Token ids per sentence in CLIP: start, words, end, zeros."""


class ClipTokenizer(nn.Module):
    """Turn sentences into CLIP's byte-pair token ids, cutting what is too long.

    The vocabulary comes with open_clip; nothing is downloaded. NUL characters, which data sets written as fixed-width
    strings carry at the end, are stripped, as ``ftfy`` does inside CLIP.

    Args:
        length: ids per sentence, start and end included.

    Shape:
        text: ``B`` sentences (one string counts as ``B = 1``).
        returns: int64 ``(B, length)``: 49406, words, 49407, zeros; a cut sentence ends with 49407.

    Raises:
        TypeError: if something else than sentences is given.

    Example:
        >>> ClipTokenizer()("no lang")[0, :5].tolist()
        [49406, 871, 8578, 49407, 0]
    """

    def __init__(self, *, length: int = CONTEXT_LENGTH) -> None:
        super().__init__()
        self.length = length

    def forward(self, text: str | Iterable[str]) -> Tensor:
        sentences = _sentences(text)
        rows = {sentence: _tokenize(sentence, self.length) for sentence in dict.fromkeys(sentences)}
        return torch.stack([rows[sentence] for sentence in sentences])


class TextGoal(nn.Module):
    """Encode each distinct instruction once and project it to one goal token.

    Seer (Tian et al., 2024) and GR-1 (Wu et al., 2023) feed CLIP's sentence feature through one linear layer. The
    official Seer encodes the same sentence once per step of every row; here each distinct row of ids is encoded once,
    by a frozen tower once for all batches (see `Recall`), and the token is shared by all steps (same numbers).

    Args:
        tower: token ids ``(U, L)`` -> features ``(U, width)``.
        width: the tower's feature size.
        dim: width of the trunk.
        normalise: divide the feature by its length (plus 1e-6) first, as GR-1 does and Seer does not.
        start: how the projection starts, ``"xavier"`` (Seer) or ``"torch"`` (GR-1).

    Shape:
        tokens: int64 ``(B, L)``; may stay on the CPU wherever the module is, which is best.
        returns: ``(B, 1, 1, dim)``, one token, to be shared by every step.
    """

    def __init__(
        self, *, tower: nn.Module, width: int, dim: int, normalise: bool = False, start: Start = "torch"
    ) -> None:
        super().__init__()
        self.tower, self.normalise = tower, normalise
        self.project = nn.Linear(width, dim)
        begin(self.project, start)
        self._recall = Recall()

    def forward(self, tokens: Tensor) -> Tensor:
        device = self.project.weight.device
        if is_fixed(self.tower):
            return self._project(self._recall(self.tower, tokens, device=device))[:, None, None]
        distinct, row = torch.unique(tokens, dim=0, return_inverse=True)
        feature = self.tower(distinct.to(device, non_blocking=True))
        return self._project(feature)[row.to(device, non_blocking=True)][:, None, None]

    def _project(self, feature: Tensor) -> Tensor:
        if self.normalise:
            feature = feature / (feature.norm(dim=-1, keepdim=True) + LENGTH_EPSILON)
        return self.project(feature)


def _sentences(text: object) -> list[str]:
    if hasattr(text, "tolist"):  # tensordict's non-tensor stacks, numpy string arrays
        text = text.tolist()  # pyright: ignore[reportAttributeAccessIssue]
    sentences = [text] if isinstance(text, str) else list(text) if isinstance(text, Iterable) else text
    if not isinstance(sentences, list) or not all(isinstance(sentence, str) for sentence in sentences):
        raise TypeError(f"expected one sentence per row (strings), got {type(text).__name__}: {text!r:.80}")
    return sentences


@cache
def _tokenize(sentence: str, length: int) -> Tensor:
    return _tokenizer()([sentence.replace("\0", "")], context_length=length)[0].long()


@cache
def _tokenizer():  # noqa: ANN202 (open_clip must not be imported to name its type)
    ensure_torchvision()
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()
