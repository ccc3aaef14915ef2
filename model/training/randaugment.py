"""RandAugment and random erasing by timm's own transforms, a crop at a time, in worker processes or in this one.

Holds what of an augmentation runs on the CPU before a batch is made. Every draw of a crop comes from one seed, so that
it matters neither which process does it nor in which order. Never touches a label. Shape suffixes: N crops; S their
side; C channels; H, W pixels.
"""

import multiprocessing
import multiprocessing.connection
import os
import random
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from timm.data.auto_augment import RandAugment as TimmRandAugment
from timm.data.auto_augment import posterize
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.data.transforms_factory import create_transform
from torch import Tensor
from torchvision.transforms import Compose  # type: ignore[import-untyped]

from model.config import Pixels


@dataclass(frozen=True, slots=True)
class RandAugmentConfig:
    """What a crop may go through.

    Attributes:
        policy: in timm's words: RandAugment (Cubuk et al. 2020, arXiv 1909.13719) of magnitude 9 +- 0.5, each operation
            changing more with the magnitude.
        erasing: probability of an erased rectangle, filled with noise (Zhong et al. 2020, arXiv 1708.04896).
        flip: probability of a mirror image.
        side_px: side of the crop that comes out.
        pixels: how it is normalised.
    """

    policy: str
    erasing: float
    flip: float
    side_px: int
    pixels: Pixels


class RandAugment:
    """Applies a configuration to crops; a context manager, since it may own processes."""

    def __init__(self, config: RandAugmentConfig, num_workers: int = 0) -> None:
        self._config = config
        self._pool: ProcessPoolExecutor | None = None
        self._num_workers = num_workers

    def __enter__(self) -> "RandAugment":
        if self._num_workers > 0:
            # Fresh processes: a fork would take along a GPU's context and half of the threads' locks.
            fresh = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._num_workers, mp_context=fresh, initializer=_begin)
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __call__(self, crops_NSSC: NDArray[np.uint8], seeds: Sequence[int]) -> Tensor:
        """Augments crops.

        Args:
            crops_NSSC: uint8 (N, S, S, 3), RGB.
            seeds: one a crop.

        Returns:
            Float (N, 3, side_px, side_px), normalised.
        """
        if self._pool is None:
            return torch.from_numpy(_augment(self._config, crops_NSSC, seeds))
        cuts = np.array_split(np.arange(len(seeds)), min(self._num_workers, max(len(seeds), 1)))
        with _signals_held():
            parts = [
                self._pool.submit(_augment, self._config, crops_NSSC[cut], [seeds[place] for place in cut])
                for cut in cuts
            ]
        return torch.from_numpy(np.concatenate([part.result() for part in parts]))


@contextmanager
def _signals_held() -> Iterator[None]:
    """Processes started here leave Ctrl-C to the training, which ends its step and then them."""
    # A mask and no handler: it is a process' own from its first instruction, long before any of its Python runs.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    """A process' start: one thread, and an end no later than the training's, even if that is killed."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(0)


def _augment(config: RandAugmentConfig, crops_NSSC: NDArray[np.uint8], seeds: Sequence[int]) -> NDArray[np.float32]:
    transform = _transform(config)
    images = np.empty((len(seeds), 3, config.side_px, config.side_px), np.float32)
    state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    for place, (crop_SSC, seed) in enumerate(zip(crops_NSSC, seeds, strict=True)):
        random.seed(seed)  # timm draws from all three
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        images[place] = transform(Image.fromarray(crop_SSC)).numpy()
    random.setstate(state[0])
    np.random.set_state(state[1])
    torch.set_rng_state(state[2])
    return images


@lru_cache(maxsize=4)
def _transform(config: RandAugmentConfig) -> Compose:
    symmetric = config.pixels == "symmetric"
    transform: Compose = create_transform(
        input_size=config.side_px,
        is_training=True,
        scale=(1.0, 1.0),
        ratio=(1.0, 1.0),
        hflip=config.flip,
        auto_augment=config.policy,
        interpolation="bicubic",
        re_prob=config.erasing,
        re_mode="pixel",
        re_count=1,
        mean=(0.5, 0.5, 0.5) if symmetric else IMAGENET_DEFAULT_MEAN,
        std=(0.5, 0.5, 0.5) if symmetric else IMAGENET_DEFAULT_STD,
    )
    for step in transform.transforms:
        for operation in step.ops if isinstance(step, TimmRandAugment) else ():
            if operation.aug_fn is posterize:
                operation.aug_fn = _posterize
    return transform


def _posterize(image: Image.Image, bits_to_keep: int, **options: object) -> Image.Image:
    """timm's, and at its strongest, no bit kept, the black picture that Pillow made of it until it refused to."""
    if bits_to_keep > 0:
        posterized: Image.Image = posterize(image, bits_to_keep, **options)  # type: ignore[no-untyped-call]
        return posterized
    return Image.new(image.mode, image.size)
