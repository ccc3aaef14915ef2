"""Batches: what draws them ahead of the training, one thread or several processes.

A batch is a pure function of (seed, step), so that it does not matter who draws it. Never decides what is on it (see
`model.training.detection.drawing`) and never computes a loss.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final

import cv2
from torch.utils.data import DataLoader, Dataset

from model.training.detection.composites import Compositor
from model.training.detection.drawing import Batch, Drawing, draw
from model.training.detection.recipe import CanvasConfig

_ENDLESS: Final = 1 << 40  # drawings; the training says when it ends
_DRAWINGS_AHEAD: Final = 3  # a process


class _Drawings(Dataset[Drawing]):
    """Every drawing, drawn where it is asked for."""

    def __init__(self, compositor: Compositor, config: CanvasConfig) -> None:
        self._compositor, self._config = compositor, config

    def __getitem__(self, number: int) -> Drawing:
        return draw(self._compositor, self._config, number)


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
        self._ahead: tuple[int, Future[Drawing]] | None = None
        self._drawn: Iterator[Drawing] | None = None
        self._next = -1
        self._held: tuple[int, Drawing] | None = None

    def __enter__(self) -> "BatchReader":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._drawn = None  # its processes end with it

    def read(self, step: int) -> Batch:
        """The batch of a step; begins the next drawings."""
        number, view = divmod(step, self._config.views)
        if self._held is None or self._held[0] != number:
            self._held = (number, self._read_drawn(number) if self._num_workers > 0 else self._read_ahead(number))
        return self._held[1].batch(view)

    def _read_ahead(self, number: int) -> Drawing:
        ready = self._ahead[1] if self._ahead is not None and self._ahead[0] == number else self._draw(number)
        drawing = ready.result()
        self._ahead = (number + 1, self._draw(number + 1))
        return drawing

    def _draw(self, number: int) -> Future[Drawing]:
        return self._pool.submit(draw, self._compositor, self._config, number)

    def _read_drawn(self, number: int) -> Drawing:
        if self._drawn is None or number != self._next:
            # OpenCV's own threads must be gone before processes branch off: a child would wait for them for ever.
            cv2.setNumThreads(1)
            self._drawn = iter(
                DataLoader(
                    _Drawings(self._compositor, self._config),
                    batch_size=None,
                    sampler=range(number, _ENDLESS),
                    num_workers=self._num_workers,
                    prefetch_factor=_DRAWINGS_AHEAD,
                    pin_memory=self._pinned,
                )
            )
        self._next = number + 1
        return next(self._drawn)
