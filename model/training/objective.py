"""The objective: every loss of a multi-task training, each on the rows that carry its label, and their weights.

Holds the training-only modules (margin weights, teacher projection, centres). Never travels in a shipped checkpoint.
Shape suffixes: B batch; K classes.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Final, Literal

import torch
from torch import Tensor, nn

from model.losses import attributes as single
from model.losses.age import age_distribution, annealed_age, ordinal_age, smooth_l1_age
from model.losses.centre import CentreLoss
from model.losses.classification import cross_entropy, pairwise_attributes
from model.losses.distillation import (
    TeacherProjection,
    answer_divergence,
    embedding_distance,
    relational_distance,
)
from model.losses.partial_fc import PartialFC, check_options
from model.network_config import NetworkConfig
from model.runtime.labels import ATTRIBUTES, EXPRESSIONS
from model.training.batches import Batch
from model.training.dataset import TEACHER_DIM

_MALE: Final = ATTRIBUTES.index("male")
_DISTILLED: Final = ("age", "gender", "race", "expression", "attributes")
_ANSWER: Final = {"teacher": "embedding", "relation": "embedding", "margin": "embedding", "centre": "feature"}


@dataclass(frozen=True, slots=True)
class LossWeights:
    """How much each loss counts; 0 leaves one out, and so does a network that does not answer what it judges.

    `distilled` (each task's divergence, weighed as the task's own loss) and `distilled_embedding` need a training that
    is given a network to distil.
    """

    teacher: float = 8.0
    relation: float = 30.0
    margin: float = 0.02
    age: float = 1.0
    gender: float = 1.0
    race: float = 0.5
    expression: float = 1.5
    attributes: float = 4.0
    centre: float = 0.0
    distilled: float = 0.0
    distilled_embedding: float = 0.0


@dataclass(frozen=True, slots=True)
class LossForms:
    """Which loss a task has.

    Attributes:
        age: smooth L1; SwinFace's, annealed over the training; or ordinal, or a label distribution, each for a network
            of that age form.
        classes: of gender and race: cross entropy, or each class weighted by its inverse frequency in the sets.
        label_smoothing: of the expressions' cross entropy.
        balance: of the expressions' classes: their inverse frequency to this power weighs them; 0 not at all, 1 wholly.
        attributes: `pairs` is the cross entropy of pairs of logits; the others need a network of single logits.
        reduction: of `ordinal`, `focal` and `asymmetric`: the published trainings sum over a batch.
    """

    age: Literal["smooth_l1", "annealed", "ordinal", "distribution"] = "smooth_l1"
    classes: Literal["plain", "weighted"] = "plain"
    label_smoothing: float = 0.0
    balance: float = 0.0
    attributes: Literal["pairs", "focal", "asymmetric", "masked_bce", "lse_sign"] = "pairs"
    reduction: Literal["sum", "mean"] = "sum"

    def check(self, network: NetworkConfig, weights: LossWeights) -> None:
        """Holds the forms to a network.

        Raises:
            ValueError: if a loss takes another form of answer than the network gives.
        """
        form = self.age if self.age in ("ordinal", "distribution") else "years"
        if "age" in network.tasks and weights.age and form != network.age_form:
            raise ValueError(f"forms.age={self.age} does not fit network.age_form={network.age_form}")
        pairs = self.attributes == "pairs"
        if "attributes" in network.tasks and weights.attributes and pairs != (network.attribute_form == "pairs"):
            raise ValueError(
                f"forms.attributes={self.attributes} does not fit network.attribute_form={network.attribute_form}"
            )


@dataclass(frozen=True, slots=True)
class MarginConfig:
    """The identities' softmax.

    Attributes:
        scale: s, the logits' length; AdaCos has its own.
        margins: (m1, m2, m3) of the combined margin; the first is SphereFace's.
        kind: the margin.
        sample_rate: the share of the identities that a step's softmax runs over, its own among them (Partial FC).
        interclass_filter: other identities' cosines over this are set to 0 and have no gradient, as likely mislabelled;
            0 leaves all as they are.
    """

    scale: float = 32.0
    margins: tuple[float, float, float] = (1.0, 0.0, 0.2)
    kind: Literal["combined", "sphereface", "adacos"] = "combined"
    sample_rate: float = 1.0
    interclass_filter: float = 0.0

    def check(self) -> None:
        """Holds the options to each other.

        Raises:
            ValueError: if one is out of its range.
        """
        try:
            check_options(self.kind, self.margins, self.sample_rate, self.interclass_filter)
        except ValueError as error:
            raise ValueError(f"margin: {error}") from error


@dataclass(frozen=True, slots=True)
class Judged:
    """What an objective judges beside the weights.

    Attributes:
        embedding_dim: of the embedding; 0 where there is none.
        num_identities: over all sets.
        feature_dim: of the feature that a centre loss draws; 0 where there is none.
        male_is_gender: the network's column `male` is its gender output, so that gender's loss trains it alone.
        class_weights: by task, where `LossForms.classes` is weighted or `LossForms.balance` not 0.
    """

    embedding_dim: int = 0
    num_identities: int = 0
    feature_dim: int = 0
    male_is_gender: bool = False
    class_weights: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Moment:
    """When a loss is asked for.

    Attributes:
        progress: step over total steps, 0 to 1.
        sample: decides the identities in play, the same on every process; needed where they are sampled.
    """

    progress: float = 0.0
    sample: torch.Generator | None = None


class Objective(nn.Module):
    """All losses.

    Attributes:
        margin: of each identity; sharded where several processes train.
    """

    def __init__(
        self,
        weights: LossWeights,
        margin: MarginConfig,
        judged: Judged,
        forms: LossForms = LossForms(),
    ) -> None:
        super().__init__()
        self.weights, self.forms, self._male_is_gender = weights, forms, judged.male_is_gender
        dim = judged.embedding_dim
        self.projection = TeacherProjection(dim, TEACHER_DIM) if dim and weights.teacher else None
        self.margin = (
            PartialFC(
                dim,
                max(judged.num_identities, 1),
                sample_rate=margin.sample_rate,
                scale=margin.scale,
                margins=margin.margins,
                kind=margin.kind,
                interclass_filter=margin.interclass_filter,
            )
            if dim and weights.margin
            else None
        )
        self.centre = (
            CentreLoss(len(EXPRESSIONS), judged.feature_dim) if judged.feature_dim and weights.centre else None
        )
        # Not in the state: they follow from the sets. On the device, since no copy to it can be part of a recording.
        for task, weight_K in judged.class_weights.items():
            self.register_buffer(f"class_weight_{task}", weight_K, persistent=False)

    def forward(
        self,
        answers: Mapping[str, Tensor],
        batch: Batch,
        moment: Moment = Moment(),
        taught: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """A network's raw answers and the batch's labels to a scalar a loss, not yet weighed.

        Args:
            answers: of `MultiTaskNetwork`; a loss whose answer is not among them is left out.
            batch: the labels.
            moment: of the training.
            taught: the raw answers of a network to distil on the same images.
        """
        losses: dict[str, Tensor] = {} if taught is None else self._distilled(answers, taught)
        for name, weight in asdict(self.weights).items():
            if name.startswith("distilled"):
                continue
            answer = answers.get(_ANSWER.get(name, name))
            if weight and answer is not None:
                losses[name] = getattr(self, f"_{name}")(answer, batch, moment)
        return losses

    def _distilled(self, answers: Mapping[str, Tensor], taught: Mapping[str, Tensor]) -> dict[str, Tensor]:
        weights, losses = asdict(self.weights), {}
        shared = [task for task in _DISTILLED if task in answers and task in taught and weights[task]]
        if weights["distilled"] and shared:
            parts = [weights[task] * answer_divergence(answers[task], taught[task]) for task in shared]
            losses["distilled"] = torch.stack(parts).sum()
        if weights["distilled_embedding"] and "embedding" in answers and "embedding" in taught:
            losses["distilled_embedding"] = embedding_distance(answers["embedding"], taught["embedding"])
        return losses

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighed sum."""
        weights = asdict(self.weights)
        return sum((weights[name] * loss for name, loss in losses.items()), next(iter(losses.values())).new_zeros(()))

    def narrow(self, optimizer: torch.optim.Optimizer) -> None:
        """Makes an optimizer step the sampled identities alone; to be called once an optimizer."""
        if self.margin is not None:
            self.margin.step_sampled_rows(optimizer)

    def replicated_parameters(self) -> list[nn.Parameter]:
        """The parameters that every process has alike."""
        sharded = {id(value) for value in self.sharded_parameters()}
        return [value for value in self.parameters() if id(value) not in sharded]

    def sharded_parameters(self) -> list[nn.Parameter]:
        """The parameters of which each process has its own identities' part."""
        return [] if self.margin is None else [*self.margin.parameters()]

    def _teacher(self, embedding_BD: Tensor, batch: Batch, _: Moment) -> Tensor:
        assert self.projection is not None
        loss: Tensor = self.projection(embedding_BD, batch.teacher)
        return loss

    def _relation(self, embedding_BD: Tensor, batch: Batch, _: Moment) -> Tensor:
        return relational_distance(embedding_BD, batch.teacher)

    def _margin(self, embedding_BD: Tensor, batch: Batch, moment: Moment) -> Tensor:
        assert self.margin is not None
        loss: Tensor = self.margin(embedding_BD, batch.identity, moment.sample)
        return loss

    def _age(self, answer: Tensor, batch: Batch, moment: Moment) -> Tensor:
        if self.forms.age == "ordinal":
            return ordinal_age(answer, batch.age, self.forms.reduction)
        if self.forms.age == "distribution":
            return age_distribution(answer, batch.age)
        if self.forms.age == "annealed":
            return annealed_age(answer, batch.age, moment.progress)
        return smooth_l1_age(answer, batch.age)

    def _gender(self, logits_BK: Tensor, batch: Batch, _: Moment) -> Tensor:
        return cross_entropy(logits_BK, batch.gender, class_weight_K=self._class_weight("gender"))

    def _race(self, logits_BK: Tensor, batch: Batch, _: Moment) -> Tensor:
        return cross_entropy(logits_BK, batch.race, class_weight_K=self._class_weight("race"))

    def _expression(self, logits_BK: Tensor, batch: Batch, _: Moment) -> Tensor:
        weights = self._class_weight("expression")
        return cross_entropy(logits_BK, batch.expression, self.forms.label_smoothing, weights)

    def _class_weight(self, task: str) -> Tensor | None:
        return getattr(self, f"class_weight_{task}", None)

    def _attributes(self, answer: Tensor, batch: Batch, _: Moment) -> Tensor:
        target_BA = batch.attributes
        if self._male_is_gender:
            target_BA = target_BA.clone()
            target_BA[:, _MALE] = -1
        if self.forms.attributes == "pairs":
            return pairwise_attributes(answer, target_BA)
        if self.forms.attributes == "focal":
            return single.focal(answer, target_BA, reduction=self.forms.reduction)
        if self.forms.attributes == "asymmetric":
            return single.asymmetric(answer, target_BA, reduction=self.forms.reduction)
        return (single.masked_bce if self.forms.attributes == "masked_bce" else single.lse_sign)(answer, target_BA)

    def _centre(self, feature_BC: Tensor, batch: Batch, _: Moment) -> Tensor:
        assert self.centre is not None
        loss: Tensor = self.centre(feature_BC, batch.expression)
        return loss


def judged_by(network: NetworkConfig, num_identities: int, class_weights: Mapping[str, Tensor]) -> Judged:
    """What an objective must know of a network and its sets."""
    return Judged(
        embedding_dim=(network.embedding_dim or 0) if "embedding" in network.tasks else 0,
        num_identities=num_identities,
        feature_dim=network.backbone.dims[-1] if network.head == "context" else 0,
        male_is_gender="gender" in network.outputs and "male" not in network.outputs,
        class_weights=class_weights,
    )
