"""Batches: the canvases of a step and what the anchors should say of them, as tensors.

Holds the drawing of batches ahead of the training, one in a thread or several in processes. A batch is a pure function
of (seed, step), so that it does not matter who draws it. Never computes a loss.
Shape suffixes: B batch; C channels; H, W height and width; A anchors; P positive anchors of the whole batch.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Final

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from model.training.detection.composites import Compositor
from model.training.detection.recipe import CanvasConfig
from model.training.detection.targets import assign

_ENDLESS: Final = 1 << 40  # steps; the training says when it ends
_BATCHES_AHEAD: Final = 3  # a process


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
        return Batch(*(getattr(self, name).to(device, non_blocking=True) for name in self.__slots__))

    def pin_memory(self) -> "Batch":
        """The same batch in memory that a GPU copies from without waiting."""
        return Batch(*(getattr(self, name).pin_memory() for name in self.__slots__))


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


class _Drawn(Dataset[Batch]):
    """Every step's batch, drawn where it is asked for."""

    def __init__(self, compositor: Compositor, config: CanvasConfig) -> None:
        self._compositor, self._config = compositor, config

    def __getitem__(self, step: int) -> Batch:
        return draw_batch(self._compositor, self._config, step)


class BatchReader:
    """Draws the next steps' batches while the training computes. Use it as a context manager."""

    def __init__(
        self, compositor: Compositor, config: CanvasConfig, num_workers: int = 0, pinned: bool = False
    ) -> None:
        """Takes what batches are made of.

        Args:
            compositor: draws canvases.
            config: their sizes.
            num_workers: processes that draw; 0 for one thread.
            pinned: put the batches where a GPU copies from without waiting; with processes alone.
        """
        self._compositor, self._config = compositor, config
        self._num_workers, self._pinned = num_workers, pinned
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="canvases")
        self._ahead: tuple[int, Future[Batch]] | None = None
        self._drawn: Iterator[Batch] | None = None
        self._next = -1

    def __enter__(self) -> "BatchReader":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._drawn = None  # its processes end with it

    def read(self, step: int) -> Batch:
        """The batch of a step; begins the next ones."""
        if self._num_workers > 0:
            return self._read_drawn(step)
        ready = self._ahead[1] if self._ahead is not None and self._ahead[0] == step else self._draw(step)
        batch = ready.result()
        self._ahead = (step + 1, self._draw(step + 1))
        return batch

    def _draw(self, step: int) -> Future[Batch]:
        return self._pool.submit(draw_batch, self._compositor, self._config, step)

    def _read_drawn(self, step: int) -> Batch:
        if self._drawn is None or step != self._next:
            # OpenCV's own threads must be gone before processes branch off: a child would wait for them for ever.
            cv2.setNumThreads(1)
            self._drawn = iter(
                DataLoader(
                    _Drawn(self._compositor, self._config),
                    batch_size=None,
                    sampler=range(step, _ENDLESS),
                    num_workers=self._num_workers,
                    prefetch_factor=_BATCHES_AHEAD,
                    pin_memory=self._pinned,
                )
            )
        self._next = step + 1
        return next(self._drawn)
