"""What every trunk is: a module that gives feature maps, and may compute its blocks again in the backward pass.

Holds the base class and the gradient checkpointing. Never holds a layer of its own. Shape suffixes: B batch; C
channels; H, W pixels or places of a map.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint, noop_context_fn


class Trunk(nn.Module):
    """A feature extractor: float (B, 3, side_px, side_px) to one float (B, C, H, W) a tapped level, coarsest last.

    Attributes:
        gradient_checkpointing: in training, keep only what enters each block and compute the rest again in the backward
            pass (Chen et al. 2016, arXiv 1604.06174): less memory for a third more time. What is learnt is the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gradient_checkpointing = False

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, ...]:
        """The tapped maps of normalised images."""
        raise NotImplementedError

    def run(self, blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
        """What comes out of a chain of blocks."""
        again = self.gradient_checkpointing and self.training and torch.is_grad_enabled()
        for block in blocks:
            x = _computed_again(block, x) if again else block(x)
        return x


def _computed_again(block: nn.Module, x: Tensor) -> Tensor:
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_kept(norms)

    # torch.compile takes no context of ours, so blocks that need none get none.
    out: Tensor = checkpoint(block, x, use_reentrant=False, context_fn=contexts if norms else noop_context_fn)
    return out


@contextmanager
def _statistics_kept(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """The second pass over a batch must not count it a second time in the running statistics."""
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, num_batches_tracked) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, num_batches_tracked
