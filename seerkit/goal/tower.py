"""Text towers: token ids in, one feature per sentence out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seerkit._compat import ensure_torchvision
from seerkit.freeze import freeze, stay_frozen

START = 49406
"""CLIP's id for the start of a sentence; the end is the next one, words are below."""


class ClipTextTower(nn.Module):
    """Encode token ids with CLIP's frozen text transformer, in fp32 (half precision moves features by 1e-3).

    Only the text half of CLIP is built; the official Seer also registers the unused image half.

    Args:
        model: an open_clip architecture. OpenAI's weights need the ``-quickgelu`` variants.

    Shape:
        tokens: int64 ``(U, 77)``.
        returns: ``(U, E)``, not normalised; ``E`` is 512 for ViT-B-32.

    Raises:
        ValueError: if open_clip does not know ``model``.
    """

    def __init__(self, *, model: str = "ViT-B-32-quickgelu") -> None:
        super().__init__()
        ensure_torchvision()
        import open_clip
        from open_clip.model import CLIPTextCfg, _build_text_tower

        config = open_clip.get_model_config(model)
        if config is None:
            raise ValueError(f"open_clip knows no model {model!r}; see open_clip.list_models()")
        self.tower = _build_text_tower(
            config["embed_dim"], CLIPTextCfg(**config["text_cfg"]), quick_gelu=config.get("quick_gelu", False)
        )
        freeze(self)

    def train(self, mode: bool = True) -> ClipTextTower:  # noqa: ARG002 - torch's signature
        """Stay in evaluation mode: a frozen tower has no training mode."""
        return stay_frozen(self)

    @torch.no_grad()
    def forward(self, tokens: Tensor) -> Tensor:
        with torch.autocast(tokens.device.type, enabled=False):
            return self.tower(tokens)


class WordTower(nn.Module):
    """Average the learned embeddings of a sentence's words and normalise.

    For recipes that train from nothing: no weights to download. The table covers CLIP's vocabulary folded into
    ``buckets`` rows, which is ample for the handful of words of a tabletop task. The marks of start and end are left
    out, so that one exchanged word changes the feature as much as it can.

    Args:
        width: size of a word's embedding and of the feature.
        buckets: rows of the table; an id ``i`` uses row ``i % buckets``.

    Shape:
        tokens: int64 ``(U, L)``: start, words, end, zeros.
        returns: ``(U, width)``.
    """

    def __init__(self, *, width: int, buckets: int = 4096) -> None:
        super().__init__()
        self.buckets = buckets
        self.words = nn.Embedding(buckets, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        is_word = ((tokens > 0) & (tokens < START)).unsqueeze(-1)
        total = (self.words(tokens % self.buckets) * is_word).sum(dim=1)
        return self.norm(total / is_word.sum(dim=1).clamp(min=1))
