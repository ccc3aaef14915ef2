"""Precision: which numbers the forward pass is computed in, and the scaling that half precision's gradients need.

Holds torch's own autocast and scaler behind one name each. Never casts a weight: weights, gradients and losses stay
float32.
"""

from contextlib import AbstractContextManager
from typing import Final, Literal

import torch

Precision = Literal["float32", "bfloat16", "float16"]

_DTYPES: Final = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def effective(precision: Precision, device: torch.device) -> Precision:
    """The precision that a training on a device has: float32 on a CPU, whose half precision is many times slower."""
    return precision if device.type == "cuda" else "float32"


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """The context of a forward pass."""
    dtype = _DTYPES.get(effective(precision, device), torch.bfloat16)
    return torch.autocast(device.type, dtype, enabled=effective(precision, device) != "float32")


def gradient_scaler(precision: Precision, device: torch.device, world_size: int = 1) -> torch.amp.GradScaler | None:
    """The scaler that float16's gradients need; None where none is.

    Between processes it is FSDP's, which lets all skip a step where one overflows: shards of a margin softmax differ.
    """
    if effective(precision, device) != "float16":
        return None
    if world_size == 1:
        return torch.amp.GradScaler("cuda")
    from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler

    return ShardedGradScaler("cuda")
