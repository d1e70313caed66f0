"""Depth as stores keep it: whole millimetres in 16 bits."""

from __future__ import annotations

import numpy as np

UNKNOWN = 0
"""Stored where nothing was measured."""
FARTHEST = np.iinfo(np.uint16).max
"""Millimetres; what is farther counts as not measured."""


def to_millimetres(metres: np.ndarray) -> np.ndarray:
    """Round metres to whole millimetres, as depth cameras give them.

    Shape:
        metres: float, any shape; 0, negative, not finite or beyond 65.535 m = nothing measured.
        returns: uint16 of that shape, 0 = nothing measured; elsewhere within half a millimetre.

    Example:
        >>> to_millimetres(np.array([1.2344, 0.0, np.inf])).tolist()
        [1234, 0, 0]
    """
    known = np.isfinite(metres) & (metres > 0)
    millimetres = np.rint(np.where(known, metres, 0.0).astype(np.float64) * 1000)
    return np.where(millimetres > FARTHEST, UNKNOWN, millimetres).astype(np.uint16)
