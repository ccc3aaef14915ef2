"""A small training with Partial FC that runs alike in one process and in two: what the distributed tests compare.

The two are real gloo processes. A linear map stands for the network, under torch's own data parallelism.
"""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn

from model.losses.margin import Margins
from model.losses.partial_fc import MarginKind, PartialFC

INPUT, DIM, ROWS = 7, 6, 8
STEPS, HALF = 5, 3


@dataclass(frozen=True)
class Case:
    """One training: what is varied. `gaps` leaves rows, a rank's batch and a whole step without an identity."""

    kind: MarginKind = "combined"
    margins: Margins = (1.0, 0.3, 0.1)
    sample_rate: float = 1.0
    optimizer: str = "sgd"
    gaps: bool = False
    num_identities: int = 11


CASES = {
    "sgd": Case(),
    "adamw": Case(optimizer="adamw"),
    "gaps": Case(gaps=True),
    "gaps-adamw": Case(optimizer="adamw", gaps=True),
    "sampled": Case(sample_rate=0.4, gaps=True),
    "sampled-adamw": Case(sample_rate=0.4, optimizer="adamw", gaps=True),
    "sphereface": Case(kind="sphereface", margins=(1.35, 0.0, 0.0)),
    "adacos": Case(kind="adacos", margins=(1.0, 0.0, 0.0), gaps=True),
    "adacos-sampled": Case(kind="adacos", margins=(1.0, 0.0, 0.0), sample_rate=0.5, optimizer="adamw"),
    "one-identity": Case(num_identities=1),
}


def train(case: Case, first: int = 0, start: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Trains to the end in this process' group, or alone; everything comes back whole.

    Args:
        case: what to train.
        first: the step to begin at.
        start: the state to begin from, as `half.` of an earlier run names it.
    """
    torch.manual_seed(5)
    network = nn.Linear(INPUT, DIM).double()
    partial = PartialFC(
        DIM,
        case.num_identities,
        sample_rate=case.sample_rate,
        scale=16.0,
        margins=case.margins,
        kind=case.kind,
        interclass_filter=0.0 if case.kind == "adacos" else 0.6,
    ).double()
    parameters = [*network.parameters(), *partial.parameters()]
    optimizer: torch.optim.Optimizer
    if case.optimizer == "sgd":
        optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01)
    else:
        optimizer = torch.optim.AdamW(parameters, lr=0.05, weight_decay=0.1)
    partial.step_sampled_rows(optimizer)
    parallel = nn.parallel.DistributedDataParallel(network) if partial.shard.num_ranks > 1 else network
    if start is not None:
        _load(network, partial, optimizer, start)
    result: dict[str, Tensor] = {}
    losses = []
    for step in range(first, STEPS):
        if step == HALF:
            result |= {f"half.{name}": value for name, value in _state(network, partial, optimizer).items()}
        loss, gradient = _step(case, parallel, partial, optimizer, step)
        losses.append(loss)
        result[f"gradient.{step}"] = gradient
    result["losses"] = torch.stack(losses)
    return result | {f"end.{name}": value for name, value in _state(network, partial, optimizer).items()}


def _step(
    case: Case, network: nn.Module, partial: PartialFC, optimizer: torch.optim.Optimizer, step: int
) -> tuple[Tensor, Tensor]:
    """One step; the loss, and the embeddings' gradient joined over the ranks."""
    rank, num_ranks = partial.shard.rank, partial.shard.num_ranks
    generator = torch.Generator().manual_seed(100 + step)
    inputs = torch.randn(ROWS, INPUT, generator=generator, dtype=torch.float64)
    identity = torch.randint(case.num_identities, (ROWS,), generator=generator)
    if case.gaps:
        identity[::3] = -1
        identity[: {0: 0, 1: ROWS // 2, 2: ROWS}.get(step, 0)] = -1
    own = slice(rank * ROWS // num_ranks, (rank + 1) * ROWS // num_ranks)
    optimizer.zero_grad()
    embedding = network(inputs[own])
    embedding.retain_grad()
    loss: Tensor = partial(embedding, identity[own], torch.Generator().manual_seed(step))
    loss.backward()
    optimizer.step()
    gradient = embedding.grad
    assert gradient is not None
    if num_ranks > 1:
        parts = [torch.empty_like(gradient) for _ in range(num_ranks)]
        distributed.all_gather(parts, gradient)
        gradient = torch.cat(parts)
    return loss.detach(), gradient


def _state(network: nn.Linear, partial: PartialFC, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Network, class weights and optimizer state, whole whatever the number of ranks."""
    state = {f"network.{name}": value.clone() for name, value in network.state_dict().items()}
    for name, value in partial.state_dict().items():
        state[f"partial.{name}"] = partial.whole(value) if name == "weight" else value.clone()
    for number, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            sharded = value.shape == partial.weight.shape and number == 2
            state[f"optimizer.{number}.{name}"] = partial.whole(value) if sharded else value.clone()
    return state


def _load(network: nn.Linear, partial: PartialFC, optimizer: torch.optim.Optimizer, start: dict[str, Tensor]) -> None:
    network.load_state_dict(_under(start, "network."))
    partial.load_state_dict(_under(start, "partial."))
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in _under(start, "optimizer.").items():
        number, name = key.split(".")
        whole = number == "2" and value.ndim == 2
        state.setdefault(int(number), {})[name] = partial.own(value).clone() if whole else value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def half(result: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state that a run was in half-way."""
    return _under(result, "half.")


def in_two_processes(folder: Path) -> None:
    """Runs every case in two gloo processes; rank r writes `CASE.r.pt`, and `CASE.resumed.r.pt` from half-way on."""
    spawn(_rank, args=(str(folder),), nprocs=2)


def _rank(rank: int, folder: str) -> None:
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    for name, case in CASES.items():
        result = train(case)
        torch.save(result, Path(folder) / f"{name}.{rank}.pt")
        torch.save(train(case, HALF, half(result)), Path(folder) / f"{name}.resumed.{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()
    # Everything is on the disk. A process that unloads torch the usual way is now and then aborted by a thread of
    # gloo's that still runs ("terminate called without an active exception"): that says nothing of what is tested.
    os._exit(0)
