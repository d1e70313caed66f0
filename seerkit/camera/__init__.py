"""Camera encoders: raw frames to image tokens."""

from seerkit.camera.conv_vit import ConvVit
from seerkit.camera.one_frame import OneFrame
from seerkit.camera.pixels import Pixels, PixelsAndFuture
from seerkit.camera.resize import resize_crop
from seerkit.camera.tensor_pixels import TensorPixels
from seerkit.camera.tokens import CameraTokens
from seerkit.camera.vit import Vit

__all__ = [
    "CameraTokens",
    "ConvVit",
    "OneFrame",
    "Pixels",
    "PixelsAndFuture",
    "TensorPixels",
    "Vit",
    "resize_crop",
]
