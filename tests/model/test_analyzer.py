"""Tests of model.analyzer."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from model.analyzer import Analyzer, expected_years, normalise
from model.network import MultiTaskNetwork
from model.network_config import Temperatures
from tests.model.networks import SMALL_FAER_ATTRIBUTES, SMALL_FAER_EXPRESSION, TINY, small_iresnet


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    """An untrained analyzer of every task."""
    torch.manual_seed(0)
    return Analyzer(MultiTaskNetwork(TINY)).eval()


def _crops(num: int) -> torch.Tensor:
    return torch.randint(0, 256, (num, 112, 112, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_normalisation_is_the_published_one() -> None:
    """0, 127.5's neighbours and 255 become -1, about 0 and 1, channels first."""
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).expand(1, 2, 2, 3)
    values = normalise(images)
    assert values.shape == (1, 3, 2, 2)
    torch.testing.assert_close(values[0, :, 0, 0], (torch.tensor([0.0, 51.0, 255.0]) / 255 - 0.5) / 0.5)


def test_answers_the_pack_contract(analyzer: Analyzer) -> None:
    """Outputs come in the order of the tasks, float32, in the pack's shapes."""
    answers = analyzer(_crops(3))
    assert tuple(answers) == analyzer.tasks == TINY.tasks
    assert {task: tuple(value.shape) for task, value in answers.items()} == {
        "embedding": (3, 16),
        "expression": (3, 7),
        "age": (3,),
        "gender": (3, 2),
        "attributes": (3, 40),
        "race": (3, 5),
    }
    assert all(value.dtype == torch.float32 for value in answers.values())
    assert analyzer.side_px == 112


def test_embeddings_have_unit_length(analyzer: Analyzer) -> None:
    """Each embedding is L2-normalised."""
    torch.testing.assert_close(analyzer(_crops(3))["embedding"].norm(dim=1), torch.ones(3))


def test_a_distributions_age_is_its_expectation() -> None:
    """With a logit a year the age is the softmax's mean, one number a face, and in proportion between two years."""
    network = MultiTaskNetwork(replace(TINY, age_form="distribution", num_age_ranks=101)).eval()
    crops = _crops(3)
    logits = network(normalise(crops))["age"]
    assert logits.shape == (3, 101)
    years = (torch.softmax(logits, 1) * torch.arange(101.0)).sum(1)
    torch.testing.assert_close(Analyzer(network).eval()(crops)["age"], years)
    sure = torch.full((1, 101), -1e4)
    sure[0, 30], sure[0, 31] = 0.0, 0.0
    torch.testing.assert_close(expected_years(sure), torch.tensor([30.5]))


@pytest.mark.parametrize("task", ["expression", "gender", "race"])
def test_classes_are_probabilities(analyzer: Analyzer, task: str) -> None:
    """Each face's probabilities are the softmax of the network's logits."""
    crops = _crops(3)
    torch.testing.assert_close(analyzer(crops)[task], torch.softmax(analyzer.network(normalise(crops))[task], 1))


def test_attributes_are_probabilities_of_yes(analyzer: Analyzer) -> None:
    """An attribute's answer is the second member of its pair's softmax."""
    crops = _crops(3)
    raw = analyzer.network(normalise(crops))["attributes"]
    torch.testing.assert_close(analyzer(crops)["attributes"], torch.softmax(raw, 2)[:, :, 1])


def test_imagenet_normalisation() -> None:
    """`imagenet` takes each channel's mean off and divides by its deviation, in RGB order."""
    images = torch.randint(0, 256, (2, 4, 4, 3), dtype=torch.uint8)
    values = normalise(images, "imagenet")
    for channel, (mean, deviation) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        torch.testing.assert_close(values[:, channel], (images[..., channel] / 255 - mean) / deviation)


def test_pixels_are_the_configurations() -> None:
    """An analyzer normalises as its network's configuration says."""
    analyzer = Analyzer(MultiTaskNetwork(SMALL_FAER_EXPRESSION)).eval()
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    logits = analyzer.network(normalise(images, "imagenet"))["expression"]
    answers = analyzer(images)
    torch.testing.assert_close(answers["expression"], torch.softmax(logits, 1))
    assert tuple(answers) == analyzer.tasks == ("expression",)  # and never the feature
    assert analyzer.side_px == 64


def test_ordinal_age_counts_the_ranks() -> None:
    """An ordinal age is how many ranks have a positive logit, as a float; a logit of 0 is not older."""
    analyzer = Analyzer(MultiTaskNetwork(small_iresnet(task="age"))).eval()
    layer = analyzer.network.get_submodule("groups.age.age")
    assert isinstance(layer, torch.nn.Linear)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.cat([torch.full((31,), 2.0), torch.zeros(4), torch.full((65,), -1.0)]))
    ages = analyzer(torch.zeros(3, 32, 32, 3, dtype=torch.uint8))["age"]
    assert ages.dtype == torch.float32
    assert ages.tolist() == [31.0] * 3


def test_single_attributes_are_probabilities_of_yes() -> None:
    """Where an attribute is one logit its answer is the sigmoid."""
    analyzer = Analyzer(MultiTaskNetwork(SMALL_FAER_ATTRIBUTES)).eval()
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    raw = analyzer.network(normalise(images, "imagenet"))["attributes"]
    torch.testing.assert_close(analyzer(images)["attributes"], 1 / (1 + torch.exp(-raw)))


def test_temperatures_divide_the_logits(analyzer: Analyzer) -> None:
    """At a temperature the log odds are divided by it, an attribute's by its own; embedding and age know none."""
    temperatures = Temperatures(gender=(2.0,), attributes=tuple(1 + number / 40 for number in range(40)))
    before, after = analyzer(_crops(3)), Analyzer(analyzer.network, temperatures).eval()(_crops(3))
    torch.testing.assert_close(after["gender"].logit(), before["gender"].logit() / 2)
    divisors = torch.tensor(temperatures.attributes)
    torch.testing.assert_close(after["attributes"].logit(), before["attributes"].logit() / divisors)
    for task in ("embedding", "age", "expression", "race"):
        torch.testing.assert_close(after[task], before[task], rtol=0, atol=0)


def test_temperatures_of_the_configuration_are_the_default() -> None:
    """A network whose make-up states temperatures is answered at them."""
    torch.manual_seed(0)
    network = MultiTaskNetwork(replace(TINY, temperatures=Temperatures(race=(4.0,)))).eval()
    plain = Analyzer(network, Temperatures()).eval()
    assert (Analyzer(network).eval()(_crops(2))["race"].max(1).values < plain(_crops(2))["race"].max(1).values).all()


class _Made(TorchDispatchMode):
    """Notes each operation that makes a tensor of Python's numbers."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names += [str(func)] if "lift" in str(func) else []
        return func(*args, **(kwargs or {}))


def test_a_run_makes_no_tensor_of_numbers(analyzer: Analyzer) -> None:
    """Temperatures lie where the network does, and in no checkpoint: a run that is recorded on a GPU copies nothing."""
    tempered = Analyzer(analyzer.network, Temperatures(gender=(2.0,), expression=(0.5,))).eval()
    assert tempered.state_dict().keys() == analyzer.state_dict().keys()
    crops = _crops(2)
    with _Made() as made:
        torch.tensor([1.0, 2.0])
        assert len(made.names) == 1
        tempered(crops)
    assert len(made.names) == 1
