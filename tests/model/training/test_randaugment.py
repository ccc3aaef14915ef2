"""Tests of model.training.randaugment."""

import random
from dataclasses import replace
from typing import Final

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut
from timm.data.transforms_factory import create_transform

from model.training.randaugment import RandAugment, RandAugmentConfig

CONFIG: Final = RandAugmentConfig("rand-m9-mstd0.5-inc1", erasing=0.25, flip=0.5, side_px=48, pixels="symmetric")
SEEDS: Final = list(range(40))


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    """One real face, forty times."""
    photograph = astronaut()  # type: ignore[no-untyped-call]
    face = np.asarray(Image.fromarray(photograph).crop((150, 10, 290, 150)).resize((64, 64)))
    return np.stack([face] * len(SEEDS))


def test_it_is_timms(crops: np.ndarray) -> None:
    """Seeded alike, each crop is what timm's own pipeline, as SwinFace configures it, makes of it."""
    transform = create_transform(
        input_size=48,
        is_training=True,
        scale=(1, 1),
        ratio=(1, 1),
        color_jitter=0.4,
        auto_augment="rand-m9-mstd0.5-inc1",
        interpolation="bicubic",
        re_prob=0.25,
        re_mode="pixel",
        re_count=1,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )
    ours = RandAugment(CONFIG)(crops[:12], SEEDS[:12])
    for image, crop, seed in zip(ours, crops, SEEDS, strict=False):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        assert torch.equal(image, transform(Image.fromarray(crop)))


def test_the_strongest_posterization_is_black() -> None:
    """With no bit kept a picture is black, as it was before Pillow refused to keep none."""
    config = replace(CONFIG, policy="rand-m10-inc1-n1", erasing=0.0, flip=0.0)
    white = np.full((60, 48, 48, 3), 200, np.uint8)
    images = RandAugment(config)(white, list(range(60)))
    assert bool((images == -1).all(dim=(1, 2, 3)).any())


def test_a_crop_depends_on_its_seed_alone(crops: np.ndarray) -> None:
    """One by one a seed gives what it gives among others; another seed gives another; global draws are untouched."""
    augment = RandAugment(CONFIG)
    random.seed(3)
    torch.manual_seed(3)
    expected = random.random(), torch.rand(1)
    random.seed(3)
    torch.manual_seed(3)
    together = augment(crops[:6], SEEDS[:6])
    assert (random.random(), torch.rand(1)) == expected
    alone = torch.cat([augment(crops[:1], [seed]) for seed in SEEDS[:6]])
    assert torch.equal(together, alone)
    assert not torch.equal(together, augment(crops[:6], SEEDS[6:12]))


def test_processes_change_nothing(crops: np.ndarray) -> None:
    """Worker processes give what this process gives, crop by crop."""
    here = RandAugment(CONFIG)(crops[:5], SEEDS[:5])
    with RandAugment(CONFIG, num_workers=2) as augment:
        assert torch.equal(augment(crops[:5], SEEDS[:5]), here)


def test_pixels_and_erasing(crops: np.ndarray) -> None:
    """Images come out at the network's side in its normalisation, and about a quarter of them has a noisy rectangle."""
    plain = replace(CONFIG, policy="rand-m0-n0", flip=0.0, erasing=0.0)
    symmetric = RandAugment(plain)(crops, SEEDS)
    assert symmetric.shape == (40, 3, 48, 48)
    assert symmetric.dtype == torch.float32
    imagenet = RandAugment(replace(plain, pixels="imagenet"))(crops, SEEDS)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(
        imagenet, ((symmetric + 1) / 2 - mean[:, None, None]) / deviation[:, None, None], atol=1e-4, rtol=1e-4
    )
    erased = RandAugment(replace(plain, erasing=0.25))(crops, SEEDS)
    assert 4 <= int((erased != symmetric).any(dim=(1, 2, 3)).sum()) <= 17
