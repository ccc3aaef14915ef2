"""Distillation: a teacher's embeddings, what the student shall find alike and how alike; a larger network's answers.

Holds the losses and the training-only projection. Never runs a teacher: its embeddings come with the data, or its
answers with the call. Shape suffixes: B batch; D student's embedding length; T teacher's; K classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.losses.masking import masked_mean


def _known(teacher_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Unit-length teacher rows, zero where the teacher is NaN, and which rows it knows."""
    known_B = ~torch.isnan(teacher_BT).any(1)
    filled_BT = torch.where(known_B[:, None], teacher_BT, torch.zeros_like(teacher_BT))
    return F.normalize(filled_BT, dim=1), known_B


def cosine_distance(projected_BT: Tensor, teacher_BT: Tensor) -> Tensor:
    """Mean of 1 - cosine between projected student and teacher over the rows that the teacher knows.

    Args:
        projected_BT: float (B, T).
        teacher_BT: float (B, T), a row of NaN where it is unknown.
    """
    unit_BT, known_B = _known(teacher_BT)
    return masked_mean(1 - (F.normalize(projected_BT, dim=1) * unit_BT).sum(1), known_B)


def relational_distance(embedding_BD: Tensor, teacher_BT: Tensor) -> Tensor:
    """Mean squared difference of the student's and the teacher's cosines over all pairs of known rows.

    It acts on the embedding that is shipped, without a projection (Park et al. 2019, arXiv 1904.05068, with cosines in
    place of distances).

    Args:
        embedding_BD: float (B, D), of any length.
        teacher_BT: float (B, T), a row of NaN where it is unknown.
    """
    unit_BT, known_B = _known(teacher_BT)
    student_BD = F.normalize(embedding_BD, dim=1)
    squared_BB = (student_BD @ student_BD.T - unit_BT @ unit_BT.T) ** 2
    pairs_BB = known_B[:, None] & known_B[None, :] & ~torch.eye(len(known_B), dtype=torch.bool, device=known_B.device)
    return masked_mean(squared_BB.flatten(), pairs_BB.flatten())


class TeacherProjection(nn.Module):
    """The training-only linear map from the student's space to the teacher's."""

    def __init__(self, embedding_dim: int, teacher_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(embedding_dim, teacher_dim, bias=False)

    def forward(self, embedding_BD: Tensor, teacher_BT: Tensor) -> Tensor:
        """Embeddings (B, D) and teacher rows (B, T), NaN where unknown, to a scalar."""
        return cosine_distance(self.linear(embedding_BD), teacher_BT)


def answer_divergence(logits: Tensor, taught: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence of a student's distributions from a teacher's (Hinton et al. 2015, 1503.02531).

    On the very images that the teacher was shown, augmented and mixed, and at temperature 1: a patient and consistent
    teacher (Beyer et al. 2022, arXiv 2106.05237). Every row counts, whatever labels it carries.

    Args:
        logits: float (B, K), or (B, A, K) for A answers a row.
        taught: the teacher's logits, in the same shape.
    """
    student, teacher = (F.log_softmax(each.flatten(0, -2).float(), 1) for each in (logits, taught))
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def embedding_distance(embedding_BD: Tensor, taught_BD: Tensor) -> Tensor:
    """Mean of 1 - cosine between the student's embeddings and a teacher's of the same length, each of any norm."""
    cosine_B = (F.normalize(embedding_BD, dim=1) * F.normalize(taught_BD, dim=1)).sum(1)
    return 1 - cosine_B.mean()
