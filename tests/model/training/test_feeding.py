"""Tests of model.training.feeding."""

import numpy as np
import pytest
import torch

from model.analyzer import normalise
from model.training.augmentation import AugmentationConfig
from model.training.batches import Mixture
from model.training.dataset import read_faces
from model.training.feeding import FeedConfig, Feeder, resized
from model.training.resident import ResidentCrops, fits, resident_crops
from model.training.sampler import MixedSampler
from tests.model.training.faces import write_sets

CPU = torch.device("cpu")
ROWS = {"celeba": 3, "utkface": 4}


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Mixture:
    """Two made-up sets."""
    folder = tmp_path_factory.mktemp("data")
    write_sets(folder)
    return Mixture([read_faces(folder, name, "train") for name in ROWS])


def _feeder(mixture: Mixture, augmentation: AugmentationConfig, side_px: int = 112, **changes: object) -> Feeder:
    config = FeedConfig(augmentation, side_px, changes.pop("pixels", "symmetric"), seed=5, **changes)  # type: ignore[arg-type]
    return Feeder(mixture, MixedSampler(mixture.sizes, ROWS, 5), config, CPU)


@pytest.mark.parametrize("kind", ["crops", "flip", "randaugment", "none"])
def test_a_batch_depends_on_its_number_alone(mixture: Mixture, kind: str) -> None:
    """Whatever was fed before, a number's images and labels are the same; another number's are others."""
    augmentation = AugmentationConfig(kind=kind)  # type: ignore[arg-type]
    with _feeder(mixture, augmentation) as walked, _feeder(mixture, augmentation) as fresh:
        fed = [walked.feed(number) for number in (0, 1, 2)]
        images, batch = fresh.feed(2)
    assert torch.equal(images, fed[2][0])
    assert torch.equal(batch.identity, fed[2][1].identity)
    assert not torch.equal(images, fed[1][0])
    assert images.shape == (7, 3, 112, 112)
    assert images.is_contiguous()


@pytest.mark.parametrize("kind", ["flip", "randaugment"])
def test_reading_ahead_changes_nothing(mixture: Mixture, kind: str) -> None:
    """With a worker process and a thread that reads ahead, two processes' strides apart, the batches are the same."""
    augmentation = AugmentationConfig(kind=kind)  # type: ignore[arg-type]
    with (
        _feeder(mixture, augmentation, stride=2, num_workers=1) as ahead,
        _feeder(mixture, augmentation, stride=2) as plain,
    ):
        for number in (1, 3, 5):
            for one, other in zip(ahead.feed(number)[:1], plain.feed(number)[:1], strict=True):
                assert torch.equal(one, other)


def test_resident_crops_are_the_mixtures(mixture: Mixture) -> None:
    """Crops that lie on the device give the batches that are stacked in memory; labels come along."""
    config = FeedConfig(AugmentationConfig(), 112, "symmetric", seed=5)
    sampler = MixedSampler(mixture.sizes, ROWS, 5)
    plain, resident = (
        Feeder(mixture, sampler, config, CPU),
        Feeder(mixture, sampler, config, CPU, ResidentCrops(mixture, CPU)),
    )
    for number in (0, 3):
        (images, batch), (theirs, other) = plain.feed(number), resident.feed(number)
        assert torch.equal(images, theirs)
        assert torch.equal(batch.images, other.images)
        assert torch.equal(batch.identity, other.identity)
        assert torch.equal(plain.plain(number)[0], resident.plain(number)[0])


def test_crops_stay_in_memory_where_a_device_has_no_room(mixture: Mixture) -> None:
    """Crops go to a device only if they take a modest share of what is free there; a CPU's stay where they are."""
    size = sum(np.asarray(table.images).nbytes for table in mixture.tables.values())
    assert fits(mixture, 4 * size)
    assert not fits(mixture, 2 * size)
    assert resident_crops(mixture, CPU) is None


def test_flip_is_a_mirror_image_of_about_half(mixture: Mixture) -> None:
    """Each image is its crop or its mirror image, and both occur."""
    with _feeder(mixture, AugmentationConfig(kind="flip")) as feeder:
        kinds = []
        for number in range(4):
            images, batch = feeder.feed(number)
            crops = normalise(batch.images)
            same, mirrored = (torch.tensor([torch.equal(*pair) for pair in zip(images, other, strict=True)])
                              for other in (crops, crops.flip(3)))  # fmt: skip
            assert bool((same | mirrored).all())
            kinds += same.tolist()
    assert {True, False} == set(kinds)


def test_some_sets_are_only_mirrored(mixture: Mixture) -> None:
    """With RandAugment, rows of a set named in `flip_only` are crops or mirror images; the others are changed."""
    with _feeder(mixture, AugmentationConfig(kind="randaugment", flip_only=("celeba",))) as feeder:
        images, batch = feeder.feed(0)
    crops = normalise(batch.images)
    plain = [
        torch.equal(image, crop) or torch.equal(image, crop.flip(2)) for image, crop in zip(images, crops, strict=True)
    ]
    assert plain[:3] == [True] * 3
    assert not any(plain[3:])


@pytest.mark.parametrize("kind", ["none", "randaugment"])
def test_the_networks_side_and_pixels(mixture: Mixture, kind: str) -> None:
    """Images come at the network's side, in ImageNet's normalisation where it asks for it."""
    augmentation = AugmentationConfig(kind=kind, policy="rand-m0-n0", erasing=0.0, flip=0.0)  # type: ignore[arg-type]
    with _feeder(mixture, augmentation, side_px=64, pixels="imagenet") as feeder:
        images, batch = feeder.feed(0)
        plain, _ = feeder.plain(0)
    expected = resized(normalise(batch.images, "imagenet"), 64)
    assert images.shape == (7, 3, 64, 64)
    assert float((images - expected).abs().mean()) < (1e-5 if kind == "none" else 0.2)
    torch.testing.assert_close(plain, expected, atol=1e-5, rtol=1e-5)


def test_resized() -> None:
    """Images that fit are the same object; others are resized, smaller ones without aliasing."""
    images = torch.rand(2, 3, 8, 8)
    assert resized(images, 8) is images
    checks = torch.from_numpy(np.indices((8, 8)).sum(0) % 2).float().expand(1, 3, 8, 8)
    torch.testing.assert_close(resized(checks, 4)[..., 1:-1, 1:-1], torch.full((1, 3, 2, 2), 0.5), atol=0.02, rtol=0)
