"""Save, load and share policies: recipe, weights, card; where frozen encoders come from; the Hugging Face Hub."""

from seerkit.hub.checkpoint import CARD, RECIPE, WEIGHTS, load, load_strictly, save
from seerkit.hub.client import is_repo
from seerkit.hub.errors import CheckpointError, HubError
from seerkit.hub.frozen import FrozenEncodersRandom, load_frozen
from seerkit.hub.pull import is_checkpoint, pull
from seerkit.hub.push import push

__all__ = [
    "CARD",
    "RECIPE",
    "WEIGHTS",
    "CheckpointError",
    "FrozenEncodersRandom",
    "HubError",
    "is_checkpoint",
    "is_repo",
    "load",
    "load_frozen",
    "load_strictly",
    "pull",
    "push",
    "save",
]
