"""Rows over ranks: who holds which, and the few collectives that a sharded softmax needs, with their gradients.

Holds what Partial FC does between processes; with one process every function is the identity. Never starts a process
group. Shape suffixes: B a rank's batch; N the ranks' batches joined; D embedding length; K a rank's identities.

Gradients follow what data-parallel training expects: the network's are averaged over the ranks afterwards, a shard's
are not. So a shard gets the gradient of the one joint loss, and an embedding gets it times the number of ranks.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed

from model.losses.masking import masked_mean, picked


@dataclass(frozen=True, slots=True)
class Shard:
    """One rank's consecutive rows of a matrix; the first ranks hold one more where the rows do not divide."""

    num_rows: int
    rank: int = 0
    num_ranks: int = 1

    @property
    def start(self) -> int:
        """The first own row."""
        return self.num_rows // self.num_ranks * self.rank + min(self.rank, self.num_rows % self.num_ranks)

    @property
    def stop(self) -> int:
        """The row after the last own one."""
        return self.start + self.num_rows // self.num_ranks + int(self.rank < self.num_rows % self.num_ranks)

    def own(self, whole: Tensor) -> Tensor:
        """The own rows of a whole matrix."""
        return whole[self.start : self.stop]

    def whole(self, own: Tensor) -> Tensor:
        """All ranks' rows, on every rank. A collective call: every rank must make it.

        Raises:
            ValueError: if `own` has not this shard's rows.
        """
        if len(own) != self.stop - self.start:
            raise ValueError(f"rows {self.start} to {self.stop} are not {len(own)}")
        if self.num_ranks == 1:
            return own.detach().clone()
        longest = Shard(self.num_rows, 0, self.num_ranks).stop  # all_gather wants equal sizes
        padded = own.detach().new_zeros((longest, *own.shape[1:]))
        padded[: len(own)] = own.detach()
        parts = [torch.empty_like(padded) for _ in range(self.num_ranks)]
        distributed.all_gather(parts, padded)
        shards = (Shard(self.num_rows, rank, self.num_ranks) for rank in range(self.num_ranks))
        return torch.cat([part[: shard.stop - shard.start] for part, shard in zip(parts, shards, strict=True)])


def current_shard(num_rows: int) -> Shard:
    """This process' shard: everything without an initialised process group."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return Shard(num_rows)
    return Shard(num_rows, distributed.get_rank(), distributed.get_world_size())


class _Joined(torch.autograd.Function):
    """Every rank's rows, one after another; backward sums what the ranks' shards say of the own ones."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:  # noqa: ANN401 - autograd's context has no type
        parts = [torch.empty_like(own, memory_format=torch.contiguous_format) for _ in range(_num_ranks())]
        distributed.all_gather(parts, own.contiguous())
        ctx.num_own = len(own)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401
        summed = gradients[0].clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(summed)
        # Times the ranks: averaging the network's gradients over them divides by it.
        return summed[distributed.get_rank() * ctx.num_own :][: ctx.num_own] * _num_ranks()


class _Summed(torch.autograd.Function):
    """The sum over ranks of a tensor that each holds a part of; every part's gradient is the sum's."""

    @staticmethod
    def forward(_ctx: Any, part: Tensor) -> Tensor:  # noqa: ANN401
        total = part.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401
        return gradients[0]


def joined(own_B: Tensor) -> Tensor:
    """Every rank's batch, in the ranks' order. All ranks' batches are of one size."""
    if _num_ranks() == 1:
        return own_B
    result: Tensor = _Joined.apply(own_B)
    return result


def summed(part: Tensor) -> Tensor:
    """The sum of all ranks' tensors."""
    if _num_ranks() == 1:
        return part
    result: Tensor = _Summed.apply(part)
    return result


@torch.no_grad()
def log_sum_exp_over_ranks(part_N: Tensor) -> Tensor:
    """log(sum over ranks of exp(part)), without a gradient."""
    parts = [torch.empty_like(part_N) for _ in range(_num_ranks())]
    distributed.all_gather(parts, part_N.contiguous())
    return torch.stack(parts).logsumexp(0)


def sharded_cross_entropy(logits_NK: Tensor, column_N: Tensor, labelled_N: Tensor) -> Tensor:
    """Mean cross entropy over the labelled rows, of logits whose columns lie on several ranks.

    Args:
        logits_NK: float (N, K), this rank's columns.
        column_N: int64 (N,), the target's column here, -1 where it is on another rank or there is none.
        labelled_N: bool (N,), the same on every rank.

    Returns:
        The same scalar on every rank. A rank's logits get the joint loss' gradient.
    """
    largest_N = logits_NK.new_full((len(logits_NK),), -torch.inf)
    if logits_NK.shape[1] > 0:
        largest_N = logits_NK.detach().amax(1)
    distributed.all_reduce(largest_N, distributed.ReduceOp.MAX)
    denominator_N = summed(torch.exp(logits_NK - largest_N[:, None]).sum(1))
    return masked_mean(denominator_N.log() + largest_N - summed(picked(logits_NK, column_N)), labelled_N)


def _num_ranks() -> int:
    return current_shard(0).num_ranks
