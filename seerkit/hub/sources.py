"""Where the weights of a frozen encoder come from: what a recipe's ``source:`` may say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from seerkit.hub.client import REPO, cached, fetch
from seerkit.hub.errors import CheckpointError, HubError

RANDOM, IN_CHECKPOINT = "random", "checkpoint"
FORMS = (
    "timm:MODEL, open_clip:MODEL/TAG, hub:USER/REPO/FILE.safetensors[@REVISION], the path of a file, 'random' "
    "(meant so), or 'checkpoint' (the weights lie in the checkpoint itself)"
)
_WORDS = r"\w[\w.-]*(?:/\w[\w.-]*)*"  # no empty folder, so no path from the root; none that begins with a dot
_HUB = re.compile(
    rf"(?!.*\.\.)(?P<repo>{REPO.pattern})/(?P<file>{_WORDS}\.safetensors)(?:@(?P<revision>{_WORDS}))?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Source:
    """A checked ``source:`` of one frozen module.

    Args:
        text: as the recipe has it.
        kind: ``timm``, ``open_clip``, ``hub``, ``path``, ``random`` or ``checkpoint``.
    """

    text: str
    kind: str

    @property
    def fetchable(self) -> bool:
        """Whether everybody can get these weights."""
        return self.kind in ("timm", "open_clip", "hub")

    def place(self) -> tuple[str, str, str | None]:
        """Return repository, file and revision of a fetchable source.

        Raises:
            CheckpointError: if open_clip does not know the model or the tag.
        """
        name = self.text.partition(":")[2]
        if self.kind == "timm":
            return f"timm/{name}", "model.safetensors", None
        if self.kind == "open_clip":
            return _open_clip(name)
        match = _HUB.fullmatch(name)
        if match is None:
            raise CheckpointError(f"source {self.text!r} names no file on the Hub")
        return match["repo"], match["file"], match["revision"]

    def find(self, *, download: bool, limit: int, endpoint: str | None = None, token: str | None = None) -> Path | None:
        """Return the file of weights: a path, from the Hub's cache, or fetched; ``None`` if it is not at hand.

        Args:
            download: whether to fetch it.
            limit: bytes; a larger file of the Hub is neither fetched nor taken from the cache.
            endpoint: address of the Hub.
            token: for sources that need one.

        Raises:
            CheckpointError: if the source is a path and nothing is there.
            HubError: if it could not be fetched, or is larger than the limit.
        """
        if self.kind == "path":
            path = Path(self.text).expanduser()
            if not path.is_file():
                raise CheckpointError(f"source {self.text!r}: there is no such file")
            return path
        if not self.fetchable:
            return None
        repo, file, revision = self.place()
        path = cached(repo, file, revision=revision)
        if path is None and download:
            path, _ = fetch(repo, file, revision=revision, endpoint=endpoint, token=token, limit=limit)
        if path is not None and path.stat().st_size > limit:
            raise HubError(f"{self.text} has {path.stat().st_size:,} bytes, more than the {limit:,} it may have")
        return path


def read_source(text: object) -> Source:
    """Check what a recipe says under ``source:``.

    Raises:
        CheckpointError: if it is of none of the known forms.

    Example:
        >>> read_source("timm:vit_base_patch16_224.mae").kind, read_source("weights/mae.pth").kind
        ('timm', 'path')
    """
    if not isinstance(text, str) or not text:
        raise CheckpointError(f"expected a source of the form {FORMS}; given {text!r:.100}")
    if text in (RANDOM, IN_CHECKPOINT):
        return Source(text, text)
    kind, colon, name = text.partition(":")
    forms = {"timm": r"[\w.-]+", "open_clip": r"[\w.-]+/[\w.-]+", "hub": _HUB.pattern}
    if colon and kind in forms:
        if not re.fullmatch(forms[kind], name, re.ASCII) or ".." in name:
            raise CheckpointError(f"source {text!r} is not of the form {FORMS}")
        return Source(text, kind)
    if colon and kind.isidentifier() and len(kind) > 1:
        raise CheckpointError(f"source {text!r}: nothing is called {kind}: here; expected {FORMS}")
    return Source(text, "path")


def fit(tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename an encoder's published tensors to those of its module here, leaving out what was for training it only.

    Args:
        tensors: as published: of MAE, timm, CLIP, open_clip, R3M, or saved from the module itself.
        expected: the module's own state.

    Raises:
        WeightsError: with a table, if they are tensors of something else.
    """
    if tensors.keys() == expected.keys():
        return dict(tensors)
    heads = {name.partition(".")[0] for name in expected}
    inside = f"{heads.pop()}." if len(heads) == 1 else ""  # such as vit. or tower.: the library's module in ours
    wanted = {name.removeprefix(inside) for name in expected}
    return {f"{inside}{name}": tensor for name, tensor in _published(tensors, wanted).items()}


def _published(tensors: dict[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
    from seerkit.convert.encoders import MAE_LEFT_OUT, clip_text, r3m_resnet

    if any(name.startswith("transformer.resblocks.") for name in wanted):
        return clip_text(tensors)
    if any("convnet." in name for name in tensors):
        return r3m_resnet(tensors)
    named = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    beside = re.compile(rf"{MAE_LEFT_OUT}|(head|fc)\..+")  # decoders and classifiers
    return {name: tensor for name, tensor in named.items() if name in wanted or not beside.fullmatch(name)}


def _open_clip(name: str) -> tuple[str, str, str | None]:
    from seerkit._compat import ensure_torchvision

    ensure_torchvision()
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    model, _, tag = name.partition("/")
    known = get_pretrained_cfg(model, tag)
    if not known.get("hf_hub"):
        tags = open_clip.list_pretrained_tags_by_model(model)
        raise CheckpointError(
            f"source 'open_clip:{name}': open_clip has no {tag!r} of {model!r} on the Hub; has {tags}"
        )
    repo, _, file = known["hf_hub"].rpartition("/")
    return repo, re.sub(r"\.(bin|pt|pth)$", ".safetensors", file) or "open_clip_model.safetensors", None
