"""Tests of model.training.augmentation."""

from dataclasses import fields, replace
from typing import Any

import pytest
import torch

from model.training.augmentation import Augmentation, AugmentationConfig, black_border, blur
from model.training.seeds import torch_generator

NONE = replace(
    AugmentationConfig(**{field.name: 0 for field in fields(AugmentationConfig) if field.type in (float, int)}),  # type: ignore[arg-type]
    min_resolution_px=8,
)


def _crops(num: int = 6, side: int = 32) -> torch.Tensor:
    smooth = torch.rand(num, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.4
    return torch.nn.functional.interpolate(smooth, (side, side), mode="bilinear")


def _augment(config: AugmentationConfig, images: torch.Tensor, position: int = 0) -> torch.Tensor:
    return Augmentation(config)(images, torch_generator(5, 1, position))


def _framed(num: int = 6) -> torch.Tensor:
    """Crops whose second half have a black frame, as where a source photograph ended."""
    images = _crops(num)
    images[num // 2 :, :, :5] = -1
    images[num // 2 :, :, :, -4:] = -1
    return images


def test_nothing_asked_nothing_changed() -> None:
    """With every probability and range at 0 a batch comes back as it was."""
    images = _crops()
    torch.testing.assert_close(_augment(NONE, images), images, atol=1e-5, rtol=0)


def test_same_generator_same_crops() -> None:
    """The same seed and step give the same crops bit for bit; another step gives others."""
    config, images = AugmentationConfig(erase=0.5), _crops()
    assert torch.equal(_augment(config, images, 3), _augment(config, images, 3))
    assert not torch.equal(_augment(config, images, 3), _augment(config, images, 4))


def test_the_batch_itself_is_not_touched() -> None:
    """The given tensor still holds the original crops afterwards."""
    images = _framed()
    kept = images.clone()
    _augment(AugmentationConfig(blur=1.0, noise=1.0, low_resolution=1.0), images)
    assert torch.equal(images, kept)


def test_flip_is_a_mirror() -> None:
    """A certain flip gives each crop's mirror image."""
    images = _crops()
    torch.testing.assert_close(_augment(replace(NONE, flip=1.0), images), images.flip(3), atol=1e-5, rtol=0)


def test_grey_has_equal_channels() -> None:
    """A grey crop has three equal channels: its luma."""
    grey = _augment(replace(NONE, grey=1.0), _crops())
    torch.testing.assert_close(grey[:, 0], grey[:, 2])
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    torch.testing.assert_close(grey[:, 0], (_crops() * weights).sum(1), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "change",
    [
        {"rotation_degrees": 20.0},
        {"scale": 0.2},
        {"shift": 0.2},
        {"brightness": 0.3},
        {"contrast": 0.3},
        {"low_resolution": 1.0, "min_resolution_px": 8},
        {"blur": 1.0},
        {"noise": 1.0, "noise_sigma": 0.2},
        {"erase": 1.0, "erase_share": 0.5},
        {"edge_cut": 1.0},
    ],
)
def test_each_operation_acts_alone(change: dict[str, float]) -> None:
    """Each operation changes most crops, keeps their shape and stays within -1 and 1."""
    images = _crops()
    changed = _augment(replace(NONE, **change), images)  # type: ignore[arg-type]
    assert changed.shape == images.shape
    assert float(changed.abs().max()) <= 1
    assert int(((changed - images).abs().amax((1, 2, 3)) > 0.01).sum()) >= 4


def test_black_border_is_found() -> None:
    """The border is what dark pixels alone separate from a side: frames are, a dark spot inside is not."""
    images = torch.zeros(2, 3, 16, 16)
    images[0, :, :3] = -1
    images[0, :, :, 14:] = -0.99
    images[1, :, 6:9, 6:9] = -1
    border = black_border(images, 0.05)
    expected = torch.zeros(16, 16, dtype=torch.bool)
    expected[:3] = True
    expected[:, 14:] = True
    assert torch.equal(border[0, 0], expected)
    assert not bool(border[1].any())


def test_borders_are_given_to_crops_without_one() -> None:
    """Where borders are always exchanged, crops that had none get another's black frame."""
    exchanged = torch.stack(
        [_augment(replace(NONE, border=1.0, border_darkness=0.05), _framed(), step) for step in range(6)]
    )
    bare = exchanged[:, :3]
    assert bool((bare[:, :, :, :5, :28] < -0.999).flatten(2).all(2).any())
    assert bool((bare[:, :, :, :5, :28] > -0.99).flatten(2).any(2).any())


def test_borders_are_filled() -> None:
    """Where borders are always filled, hardly any crop's frame stays black."""
    filled = torch.stack(
        [_augment(replace(NONE, border_fill=1.0, border_darkness=0.05), _framed(), s) for s in range(8)]
    )
    black = (filled[:, 3:, :, :5] < -0.999).flatten(2).all(2).float().mean()
    untouched = _augment(replace(NONE, border_darkness=0.05), _framed())
    assert bool((untouched[3:, :, :5] < -0.999).all())
    assert float(black) < 0.5


def test_blur_keeps_a_flat_picture() -> None:
    """A blur leaves a flat picture flat, up to its edges, and spreads a point by the binomial weights."""
    flat = torch.full((1, 3, 5, 5), 0.25)
    torch.testing.assert_close(blur(flat), flat)
    point = torch.zeros(1, 3, 5, 5)
    point[:, :, 2, 2] = 1
    torch.testing.assert_close(
        blur(point)[0, 0, 1:4, 1:4], torch.tensor([1.0, 2, 1])[:, None] * torch.tensor([1.0, 2, 1]) / 16
    )


def test_nothing_is_resized_where_no_crop_is_coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of which the draw makes no crop coarse is not resized: a GPU refuses to resize no images at all."""
    interpolate = torch.nn.functional.interpolate
    sizes: list[int] = []

    def counting(images: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        sizes.append(len(images))
        return interpolate(images, *args, **options)

    monkeypatch.setattr(torch.nn.functional, "interpolate", counting)
    images = _crops()
    sizes.clear()
    for position in range(4):
        _augment(replace(NONE, low_resolution=0.3), images, position)
    assert sizes
    assert 0 not in sizes
