"""Batches: the canvases of a step and what the anchors should say of them, as tensors.

Holds the drawing of batches, one ahead of the training in a thread. A batch is a pure function of (seed, step).
Never computes a loss.
Shape suffixes: B batch; C channels; H, W height and width; A anchors; P positive anchors of the whole batch.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from model.training.detection.composites import Compositor
from model.training.detection.recipe import CanvasConfig
from model.training.detection.targets import assign


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's input and targets.

    Attributes:
        images: uint8 (B, 3, H, W) RGB.
        counted: bool (B, A), anchors whose score is part of the loss.
        image: int64 (P,), which image a positive anchor is on.
        anchor: int64 (P,), which of its anchors it is.
        boxes: float32 (P, 4), its face's box in pixels.
        landmarks: float32 (P, 5, 2), its face's landmarks in pixels.
    """

    images: Tensor
    counted: Tensor
    image: Tensor
    anchor: Tensor
    boxes: Tensor
    landmarks: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        return Batch(*(getattr(self, name).to(device) for name in self.__slots__))


def draw_batch(compositor: Compositor, config: CanvasConfig, step: int) -> Batch:
    """The batch of a step."""
    side_px, size = config.of_step(step)
    canvases = [compositor.canvas(step, index, side_px) for index in range(size)]
    targets = [assign(canvas) for canvas in canvases]
    image = [np.full(len(each.positive), index, np.int64) for index, each in enumerate(targets)]
    images = np.stack([canvas.pixels for canvas in canvases]).transpose(0, 3, 1, 2)
    return Batch(
        torch.from_numpy(np.ascontiguousarray(images)),
        torch.from_numpy(np.stack([each.counted for each in targets])),
        torch.from_numpy(np.concatenate(image)),
        torch.from_numpy(np.concatenate([each.positive for each in targets])),
        torch.from_numpy(np.concatenate([each.boxes for each in targets])),
        torch.from_numpy(np.concatenate([each.landmarks for each in targets])),
    )


class BatchReader:
    """Draws the next step's batch in a thread while the training computes. Use it as a context manager."""

    def __init__(self, compositor: Compositor, config: CanvasConfig) -> None:
        self._compositor, self._config = compositor, config
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="canvases")
        self._ahead: tuple[int, Future[Batch]] | None = None

    def __enter__(self) -> "BatchReader":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)

    def read(self, step: int) -> Batch:
        """The batch of a step; begins the next one's."""
        ready = self._ahead[1] if self._ahead is not None and self._ahead[0] == step else self._draw(step)
        batch = ready.result()
        self._ahead = (step + 1, self._draw(step + 1))
        return batch

    def _draw(self, step: int) -> Future[Batch]:
        return self._pool.submit(draw_batch, self._compositor, self._config, step)
