"""Save, load and share policies: recipe, weights, card; where frozen encoders come from; the Hugging Face Hub."""

from seerkit.hub.checkpoint import load, load_strictly, save
from seerkit.hub.errors import CheckpointError, HubError
from seerkit.hub.frozen import FrozenEncodersRandom, load_frozen
from seerkit.hub.pull import pull
from seerkit.hub.push import push

__all__ = [
    "CheckpointError",
    "FrozenEncodersRandom",
    "HubError",
    "load",
    "load_frozen",
    "load_strictly",
    "pull",
    "push",
    "save",
]
