"""Precision of stored weights: which tensors a pack keeps in half precision, and the name of their embedding space.

Holds the rounding that graph, checkpoint and known answer share, so that all three speak of the same numbers.
Never computes in half precision: what is stored as half is cast back to float32 before it is used.
"""

import copy
import hashlib
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)

_SPACE_DIGITS = 32  # 128 bits of SHA-256: two spaces never meet by chance, and an answer stays readable
_HALF_MAX = torch.finfo(torch.float16).max


def stored(tensor: Tensor) -> Tensor:
    """A tensor as a pack stores it: matrices and kernels in float16, everything else as it is.

    Vectors (biases, norms, batch-norm statistics) stay float32: they are a hundredth of the bytes, and a variance can
    be smaller than half precision's smallest number. So does a tensor with a number too large for half precision.
    """
    if tensor.dtype is not torch.float32 or tensor.ndim < 2 or float(tensor.abs().max()) > _HALF_MAX:
        return tensor.detach().clone()
    return tensor.detach().to(torch.float16)


def stored_state(network: nn.Module) -> dict[str, Tensor]:
    """Every weight and buffer of a network as a pack's checkpoint stores it, by name."""
    return {name: stored(tensor).contiguous() for name, tensor in network.state_dict().items()}


def rounded(network: Network) -> Network:
    """A copy of a network in evaluation mode, float32, whose weights are those that a pack stores."""
    twin = copy.deepcopy(network).eval().requires_grad_(False)
    twin.load_state_dict(
        {name: tensor.to(network.state_dict()[name].dtype) for name, tensor in stored_state(twin).items()}
    )
    return twin


def embedding_space(state: Mapping[str, Tensor]) -> str:
    """Names the space that embeddings of these weights live in: embeddings compare only within one space.

    The first 32 hexadecimal digits of the SHA-256 over all floating-point tensors in the order of their names, each as
    its name in UTF-8, a zero byte, its shape as decimal numbers joined by `x`, a zero byte, and its numbers as
    little-endian float32. Half-precision tensors are widened first, so that a checkpoint and its half-precision store
    name the same space when they hold the same numbers.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name]
        if not tensor.is_floating_point():
            continue
        shape = "x".join(str(axis) for axis in tensor.shape)
        digest.update(f"{name}\0{shape}\0".encode())
        digest.update(tensor.detach().to(torch.float32).contiguous().numpy().astype("<f4").tobytes())
    return digest.hexdigest()[:_SPACE_DIGITS]
