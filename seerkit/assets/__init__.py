"""Files of simulators that seerkit does not bring along: where they lie, how they get there, whether they are right."""

from seerkit.assets.pinned import download
from seerkit.assets.take import take
from seerkit.assets.where import folder, require

__all__ = ["download", "folder", "require", "take"]
