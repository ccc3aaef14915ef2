"""A step's passes as one CUDA graph: recorded once, then replayed, so that a step costs the processor one launch.

Holds the recording and the tensors that it reads and writes. Never feeds, clips or steps: what comes before and after
the passes changes from step to step. Shape suffixes: B batch; C channels; H, W pixels.

A small network's kernels are short: launched one by one, by Python, they leave a GPU idle most of the time. A recording
is replayed as it is, so nothing in it may depend on a value: shapes stand still, and what changes lies in tensors.
"""

from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Final

import torch
from torch import Tensor

from model.training.batches import Batch

_WARM_UPS: Final = 3  # what allocates, compiles or tunes itself does so before the recording

Passes = Callable[[Tensor, list[tuple[Tensor, Batch]]], dict[str, Tensor]]


class CapturedPasses:
    """Forward, losses and backward of one batch, replayed. The gradients are overwritten by each replay.

    Nobody may set a gradient to None after the first call: the recording writes to the tensors that it found.
    """

    def __init__(self, passes: Passes, forget: Callable[[], None], buffers: Callable[[], Iterable[Tensor]]) -> None:
        """Takes what is recorded.

        Args:
            passes: from images and labels, each with its share of the loss, to scalars by name; it leaves gradients.
            forget: sets all gradients to None. Where one were there, the recording would add to it, replay by replay.
            buffers: the network's, which warming up must leave as they were.
        """
        self._passes, self._forget, self._buffers = passes, forget, buffers
        self._graph: torch.cuda.CUDAGraph | None = None

    def record(self, images_BCHW: Tensor, batch: Batch) -> None:
        """Records on the first call, and does nothing on the others; to be called before the dropout is seeded."""
        if self._graph is not None:
            return
        self._images_BCHW = images_BCHW.clone()
        self._batch = without_images(batch)
        self._partner_B = torch.arange(len(images_BCHW), device=images_BCHW.device)
        self._share = torch.ones((), device=images_BCHW.device)
        kept = [value.clone() for value in self._buffers()]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                self._forget()
                self._run()
        torch.cuda.current_stream().wait_stream(stream)
        self._forget()
        graph = torch.cuda.CUDAGraph()
        # The thread that reads ahead pins memory meanwhile, which is no part of this.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            figures = self._run()
            self._names, self._figures = list(figures), torch.stack([*figures.values()])
        for value, before in zip(self._buffers(), kept, strict=True):
            value.copy_(before)
        self._graph = graph

    def __call__(self, images_BCHW: Tensor, batch: Batch, partner_B: Tensor | None, share: float) -> dict[str, Tensor]:
        """Replays on another batch of the same shape.

        Args:
            images_BCHW: float, as recorded.
            batch: its labels.
            partner_B: int64, whose labels count beside the own ones; None for no one's.
            share: the own labels' share of the loss.
        """
        assert self._graph is not None
        self._images_BCHW.copy_(images_BCHW)
        for each in label_fields():
            getattr(self._batch, each).copy_(getattr(batch, each))
        if partner_B is not None:
            self._partner_B.copy_(partner_B)
        self._share.fill_(1.0 if partner_B is None else share)
        self._graph.replay()
        # The next replay overwrites them.
        return dict(zip(self._names, self._figures.clone().unbind(), strict=True))

    def _run(self) -> dict[str, Tensor]:
        return self._passes(self._images_BCHW, two_labels(self._batch, self._partner_B, self._share))


def two_labels(batch: Batch, partner_B: Tensor, share: Tensor) -> list[tuple[Tensor, Batch]]:
    """Own and partners' labels with their shares: one form for batches that are mixed and such that are not."""
    return [(share, batch), (1 - share, batch.rows(partner_B))]


def label_fields() -> list[str]:
    """A batch's fields but its images."""
    return [each.name for each in fields(Batch) if each.name != "images"]


def without_images(batch: Batch) -> Batch:
    """A copy of a batch's labels, with images of no pixels."""
    labels = {name: getattr(batch, name).clone() for name in label_fields()}
    return Batch(
        images=torch.empty((len(batch.identity), 0, 0, 3), dtype=torch.uint8).to(batch.identity.device), **labels
    )
