"""Tests of model.training.teacher_space: the map to a teacher's space, and its folding."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from model.config import NetworkConfig
from model.network import MultiTaskNetwork
from model.recognition import output_layers
from model.training.recipes.nano import nano
from model.training.teacher_space import TeacherSpace, fold
from tests.model.networks import TINY

ROWS, STUDENT, TEACHER = 4000, 16, 5


def _rows() -> tuple[Tensor, Tensor]:
    """A teacher, unevenly spread and off centre, and a student: the teacher turned and stretched, with other things."""
    torch.manual_seed(3)
    spread = torch.tensor([1.0, 0.8, 0.5, 0.3, 0.2])
    teacher = F.normalize(torch.randn(ROWS, TEACHER) * spread + torch.tensor([0.3, 0, 0, 0.1, 0]), dim=1)
    seen = teacher @ torch.randn(TEACHER, STUDENT) + 0.3 * torch.randn(ROWS, STUDENT)
    return seen + 2 * torch.randn(ROWS, 1) * torch.randn(STUDENT) + 1, teacher


def _space(student: Tensor, teacher: Tensor) -> TeacherSpace:
    space = TeacherSpace()
    for part in range(0, len(student), 1000):
        space.add(student[part : part + 1000], teacher[part : part + 1000])
    return space


def _cosines(rows: Tensor) -> Tensor:
    unit = F.normalize(rows.double(), dim=1)
    return unit @ unit.T


def test_what_is_alike_to_the_teacher_becomes_alike() -> None:
    """Faces of other training rows are as alike as the teacher says, far nearer than the student's own cosines are."""
    student, teacher = _rows()
    matrix, offset = _space(student[:3000], teacher[:3000]).map()
    mapped = student[3000:].double() @ matrix.T + offset
    want = _cosines(teacher[3000:])
    own, carried = ((_cosines(each) - want).abs().mean() for each in (student[3000:], mapped))
    assert carried < 0.35 * own


def test_the_map_neither_shrinks_nor_grows() -> None:
    """Mapped rows have the teacher's covariance and mean, whatever the regression is unsure of."""
    student, teacher = _rows()
    matrix, offset = _space(student, teacher).map()
    mapped = student.double() @ matrix.T + offset
    spread, want = (torch.linalg.eigvalsh(torch.cov(each.T.double()))[-TEACHER:] for each in (mapped, teacher))
    torch.testing.assert_close(spread, want, rtol=1e-3, atol=1e-6)
    assert mapped.mean(0).norm().item() == pytest.approx(teacher.double().mean(0).norm().item(), rel=1e-6)
    assert int(torch.linalg.matrix_rank(matrix, rtol=1e-6)) == TEACHER


def test_rows_without_a_teacher_say_nothing() -> None:
    """A row whose teacher is unknown leaves the map as it is."""
    student, teacher = _rows()
    space = _space(student, teacher)
    space.add(1000 * torch.ones(2, STUDENT), torch.full((2, TEACHER), torch.nan))
    for value, expected in zip(space.map(), _space(student, teacher).map(), strict=True):
        torch.testing.assert_close(value, expected)


def test_too_few_rows_are_refused() -> None:
    """Fewer rows than twice the embedding's length give no map, in one line."""
    student, teacher = _rows()
    space = _space(student[:31], teacher[:31])
    assert not space.enough
    with pytest.raises(ValueError, match="too few rows"):
        space.map()


@pytest.mark.parametrize(
    "config", [TINY, replace(TINY, recognition="flat")], ids=["layers without bias", "layers with bias"]
)
def test_folding_answers_the_mapped_embedding(config: NetworkConfig) -> None:
    """The folded network answers the map of what it answered; every other task as before, in training mode, too."""
    torch.manual_seed(0)
    network, images = MultiTaskNetwork(config).eval(), torch.randn(8, 3, 112, 112)
    assert network.recognition is not None
    norm = output_layers(network.recognition)[1]
    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.no_grad():
        for value in (norm.weight, norm.running_var):
            value.uniform_(0.5, 2)
        for value in (norm.bias, norm.running_mean):
            value.normal_()
        before = network(images)
        dim = before["embedding"].shape[1]
        student = before["embedding"].mean(0) + torch.randn(ROWS, dim) @ torch.randn(dim, dim)
        space = _space(student, F.normalize(student[:, :TEACHER] + 0.1, dim=1))
        matrix, offset = space.map()
        folded = copy.deepcopy(network)
        fold(folded, space)
        after = folded(images)
    expected = (before["embedding"].double() @ matrix.T + offset).float()
    torch.testing.assert_close(after.pop("embedding"), expected, rtol=1e-3, atol=1e-4)
    before.pop("embedding")
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert folded.recognition is not None
    variance = output_layers(folded.recognition)[1].running_var
    torch.testing.assert_close(variance, space.variance(matrix).float(), rtol=1e-4, atol=1e-8)


def test_a_network_without_an_embedding_is_refused() -> None:
    """A recipe whose network has no embedding cannot ask for the teacher's space."""
    recipe = nano()
    with pytest.raises(ValueError, match="answers an embedding"):
        replace(recipe, network=replace(recipe.network, embedding_dim=None), teacher_space=True)
