"""Feeding: from a batch's number to the images and labels that a network is trained on.

Holds the order of drawing, reading, augmenting and resizing, and the thread that does it ahead of the steps. Every draw
is a function of (seed, batch number), so that reading ahead changes nothing. Never runs a network. Shape suffixes:
B batch; S crop side; C channels; H, W pixels.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model.analyzer import normalise
from model.config import Pixels
from model.training.augmentation import Augmentation, AugmentationConfig
from model.training.batches import Batch, Mixture
from model.training.randaugment import RandAugment, RandAugmentConfig
from model.training.resident import ResidentCrops
from model.training.sampler import MixedSampler
from model.training.seeds import AUGMENT, seed_of, torch_generator


@dataclass(frozen=True, slots=True)
class FeedConfig:
    """What a feeder makes of a batch.

    Attributes:
        augmentation: of the crops.
        side_px: the network's side.
        pixels: its normalisation.
        seed: of everything random.
        stride: how many numbers further this process' next batch is: the number of processes.
        num_workers: processes that augment, and whether a thread reads ahead; 0 for neither.
    """

    augmentation: AugmentationConfig
    side_px: int
    pixels: Pixels
    seed: int
    stride: int = 1
    num_workers: int = 0


@dataclass(frozen=True, slots=True)
class _Read:
    """A batch on the CPU: its rows and crops, or, where they are augmented there, the images that came of them.

    Where the crops lie on the device, the batch has none.
    """

    rows: dict[str, NDArray[np.int64]]
    batch: Batch
    images: Tensor | None


class Feeder:
    """Makes batches; a context manager, since it may own a thread and processes."""

    def __init__(
        self,
        mixture: Mixture,
        sampler: MixedSampler,
        config: FeedConfig,
        device: torch.device,
        resident: ResidentCrops | None = None,
    ) -> None:
        """Takes what a batch is made of; `resident` are the crops where they lie on the device already."""
        self._mixture, self._sampler, self._config, self._device = mixture, sampler, config, device
        self._augment = Augmentation(config.augmentation)
        self._resident = None if config.augmentation.kind == "randaugment" else resident
        chosen = config.augmentation
        randaugment = RandAugmentConfig(chosen.policy, chosen.erasing, chosen.flip, config.side_px, config.pixels)
        self._randaugment = RandAugment(randaugment, config.num_workers if chosen.kind == "randaugment" else 0)
        self._thread: ThreadPoolExecutor | None = None
        self._ahead: dict[int, Future[_Read]] = {}
        self._open = ExitStack()

    def __enter__(self) -> "Feeder":
        self._open.enter_context(self._randaugment)
        if self._config.num_workers > 0:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="feeder")
            self._open.callback(self._thread.shutdown, cancel_futures=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def feed(self, number: int) -> tuple[Tensor, Batch]:
        """Images and labels of a batch, on the device.

        Args:
            number: of the batch among all of the training's, over all processes.

        Returns:
            Float (B, 3, side_px, side_px), augmented and normalised, and the batch.
        """
        read = self._take(number)
        batch = read.batch.to(self._device)
        if read.images is not None:
            return read.images.to(self._device, non_blocking=True), batch
        if self._resident is not None:
            batch = replace(batch, images=self._resident.take(read.rows))
        return self._on_device(normalise(batch.images), number), batch

    def plain(self, number: int) -> tuple[Tensor, Batch]:
        """A batch as it is met in service, not augmented: images float (B, 3, side_px, side_px), and labels."""
        rows = self._sampler.draw(number)
        batch = self._mixture.batch(rows, images=self._resident is None).to(self._device)
        if self._resident is not None:
            batch = replace(batch, images=self._resident.take(rows))
        return self._as_asked(resized(normalise(batch.images), self._config.side_px)), batch

    def _take(self, number: int) -> _Read:
        if self._thread is None:
            return self._read(number)
        for ahead in (number, number + self._config.stride):
            if ahead not in self._ahead:
                self._ahead[ahead] = self._thread.submit(self._read, ahead)
        return self._ahead.pop(number).result()

    def _read(self, number: int) -> _Read:
        rows = self._sampler.draw(number)
        batch = self._mixture.batch(rows, images=self._resident is None)
        if self._device.type == "cuda":
            batch = batch.pinned()
        if self._config.augmentation.kind != "randaugment":
            return _Read(rows, batch, None)
        return _Read(rows, batch, self._randaugmented(batch.images, rows, number))

    def _randaugmented(self, crops_BSSC: Tensor, rows: dict[str, NDArray[np.int64]], number: int) -> Tensor:
        """RandAugment on every set but those that are only mirrored."""
        alike = self._config.augmentation.flip_only
        chosen = np.concatenate([np.full(len(index), name not in alike) for name, index in rows.items()])
        places = np.flatnonzero(chosen)
        # Each crop by its own seed, so that it does not matter which process takes it.
        seeds = [seed_of(self._config.seed, AUGMENT, number, place) for place in places.tolist()]
        only_flipped = resized(normalise(crops_BSSC), self._config.side_px)
        images_BCHW = self._as_asked(self._flip(only_flipped, number))
        if len(places):
            images_BCHW[torch.from_numpy(places)] = self._randaugment(crops_BSSC.numpy()[places], seeds)
        return images_BCHW

    def _on_device(self, images_BCHW: Tensor, number: int) -> Tensor:
        kind = self._config.augmentation.kind
        images_BCHW = resized(images_BCHW, self._config.side_px)
        if kind == "crops":
            images_BCHW = self._augment(images_BCHW, torch_generator(self._config.seed, AUGMENT, number))
        elif kind == "flip":
            images_BCHW = self._flip(images_BCHW, number)
        return self._as_asked(images_BCHW)

    def _flip(self, images_BCHW: Tensor, number: int) -> Tensor:
        generator = torch_generator(self._config.seed, AUGMENT, number)
        flipped_B = torch.rand(len(images_BCHW), generator=generator) < self._config.augmentation.flip
        return torch.where(flipped_B.to(images_BCHW.device)[:, None, None, None], images_BCHW.flip(3), images_BCHW)

    def _as_asked(self, images_BCHW: Tensor) -> Tensor:
        """From -1 to 1, as every augmentation here takes them, to the network's own normalisation.

        Channel after channel in memory: torch 2.15's convolutions crash in the backward pass on a few channels last.
        """
        images_BCHW = images_BCHW.contiguous()
        if self._config.pixels == "symmetric":
            return images_BCHW
        black_white = torch.tensor([0, 255], dtype=torch.uint8, device=images_BCHW.device)
        ends_2C11 = normalise(black_white.view(2, 1, 1, 1).expand(2, 1, 1, 3), self._config.pixels)
        return torch.lerp(ends_2C11[0], ends_2C11[1], (images_BCHW + 1) / 2)


def resized(images_BCHW: Tensor, side_px: int) -> Tensor:
    """Images (B, C, H, W) at another side; as they are where they fit."""
    if images_BCHW.shape[-1] == side_px:
        return images_BCHW
    return F.interpolate(images_BCHW, (side_px, side_px), mode="bilinear", antialias=True, align_corners=False)
