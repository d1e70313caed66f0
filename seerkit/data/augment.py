"""Augmentations of training frames, re-exported for those who prepare batches themselves.

A policy shifts its frames on its own device (see `seerkit.camera.shift`), so stored frames stay untouched.
"""

from __future__ import annotations

from seerkit.camera.shift import apply_shift, random_shift

__all__ = ["apply_shift", "random_shift"]
