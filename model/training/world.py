"""The world: the processes that train together, started by torchrun, or the lone one.

Holds who this process is and the few things that all of them agree on. Never touches a network or a file. Where it is
alone every operation is the identity and costs nothing.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


class WorldError(RuntimeError):
    """Processes that cannot train together; the message is one clear line."""


@dataclass(frozen=True, slots=True)
class World:
    """This process among all.

    Attributes:
        rank: 0 for the one that writes.
        size: how many there are.
        local_rank: its number on its own machine: the GPU that it takes.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def writes(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def mean(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Each tensor's mean over the processes, for float tensors of any shapes on one device."""
        if self.size == 1 or not values:
            return list(values)
        flat = torch.cat([value.detach().reshape(-1).float() for value in values])
        dist.all_reduce(flat)
        parts = (flat / self.size).split([value.numel() for value in values])
        return [part.view_as(value).to(value.dtype) for part, value in zip(parts, values, strict=True)]

    def average_(self, values: Sequence[Tensor]) -> None:
        """Replaces each tensor by its mean over the processes."""
        if self.size > 1:
            for value, mean in zip(values, self.mean(values), strict=True):
                value.copy_(mean)

    def total(self, value: Tensor) -> Tensor:
        """The sum of a tensor over the processes."""
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def any(self, flag: bool) -> bool:
        """Whether any process says so; every one must ask."""
        if self.size == 1:
            return flag
        said = torch.tensor([int(flag)])  # on the CPU, by gloo: a GPU would have to be waited for
        dist.all_reduce(said, op=dist.ReduceOp.MAX)
        return bool(said.item())

    def from_first(self, value: float) -> float:
        """What the process that writes has."""
        if self.size == 1:
            return value
        said = torch.tensor([value], dtype=torch.float64)
        dist.broadcast(said, 0)
        return float(said.item())

    def wait(self) -> None:
        """Returns once every process has come here."""
        if self.size > 1:
            self.any(False)


def leave(world: World) -> None:
    """Ends a process of several, with success, once all that it has to do is done; does nothing for a lone one.

    At once, without unloading torch: a thread of gloo's that still runs would now and then abort it ("terminate called
    without an active exception"), and torchrun would call a training that is saved and whole a failed one.
    """
    if world.size > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def asked_world() -> World:
    """The world that torchrun's environment variables name; a lone process without them."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    return (
        World(int(os.environ.get("RANK", "0")), size, int(os.environ.get("LOCAL_RANK", "0"))) if size > 1 else World()
    )


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Joins the processes for the time of a training, by NCCL between GPUs and by gloo between CPUs.

    Args:
        device: `auto`, `cpu` or `cuda`, as in a recipe.

    Raises:
        WorldError: if this machine has fewer GPUs than processes.
    """
    world = asked_world()
    if world.size == 1:
        yield world
        return
    cuda = device != "cpu" and torch.cuda.is_available()
    if cuda and world.local_rank >= torch.cuda.device_count():
        raise WorldError(f"process {world.local_rank} of this machine has no GPU: it has {torch.cuda.device_count()}")
    if cuda:
        torch.cuda.set_device(world.local_rank)
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    try:
        yield world
    finally:
        dist.destroy_process_group()
