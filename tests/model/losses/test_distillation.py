"""Tests of model.losses.distillation."""

import math

import torch
from torch.nn import functional as F

from model.losses.distillation import (
    TeacherProjection,
    answer_divergence,
    cosine_distance,
    embedding_distance,
    relational_distance,
)


def _teacher(known: list[bool], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    rows = F.normalize(torch.randn(len(known), 6, dtype=dtype), dim=1)
    rows[~torch.tensor(known)] = math.nan
    return rows


def test_cosine_distance_is_the_plain_formula() -> None:
    """The loss is the mean of 1 - cosine over the rows that the teacher knows."""
    teacher, student = _teacher([True, False, True]), torch.randn(3, 6)
    rows = [1 - torch.dot(student[i], teacher[i]) / student[i].norm() for i in (0, 2)]
    torch.testing.assert_close(cosine_distance(student, teacher), torch.stack(rows).mean())


def test_relational_distance_is_the_plain_formula() -> None:
    """The loss is the mean squared difference of the two cosines over all ordered pairs of different known rows."""
    teacher, student = _teacher([True, False, True, True]), torch.randn(4, 9)
    unit = F.normalize(student, dim=1)
    pairs = [(i, j) for i in (0, 2, 3) for j in (0, 2, 3) if i != j]
    squares = [(torch.dot(unit[i], unit[j]) - torch.dot(teacher[i], teacher[j])) ** 2 for i, j in pairs]
    torch.testing.assert_close(relational_distance(student, teacher), torch.stack(squares).mean())


def test_a_rotated_teacher_is_a_perfect_student() -> None:
    """A student that is the teacher turned in space has no relational distance: only likeness counts."""
    teacher = _teacher([True] * 5)
    turn = torch.linalg.qr(torch.randn(6, 6)).Q
    assert relational_distance(3 * teacher @ turn, teacher).item() < 1e-10


def test_unknown_rows_are_inert() -> None:
    """A row that the teacher does not know gets a zero gradient; none known gives a zero loss."""
    for loss in (cosine_distance, relational_distance):
        student = torch.randn(3, 6, requires_grad=True)
        loss(student, _teacher([True, False, True])).backward()
        assert student.grad is not None
        assert student.grad[1].abs().max().item() == 0.0
        assert student.grad[0].abs().max().item() > 0.0
        nothing = loss(student, _teacher([False] * 3))
        nothing.backward()
        assert nothing.item() == 0.0
        assert bool(torch.isfinite(student.grad).all())


def test_gradients_are_exact() -> None:
    """Analytic gradients agree with finite differences."""
    teacher = _teacher([True, False, True], torch.float64)
    student = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: cosine_distance(x, teacher), student)
    assert torch.autograd.gradcheck(lambda x: relational_distance(x, teacher), student)


def test_projection_maps_to_the_teachers_space() -> None:
    """The training-only projection is one linear map without bias, under the cosine distance."""
    projection = TeacherProjection(9, 6)
    teacher, student = _teacher([True, True]), torch.randn(2, 9)
    torch.testing.assert_close(
        projection(student, teacher), cosine_distance(student @ projection.linear.weight.T, teacher)
    )


def test_answer_divergence_is_the_plain_formula() -> None:
    """The loss is the mean over rows, and over answers of a row, of sum p log(p / q)."""
    logits, taught = torch.randn(4, 3, 2), torch.randn(4, 3, 2)
    p, q = torch.softmax(taught, 2), torch.softmax(logits, 2)
    torch.testing.assert_close(answer_divergence(logits, taught), (p * (p / q).log()).sum(2).mean())
    torch.testing.assert_close(answer_divergence(logits[:, 0], taught[:, 0]), (p * (p / q).log()).sum(2)[:, 0].mean())


def test_the_same_answers_cost_nothing() -> None:
    """Equal distributions diverge by nothing; embeddings of one direction are no distance apart, at any norm."""
    taught = torch.randn(5, 7)
    assert answer_divergence(taught + 3, taught).item() < 1e-6
    assert embedding_distance(4 * taught, taught).item() < 1e-6
    assert embedding_distance(-taught, taught).item() > 1.999
