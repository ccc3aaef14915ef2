"""Tests of model.training.precision, model.training.devices and model.training.world where one process is alone."""

import pytest
import torch

from model.training.devices import TrainingError, device_of
from model.training.precision import Precision, autocast, effective, gradient_scaler
from model.training.world import World, asked_world, joined

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_a_gpus(precision: Precision) -> None:
    """On a CPU every precision is float32, computes so, and needs no scaler; on a GPU it is what was asked for."""
    assert effective(precision, CPU) == "float32"
    assert effective(precision, CUDA) == precision
    assert gradient_scaler(precision, CPU) is None
    with autocast(precision, CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_only_float16_is_scaled() -> None:
    """float32 and bfloat16 have the range that gradients need."""
    assert gradient_scaler("float32", CUDA) is None
    assert gradient_scaler("bfloat16", CUDA) is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_the_device() -> None:
    """`auto` takes what there is, and CUDA that is missing is said."""
    assert device_of("auto") == device_of("cpu") == CPU
    with pytest.raises(TrainingError, match="torch finds no CUDA device"):
        device_of("cuda")


def test_a_lone_process_agrees_with_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torchrun's variables a process is alone: it writes, and every mean, sum and flag is its own."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert asked_world() == World()
    with joined("cpu") as world:
        assert world.writes
        values = [torch.tensor([1.0, 2.0]), torch.tensor(3.0)]
        assert world.mean(values) == values
        world.average_(values)
        assert world.total(values[1]) == 3.0
        assert world.any(True)
        assert not world.any(False)
        assert world.from_first(0.25) == 0.25
        world.wait()


def test_the_world_that_torchrun_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchrun's variables say which process of how many this is; the first one writes."""
    for name, value in {"WORLD_SIZE": "4", "RANK": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert asked_world() == World(rank=2, size=4, local_rank=1)
    assert not asked_world().writes
