"""Drawings: canvases that are drawn at once, and the batches that several steps make of them, as tensors.

Holds pixels and what the anchors should say of them. A drawing is a pure function of (seed, number), a batch of (seed,
step). Never says who draws when (see `model.training.detection.batches`) and never computes a loss.
Shape suffixes: B batch; C channels; H, W height and width; A anchors; V views; P positive anchors of the whole batch.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from model.training.detection.canvas_views import as_drawn, from_view, show, view_of
from model.training.detection.composites import Compositor
from model.training.detection.recipe import CanvasConfig
from model.training.detection.targets import assign


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's input and targets.

    Attributes:
        images: uint8 (B, 3, H, W) RGB, canvases as they were drawn.
        maps: float32 (B, 2, 3), how the step sees them (see `canvas_views.show`); None for as they are.
        light: float32 (B, 2, 3), in which light; None for as they are.
        counted: bool (B, A), anchors whose score is part of the loss.
        image: int64 (P,), which image a positive anchor is on.
        anchor: int64 (P,), which of its anchors it is.
        boxes: float32 (P, 4), its face's box in pixels of the view.
        landmarks: float32 (P, 5, 2), its face's landmarks in pixels of the view.
    """

    images: Tensor
    maps: Tensor | None
    light: Tensor | None
    counted: Tensor
    image: Tensor
    anchor: Tensor
    boxes: Tensor
    landmarks: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        moved = {name: getattr(self, name) for name in self.__slots__}
        moved.update({name: each.to(device, non_blocking=True) for name, each in moved.items() if each is not None})
        return Batch(**moved)

    def pixels(self) -> Tensor:
        """The images as the step sees them: float32 (B, 3, H, W), levels 0 to 255, channels last."""
        images = self.images.to(memory_format=torch.channels_last).float()
        if self.maps is None or self.light is None:
            return images
        return show(images, self.maps, self.light).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True, slots=True)
class Drawing:
    """What is drawn at once: the batches of `views` steps, which all see the same canvases.

    Few tensors, as each costs a file descriptor on its way from a process.

    Attributes:
        images: uint8 (B, 3, H, W) RGB.
        maps: float32 (V, B, 2, 3), of each view.
        light: float32 (V, B, 2, 3).
        counted: bool (V, B, A).
        image: int64 (sum of all views' P,), and so the next three.
        anchor: int64.
        boxes: float32.
        landmarks: float32.
        counts: each view's P.
    """

    images: Tensor
    maps: Tensor
    light: Tensor
    counted: Tensor
    image: Tensor
    anchor: Tensor
    boxes: Tensor
    landmarks: Tensor
    counts: tuple[int, ...]

    def pin_memory(self) -> "Drawing":
        """The same drawing in memory that a GPU copies from without waiting."""
        tensors = {name: getattr(self, name).pin_memory() for name in self.__slots__ if name != "counts"}
        return replace(self, **tensors)

    def batch(self, view: int) -> Batch:
        """The batch of a view; the first sees the canvases as they were drawn."""
        start = sum(self.counts[:view])
        positives = slice(start, start + self.counts[view])
        return Batch(
            self.images,
            self.maps[view] if view else None,
            self.light[view] if view else None,
            self.counted[view],
            self.image[positives],
            self.anchor[positives],
            self.boxes[positives],
            self.landmarks[positives],
        )


def draw(compositor: Compositor, config: CanvasConfig, number: int) -> Drawing:
    """A drawing, which steps `number * views` to `(number + 1) * views - 1` see: as it is first, then otherwise."""
    side_px, size = config.of_drawing(number)
    canvases = [compositor.canvas(number, index, side_px) for index in range(size)]
    views = [as_drawn(canvas) for canvas in canvases]
    for view in range(1, config.views):
        for index, canvas in enumerate(canvases):
            views.append(view_of(np.random.default_rng((compositor.seed, number, index, view)), canvas))
    targets = [assign(view.labels) for view in views]
    counts = np.array([len(each.positive) for each in targets])
    each_view = (config.views, size)
    return Drawing(
        torch.from_numpy(np.stack([canvas.pixels for canvas in canvases]).transpose(0, 3, 1, 2).copy()),
        torch.from_numpy(np.stack([from_view(view.matrix, side_px) for view in views])).unflatten(0, each_view),
        torch.from_numpy(np.stack([view.light for view in views])).unflatten(0, each_view),
        torch.from_numpy(np.stack([each.counted for each in targets])).unflatten(0, each_view),
        torch.from_numpy(np.repeat(np.arange(len(targets)) % size, counts)),
        torch.from_numpy(np.concatenate([each.positive for each in targets])),
        torch.from_numpy(np.concatenate([each.boxes for each in targets])),
        torch.from_numpy(np.concatenate([each.landmarks for each in targets])),
        tuple(counts.reshape(each_view).sum(axis=1).tolist()),
    )


def draw_batch(compositor: Compositor, config: CanvasConfig, step: int) -> Batch:
    """The batch of a step."""
    number, view = divmod(step, config.views)
    return draw(compositor, config, number).batch(view)
