"""Tests of model.analyzer."""

import pytest
import torch

from model.analyzer import Analyzer, normalise
from model.network import MultiTaskNetwork
from tests.model.networks import TINY


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
