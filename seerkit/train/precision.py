"""At which precision a run computes: full, autocast, or as the official Seer does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

HALF = torch.bfloat16


def resolve(precision: str, device: torch.device) -> str:
    """Say what ``"auto"`` means on a device: bf16 autocast on an accelerator, fp32 on a CPU."""
    if precision != "auto":
        return precision
    return "fp32" if device.type == "cpu" else "bf16"


@contextlib.contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """Keep TF32 out of fp32 products and convolutions inside; torch allows it in convolutions by default."""
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


@contextlib.contextmanager
def half_weights(encoders: Sequence[nn.Module]) -> Iterator[None]:
    """Run frozen image encoders with bf16 weights on bf16 images inside, as the official Seer always does.

    Their features are handed on in fp32. The weights are put back, unrounded, at the end.

    Raises:
        ValueError: there is no encoder.
    """
    if not encoders:
        raise ValueError(
            "precision 'official' computes the frozen image encoder in bf16, but this policy has none; expected "
            "'auto', 'fp32' or 'bf16'"
        )
    with contextlib.ExitStack() as stack:
        for encoder in encoders:
            for tensor in (*encoder.parameters(), *encoder.buffers()):
                if tensor.is_floating_point():
                    stack.callback(setattr, tensor, "data", tensor.data)
                    tensor.data = tensor.data.to(HALF)
            stack.callback(encoder.register_forward_pre_hook(_halve).remove)
            stack.callback(encoder.register_forward_hook(_widen).remove)
        yield


def _halve(encoder: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:  # noqa: ARG001  (a hook's signature)
    return tuple(value.to(HALF) if isinstance(value, Tensor) else value for value in inputs)


def _widen(encoder: nn.Module, inputs: tuple[Any, ...], features: Tensor) -> Tensor:  # noqa: ARG001  (a hook's signature)
    return features.float()
