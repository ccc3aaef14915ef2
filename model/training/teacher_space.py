"""The teacher's space: an affine map that carries a student's embeddings to where the teacher's lie, in closed form.

Holds the sums over a training's rows, the map that they give, and its folding into the network's last two layers, so
that the network that is shipped is no larger. Never touches a validation row, and never takes a step.
Shape suffixes: B batch; D embedding length; T teacher's.

A projection that is learnt beside the network finds the directions in which a student agrees with its teacher, but the
embedding that is compared is not projected: it holds what the teacher does not care for as well. Mapped by regression
it does not, but regression shrinks what it is unsure of, and unlike directions by unlike shares. So the regression's
answers are carried on to the covariance of the teacher's own embeddings, by the linear map that moves them least.
"""

from typing import Final

import torch
from torch import Tensor, nn

from model.network import MultiTaskNetwork
from model.recognition import output_layers

_RIDGE: Final = 0.01  # of the mean variance; between 0.003 and 0.3 it made no difference on held-out people
_MIN_ROWS_A_NUMBER: Final = 2  # fewer rows than twice the embedding's length say nothing about its covariance


class TeacherSpace:
    """Sums over rows of a student's and a teacher's embeddings, on their device, in float64."""

    def __init__(self) -> None:
        self._rows = 0
        self._joint: Tensor | None = None  # of [student, teacher, 1] with itself
        self._dim = 0

    @torch.no_grad()
    def add(self, embedding_BD: Tensor, teacher_BT: Tensor) -> None:
        """Counts a batch.

        Args:
            embedding_BD: float (B, D), as the network gives it, not normalised.
            teacher_BT: float (B, T), a row of NaN where it is unknown.
        """
        known_B = ~torch.isnan(teacher_BT).any(1)
        student, teacher = embedding_BD[known_B].double(), teacher_BT[known_B].double()
        teacher = nn.functional.normalize(teacher, dim=1)
        rows = torch.cat([student, teacher, torch.ones_like(student[:, :1])], 1)
        joint = rows.T @ rows
        self._joint = joint if self._joint is None else self._joint + joint
        self._rows, self._dim = self._rows + len(rows), student.shape[1]

    @property
    def enough(self) -> bool:
        """Whether there are rows enough for a map."""
        return self._rows >= _MIN_ROWS_A_NUMBER * max(self._dim, 1)

    def map(self) -> tuple[Tensor, Tensor]:
        """The map as a matrix (D, D) and an offset (D,), float64: mapped = matrix @ embedding + offset.

        It is of the teacher's rank; the teacher's numbers are turned into the embedding's length so that no cosine
        changes, and so that the whole map turns as little as it can.

        Raises:
            ValueError: if there are not rows enough.
        """
        if self._joint is None or not self.enough:
            raise ValueError("too few rows with a teacher's embedding to find its space")
        student_mean, teacher_mean = self._means()
        own, cross, theirs = self._covariances()
        ridge = _RIDGE * own.diagonal().mean() * torch.eye(self._dim, dtype=own.dtype, device=own.device)
        regression_DT = torch.linalg.solve(own + ridge, cross)
        answered = regression_DT.T @ own @ regression_DT
        linear_TD = _transport(answered, theirs) @ regression_DT.T
        left, scale, right = torch.linalg.svd(linear_TD, full_matrices=False)
        matrix_DD = right.T @ (scale[:, None] * right)
        return matrix_DD, right.T @ (left.T @ teacher_mean) - matrix_DD @ student_mean

    def variance(self, matrix_DD: Tensor) -> Tensor:
        """Of each mapped number over the counted rows, (D,)."""
        return torch.einsum("ij,jk,ik->i", matrix_DD, self._covariances()[0], matrix_DD)

    def _means(self) -> tuple[Tensor, Tensor]:
        assert self._joint is not None
        means = self._joint[-1, :-1] / self._rows
        return means[: self._dim], means[self._dim :]

    def _covariances(self) -> tuple[Tensor, Tensor, Tensor]:
        """The student's own (D, D), with the teacher's (D, T), and the teacher's own (T, T)."""
        assert self._joint is not None
        means = self._joint[-1, :-1] / self._rows
        whole = self._joint[:-1, :-1] / self._rows - means[:, None] * means[None]
        dim = self._dim
        return whole[:dim, :dim], whole[:dim, dim:], whole[dim:, dim:]


@torch.no_grad()
def fold(network: MultiTaskNetwork, space: TeacherSpace) -> None:
    """Writes the map into a network's last linear layer and batch norm; what it answers else stays.

    The norm's running statistics are those of its new input, so that a training that starts from the network starts
    from what it answers.

    Raises:
        ValueError: if there are not rows enough, or the network has no recognition subnet.
    """
    if network.recognition is None:
        raise ValueError("a network without an embedding has no space to carry to a teacher's")
    linear, norm = output_layers(network.recognition)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    matrix_DD, offset_D = space.map()
    gain_D = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    linear_DC = (matrix_DD * gain_D) @ linear.weight.double()
    mean_D = (matrix_DD * gain_D) @ norm.running_mean.double()
    variance_D = space.variance(matrix_DD)
    bias_D = matrix_DD @ norm.bias.double() + offset_D
    if linear.bias is not None:
        linear.bias.copy_((matrix_DD * gain_D) @ linear.bias.double())
    linear.weight.copy_(linear_DC)
    norm.running_mean.copy_(mean_D)
    norm.running_var.copy_(variance_D)
    norm.weight.copy_((variance_D + norm.eps).sqrt())
    norm.bias.copy_(bias_D)


def _transport(have: Tensor, want: Tensor) -> Tensor:
    """The matrix that takes covariance `have` to `want` and moves points least (Olkin and Pukelsheim 1982)."""
    root, inverse = _power(have, 0.5), _power(have, -0.5)
    return inverse @ _power(root @ want @ root, 0.5) @ inverse


def _power(covariance: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    floor = values.amax() * 1e-9
    power: Tensor = (vectors * values.clamp(min=floor) ** exponent) @ vectors.T
    return power
