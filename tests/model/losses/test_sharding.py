"""Tests of model.losses.sharding: two real processes train what one trains."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.losses.sharding import Shard, current_shard, joined, summed
from tests.model.losses.ranks import CASES, HALF, STEPS, half, in_two_processes, train

every = pytest.mark.parametrize("name", sorted(CASES))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every case, trained by two gloo processes."""
    folder = tmp_path_factory.mktemp("ranks")
    in_two_processes(folder)
    return folder


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, Tensor]]:
    """Every case, trained by one process."""
    torch.set_num_threads(1)
    return {name: train(case) for name, case in CASES.items()}


def _load(path: Path) -> dict[str, Tensor]:
    loaded: dict[str, Tensor] = torch.load(path, weights_only=True)
    return loaded


@every
def test_two_ranks_lose_and_learn_what_one_does(name: str, folder: Path, alone: dict[str, dict[str, Tensor]]) -> None:
    """Losses, network, class weights and optimizer state are those of one process that holds everything."""
    two = _load(folder / f"{name}.0.pt")
    assert two.keys() == alone[name].keys()
    gradients = {key: value / 2 if key.startswith("gradient.") else value for key, value in two.items()}
    torch.testing.assert_close(gradients, alone[name], rtol=1e-9, atol=1e-12)
    assert alone[name]["losses"].abs().max().item() > 0.0 or name == "one-identity"


@every
def test_every_rank_says_the_same(name: str, folder: Path) -> None:
    """Both ranks see the same losses and gather the same whole state."""
    first, second = _load(folder / f"{name}.0.pt"), _load(folder / f"{name}.1.pt")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@every
def test_a_resumed_shard_ends_bit_for_bit(name: str, folder: Path) -> None:
    """Two ranks that resume from the whole state half-way end as two that ran through."""
    through, resumed = _load(folder / f"{name}.0.pt"), _load(folder / f"{name}.resumed.0.pt")
    ends = {key: value for key, value in through.items() if key.startswith("end.")}
    assert len(ends) >= 6
    assert all(torch.equal(resumed[key], value) for key, value in ends.items())
    assert torch.equal(resumed["losses"], through["losses"][HALF:])
    assert len(through["losses"]) == STEPS


@every
def test_a_training_resumes_on_another_number_of_ranks(
    name: str, folder: Path, alone: dict[str, dict[str, Tensor]]
) -> None:
    """One process goes on from two ranks' state, and ends where it would have without them."""
    resumed = train(CASES[name], HALF, half(_load(folder / f"{name}.1.pt")))
    ends = {key: alone[name][key] for key in resumed if key.startswith("end.")}
    torch.testing.assert_close({key: resumed[key] for key in ends}, ends, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("num_rows", [0, 1, 2, 7, 85742])
@pytest.mark.parametrize("num_ranks", [1, 2, 3, 8])
def test_shards_divide_the_rows(num_rows: int, num_ranks: int) -> None:
    """The shards follow each other without gap or overlap, and differ by one row at most."""
    shards = [Shard(num_rows, rank, num_ranks) for rank in range(num_ranks)]
    assert [shard.start for shard in shards] == [0, *(shard.stop for shard in shards[:-1])]
    assert shards[-1].stop == num_rows
    sizes = [shard.stop - shard.start for shard in shards]
    assert max(sizes) - min(sizes) <= 1
    whole = torch.arange(num_rows)
    assert torch.equal(torch.cat([shard.own(whole) for shard in shards]), whole)


def test_one_process_is_its_own_whole() -> None:
    """Without a process group nothing is exchanged: the shard is everything, and what is joined is the own."""
    rows = torch.randn(3, 2)
    assert current_shard(3) == Shard(3, 0, 1)
    assert joined(rows) is rows
    assert summed(rows) is rows
    whole = current_shard(3).whole(rows)
    assert torch.equal(whole, rows)
    assert whole is not rows


def test_rows_that_are_not_the_shards_are_refused() -> None:
    """A tensor of another number of rows than the shard's is named, not gathered."""
    with pytest.raises(ValueError, match="rows 0 to 3 are not 2"):
        Shard(3).whole(torch.zeros(2, 2))
