"""Camera encoders: raw frames to image tokens."""

from seerkit.camera.conv_vit import ConvVit
from seerkit.camera.depth import DepthPatches
from seerkit.camera.frozen_features import FrozenFeatures
from seerkit.camera.one_frame import OneFrame
from seerkit.camera.pixels import Pixels, PixelsAndFuture
from seerkit.camera.resize import resize_crop
from seerkit.camera.tensor_pixels import TensorPixels
from seerkit.camera.timm_encoder import TimmEncoder
from seerkit.camera.tokens import CameraTokens
from seerkit.camera.vit import Vit

__all__ = [
    "CameraTokens",
    "ConvVit",
    "DepthPatches",
    "FrozenFeatures",
    "OneFrame",
    "Pixels",
    "PixelsAndFuture",
    "TensorPixels",
    "TimmEncoder",
    "Vit",
    "resize_crop",
]
