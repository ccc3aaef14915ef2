"""Recipes: everything that decides how a multi-task training goes, as one frozen dataclass.

A recipe travels with the run, so that a resumed training is the same training. Never reads a file and never trains.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

from model.config import NANO, NetworkConfig
from model.training.augmentation import AugmentationConfig
from model.training.objective import LossWeights, MarginConfig


@dataclass(frozen=True, slots=True)
class RowsConfig:
    """Rows of each set in a batch; a set with 0 is not read."""

    celeba: int = 13
    utkface: int = 8
    fer2013: int = 11


@dataclass(frozen=True, slots=True)
class AnalyzerRecipe:
    """A multi-task training.

    Attributes:
        network: what is trained.
        rows: the mixture.
        losses: the losses' weights.
        margin: of the identities' softmax.
        augmentation: of the crops.
        seed: of everything random.
        total_steps: the cosine ends here.
        warmup_steps: of the learning rate.
        learning_rate: its peak.
        final_share: the last learning rate over the peak.
        weight_decay: AdamW's, on matrices alone (norms, biases and position biases have none).
        max_grad_norm: larger gradients are scaled down to it.
        ema_decay: of the averaged weights.
        statistics_batches: batches, not augmented, from which the averaged network's batch norm statistics are made at
            the end; 0 leaves them averaged.
        device: `auto` takes CUDA where there is one.
        bfloat16: the forward pass under autocast, on CUDA alone (it is many times slower on a CPU).
        num_threads: torch's on the CPU; 0 leaves them as they are.
        save_every: steps between checkpoints.
        log_every: steps between log rows.
    """

    network: NetworkConfig = NANO
    rows: RowsConfig = field(default_factory=RowsConfig)
    losses: LossWeights = field(default_factory=LossWeights)
    margin: MarginConfig = field(default_factory=MarginConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    seed: int = 7
    total_steps: int = 4200
    warmup_steps: int = 100
    learning_rate: float = 1e-3
    final_share: float = 0.01
    weight_decay: float = 0.05
    max_grad_norm: float = 5.0
    ema_decay: float = 0.998
    statistics_batches: int = 100
    device: Literal["auto", "cpu", "cuda"] = "auto"
    bfloat16: bool = False
    num_threads: int = 0
    save_every: int = 100
    log_every: int = 10


# What may change when a training is resumed: none of it changes what a step computes, but for the schedule's length.
CHANGEABLE: Final = frozenset({"total_steps", "statistics_batches", "device", "num_threads", "save_every", "log_every"})

RECIPES: Final[dict[str, AnalyzerRecipe]] = {"nano": AnalyzerRecipe()}
