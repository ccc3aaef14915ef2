"""The recipe: everything that decides how a multi-task training goes, as one frozen dataclass.

A recipe travels with the run, so that a resumed training is the same training. Never reads a file and never trains; the
known recipes stand in the modules beside this one.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Final, Literal

from model.config import NANO, NetworkConfig
from model.training.augmentation import AugmentationConfig
from model.training.mixing_config import MixingConfig
from model.training.objective import LossForms, LossWeights, MarginConfig
from model.training.optimizer import OptimizerConfig
from model.training.precision import Precision
from model.training.sampler import kept_rows
from model.training.schedule import Plan, ScheduleConfig
from model.training.selection import ValidationConfig


def _nano_rows() -> dict[str, int]:
    return {"celeba": 13, "utkface": 8, "fer2013": 11}


def _nano_forms() -> LossForms:
    return LossForms(age="distribution")


@dataclass(frozen=True, slots=True)
class AnalyzerRecipe:
    """A multi-task training; the defaults are nano's.

    Attributes:
        network: what is trained.
        rows: rows of each set in a process' batch, by the set's name; a set with 0 is not read.
        keep: the probability with which a pass over a set keeps each row; 1 where a set is not named.
        losses: the losses' weights.
        forms: which loss a task has.
        margin: of the identities' softmax.
        augmentation: of the crops.
        mixing: mixup and cutmix.
        optimizer: its kind and groups.
        schedule: of the learning rate.
        validation: the metric that keeps the best checkpoint, and early stopping.
        seed: of everything random.
        epochs: passes over the set that is walked through last; counts where `total_steps` is 0.
        total_steps: the schedule ends here; 0 lets `epochs` decide.
        warmup_epochs: counts where `warmup_steps` is 0.
        warmup_steps: of the learning rate.
        learning_rate: its peak.
        final_share: the last learning rate over the peak.
        weight_decay: on the parameters that `optimizer.decay` says.
        max_grad_norm: larger gradients are scaled down to it; 0 leaves them.
        accumulation: batches whose mean gradient makes a step.
        ema_decay: of the averaged weights; 0 ships the trained weights themselves.
        statistics_batches: batches, not augmented, from which the averaged network's batch norm statistics are made at
            the end; 0 leaves them averaged.
        teacher_space: at the end carry the embedding to the space of the teacher's embeddings, in closed form, by as
            many batches (see `model.training.teacher_space`).
        device: `auto` takes CUDA where there is one.
        precision: of the forward pass under autocast, on CUDA alone: a CPU computes in float32 whatever it says, since
            half precision is many times slower there.
        compile: let torch.compile make one program of the network.
        capture: on one GPU, record a step's passes once as a CUDA graph and replay it, where `captures` says that they
            can be (see `model.training.captured`).
        gradient_checkpointing: compute activations anew in the backward pass: less memory, a third more time.
        num_threads: torch's on the CPU; 0 leaves them as they are.
        num_workers: processes that decode and augment ahead of the steps; 0 does it between them.
        save_every: steps between checkpoints.
        log_every: steps between log rows.
    """

    network: NetworkConfig = NANO
    rows: Mapping[str, int] = field(default_factory=_nano_rows)
    keep: Mapping[str, float] = field(default_factory=dict)
    losses: LossWeights = field(default_factory=LossWeights)
    forms: LossForms = field(default_factory=_nano_forms)
    margin: MarginConfig = field(default_factory=MarginConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    mixing: MixingConfig = field(default_factory=MixingConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    seed: int = 7
    epochs: int = 0
    total_steps: int = 4200
    warmup_epochs: int = 0
    warmup_steps: int = 100
    learning_rate: float = 1e-3
    final_share: float = 0.01
    weight_decay: float = 0.05
    max_grad_norm: float = 5.0
    accumulation: int = 1
    ema_decay: float = 0.998
    statistics_batches: int = 100
    teacher_space: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Precision = "float32"
    compile: bool = False
    capture: bool = False
    gradient_checkpointing: bool = False
    num_threads: int = 0
    num_workers: int = 0
    save_every: int = 100
    log_every: int = 10

    def __post_init__(self) -> None:
        if self.accumulation < 1:
            raise ValueError("accumulation must be 1 at least")
        self.forms.check(self.network, self.losses)
        self.margin.check()
        if not self.sets:
            raise ValueError("rows must name a set with one row at least")
        if self.teacher_space and "embedding" not in self.network.tasks:
            raise ValueError("teacher_space needs a network that answers an embedding")
        if not self.total_steps and not self.epochs:
            raise ValueError("either total_steps or epochs must be over 0")

    @property
    def captures(self) -> bool:
        """Whether the passes are to be recorded, and nothing in them but tensors changes from step to step."""
        fixed = self.accumulation == 1 and self.precision != "float16" and not self.gradient_checkpointing
        still = self.forms.age != "annealed" and self.margin.kind != "adacos" and self.margin.sample_rate == 1
        return self.capture and fixed and still

    @property
    def sets(self) -> tuple[str, ...]:
        """The sets that are read."""
        return tuple(name for name, rows in self.rows.items() if rows > 0)

    def plan(self, sizes: Mapping[str, int], world_size: int = 1) -> Plan:
        """The recipe's times in steps.

        Args:
            sizes: rows of each set.
            world_size: processes that train together, each with `rows`.
        """
        batches = self.accumulation * world_size
        passes = (kept_rows(sizes[name], self.keep.get(name, 1.0)) // (self.rows[name] * batches) for name in self.sets)
        steps_per_epoch = max(1, *passes)
        step_rows = sum(self.rows[name] for name in self.sets) * batches
        scale = step_rows / self.optimizer.rate_batch if self.optimizer.rate_batch else 1.0
        return Plan(
            total_steps=self.total_steps or self.epochs * steps_per_epoch,
            warmup_steps=self.warmup_steps or self.warmup_epochs * steps_per_epoch,
            steps_per_epoch=steps_per_epoch,
            peak=self.learning_rate * scale,
        )


# What may change when a training is resumed: none of it changes what a step computes, but for the schedule's length.
CHANGEABLE: Final = frozenset(
    {"total_steps", "statistics_batches", "device", "num_threads", "num_workers", "save_every", "log_every"}
)


def as_stored(recipe: AnalyzerRecipe) -> dict[str, Any]:
    """A recipe as a run's folder keeps it: what JSON gives back of it."""
    stored: dict[str, Any] = json.loads(json.dumps(asdict(recipe)))
    return stored


def completed(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe that an older run has stored, with today's form: fields that it does not know have their defaults."""
    old = dict(stored)
    if "bfloat16" in old:
        old["precision"] = "bfloat16" if old.pop("bfloat16") else "float32"
    old["network"] = json.loads(NetworkConfig.from_json(json.dumps(old["network"])).to_json())
    default = AnalyzerRecipe()
    for each in fields(default):
        value = getattr(default, each.name)
        if each.name not in old:
            old[each.name] = as_stored(default)[each.name]
        elif is_dataclass(value) and each.name != "network":
            old[each.name] = {**as_stored(default)[each.name], **old[each.name]}
    return old
