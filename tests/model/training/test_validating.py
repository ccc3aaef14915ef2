"""Tests of model.training.validating."""

from pathlib import Path

import pytest
import torch

from model.checkpoint import save
from model.network import MultiTaskNetwork
from model.training.dataset import DataError
from model.training.evaluation.subjects import open_checkpoint
from model.training.evaluation.validation import evaluate
from model.training.selection import ValidationConfig
from model.training.validating import Validator
from tests.model.networks import TINY
from tests.model.training.faces import write_sets
from tests.model.training.families import write_all

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three made-up sets to train on and three to validate on."""
    folder = tmp_path_factory.mktemp("data")
    write_all(folder)
    return folder


@pytest.fixture(scope="module")
def network() -> MultiTaskNetwork:
    """A network with every task."""
    torch.manual_seed(0)
    return MultiTaskNetwork(TINY).eval()


@pytest.mark.parametrize(
    ("metric", "sets"),
    [
        ("age/mae_years", ["utkface"]),
        ("gender/accuracy", ["celeba", "utkface"]),
        ("attributes/accuracy_mean", ["celeba"]),
        ("expression/accuracy", ["fer2013"]),
        ("embedding/accuracy_10fold", ["celeba"]),
    ],
)
def test_it_is_the_evaluations_figure(
    data: Path, network: MultiTaskNetwork, tmp_path: Path, metric: str, sets: list[str]
) -> None:
    """The figure is the mean, over the sets that label the task, of what `mien-train evaluate` reports."""
    save(tmp_path / "ema", network)
    report = evaluate(open_checkpoint(tmp_path / "ema", "cpu").predict, data, model="", command="")
    task, figure = metric.split("/")
    values = [report.value(task, figure, name) for name in sets]
    value = Validator(ValidationConfig(metric=metric), data, None, CPU).measure(network)
    assert value == pytest.approx(sum(values) / len(values), abs=1e-6)


def test_named_sets_alone(data: Path, network: MultiTaskNetwork) -> None:
    """Where sets are named, no other counts; one that is not there is said in one line."""
    both, one = (
        Validator(ValidationConfig(metric="gender/ece", sets=sets), data, None, CPU).measure(network)
        for sets in ((), ("celeba",))
    )
    assert both != one
    with pytest.raises(DataError, match=r"absent-val\.parquet"):
        Validator(ValidationConfig(metric="gender/ece", sets=("absent",)), data, None, CPU)


def test_a_metric_that_no_set_tells(data: Path, network: MultiTaskNetwork, tmp_path: Path) -> None:
    """A task that no validation set labels, and a metric that the evaluation does not know, are said in one line."""
    write_sets(tmp_path)
    (tmp_path / "fer2013-train.parquet").rename(tmp_path / "fer2013-val.parquet")
    with pytest.raises(DataError, match=r"no validation set of .* can tell age/mae_years"):
        Validator(ValidationConfig(metric="age/mae_years"), tmp_path, None, CPU)
    with pytest.raises(DataError, match="have no metric age/sharpness"):
        Validator(ValidationConfig(metric="age/sharpness"), data, None, CPU).measure(network)
