"""The recipe of a detector: everything that decides how its training goes, as one frozen dataclass.

Never reads a file and never trains.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

from model.detector.config import DetectorConfig


@dataclass(frozen=True, slots=True)
class CanvasConfig:
    """Canvases of a step: mostly many small ones; every few steps fewer and larger ones, which hold larger faces.

    Attributes:
        side_px: of the small ones, a multiple of 32.
        batch: how many.
        large_side_px: of the large ones, a multiple of 32.
        large_batch: how many.
        large_every: every how many drawings they come; 0 for never.
        views: steps that see one drawing, each otherwise; 1, which a record that lacks it means, for a drawing a step.
    """

    side_px: int = 320
    batch: int = 64
    large_side_px: int = 640
    large_batch: int = 16
    large_every: int = 3
    views: int = 1

    def of_drawing(self, number: int) -> tuple[int, int]:
        """Side in pixels and number of canvases of a drawing."""
        large = self.large_every > 0 and number % self.large_every == self.large_every - 1
        return (self.large_side_px, self.large_batch) if large else (self.side_px, self.batch)

    def of_step(self, step: int) -> tuple[int, int]:
        """Side in pixels and number of canvases that a step sees."""
        return self.of_drawing(step // self.views)


@dataclass(frozen=True, slots=True)
class DetectorLossWeights:
    """What each loss counts, a positive anchor."""

    score: float = 1.0
    box: float = 2.0
    landmarks: float = 10.0


def _network() -> DetectorConfig:
    return DetectorConfig(level_norms=True, landmark_depth=3)


@dataclass(frozen=True, slots=True)
class DetectorRecipe:
    """A detector's training.

    Attributes:
        network: what is trained.
        canvas: sizes of the batches.
        losses: the losses' weights.
        trained: modules that learn, by the beginning of a parameter's name, e.g. `head`; the rest and all running
            statistics stay as they are. Everything learns where none is named.
        seed: of everything random.
        total_steps: the cosine ends here.
        warmup_steps: of the learning rate.
        learning_rate: its peak.
        final_share: the last learning rate over the peak.
        weight_decay: AdamW's, on convolutions alone.
        max_grad_norm: larger gradients are scaled down to it.
        ema_decay: of the averaged weights, an update.
        ema_every: steps between two updates of them.
        statistics_batches: batches from which the averaged network's batch norm statistics are made at the end, where
            all of it learns; 0 leaves them averaged.
        device: `auto` takes CUDA where there is one.
        num_threads: torch's on the CPU; 0 leaves them as they are.
        num_workers: processes that draw canvases ahead; 0 for one thread, which is enough where a CPU trains; -1 takes
            that on a CPU, and beside a GPU all cores but two.
        save_every: steps between checkpoints.
        log_every: steps between log rows.
    """

    network: DetectorConfig = field(default_factory=lambda: DetectorConfig(level_norms=True, landmark_depth=3))
    canvas: CanvasConfig = field(default_factory=lambda: CanvasConfig(views=4))
    losses: DetectorLossWeights = field(default_factory=DetectorLossWeights)
    trained: tuple[str, ...] = ()
    seed: int = 11
    total_steps: int = 20958
    warmup_steps: int = 500
    learning_rate: float = 3e-3
    final_share: float = 0.005
    weight_decay: float = 0.02
    max_grad_norm: float = 10.0
    ema_decay: float = 0.998
    ema_every: int = 4
    statistics_batches: int = 30
    device: Literal["auto", "cpu", "cuda"] = "auto"
    num_threads: int = 0
    num_workers: int = -1
    save_every: int = 200
    log_every: int = 20


# What may change when a training is resumed: none of it changes what a step computes, but for the schedule's length.
CHANGEABLE: Final = frozenset(
    {"total_steps", "statistics_batches", "device", "num_threads", "num_workers", "save_every", "log_every"}
)
