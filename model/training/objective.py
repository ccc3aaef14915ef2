"""The objective: every loss of a multi-task training, each on the rows that carry its label, and their weights.

Holds the training-only modules (margin weights, teacher projection). Never travels in a shipped checkpoint. Shape
suffixes: B batch.
"""

from dataclasses import asdict, dataclass

from torch import Tensor, nn

from model.losses.age import smooth_l1_age
from model.losses.classification import cross_entropy, pairwise_attributes
from model.losses.distillation import TeacherProjection, relational_distance
from model.losses.margin import MarginClassifier
from model.training.batches import Batch
from model.training.dataset import TEACHER_DIM


@dataclass(frozen=True, slots=True)
class LossWeights:
    """How much each loss counts; 0 leaves one out."""

    teacher: float = 8.0
    relation: float = 30.0
    margin: float = 0.02
    age: float = 1.0
    gender: float = 1.0
    race: float = 0.5
    expression: float = 1.5
    attributes: float = 4.0


@dataclass(frozen=True, slots=True)
class MarginConfig:
    """The combined margin's scale s and margins (m1, m2, m3)."""

    scale: float = 32.0
    margins: tuple[float, float, float] = (1.0, 0.0, 0.2)


class Objective(nn.Module):
    """All losses."""

    def __init__(self, weights: LossWeights, margin: MarginConfig, embedding_dim: int, num_identities: int) -> None:
        super().__init__()
        self.weights = weights
        self.projection = TeacherProjection(embedding_dim, TEACHER_DIM)
        self.margin = MarginClassifier(embedding_dim, max(num_identities, 1), margin.scale, margin.margins)

    def forward(self, answers: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """A network's raw answers and the batch's labels to a scalar a loss, not yet weighed."""
        embedding = answers["embedding"]
        return {
            "teacher": self.projection(embedding, batch.teacher),
            "relation": relational_distance(embedding, batch.teacher),
            "margin": self.margin(embedding, batch.identity),
            "age": smooth_l1_age(answers["age"], batch.age),
            "gender": cross_entropy(answers["gender"], batch.gender),
            "race": cross_entropy(answers["race"], batch.race),
            "expression": cross_entropy(answers["expression"], batch.expression),
            "attributes": pairwise_attributes(answers["attributes"], batch.attributes),
        }

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighed sum."""
        weights = asdict(self.weights)
        return sum((weights[name] * loss for name, loss in losses.items()), next(iter(losses.values())).new_zeros(()))
