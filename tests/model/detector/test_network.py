"""Tests of `model.detector.network`."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from model.detector.config import ANCHOR_SIDES_PX, NUM_ANCHORS, STRIDES, DetectorConfig
from model.detector.network import DetectorNetwork, with_level_norms, with_small_shift
from model.training.batch_norm import with_precise_statistics
from model.training.detection.recipe import DetectorRecipe
from tests.model.detector.networks import OWN_LANDMARKS, TINY, WHOLE, tiny_detector


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 64, 64), (2, 96, 160)])
def test_outputs(batch: int, height: int, width: int) -> None:
    """Nine outputs in SCRFD's order, two anchors a cell, scores from 0 to 1, boxes that are never inside out."""
    outputs = tiny_detector()(torch.randn(batch, 3, height, width))
    cells = [(height // stride) * (width // stride) for stride in STRIDES]
    expected = [(batch, count * NUM_ANCHORS, columns) for columns in (1, 4, 10) for count in cells]
    assert [tuple(output.shape) for output in outputs] == expected
    assert all(output.min() >= 0 and output.max() <= 1 for output in outputs[:3])
    assert all((output > 0).all() for output in outputs[3:6])


def test_prior() -> None:
    """An untrained detector holds every anchor to be no face, and every box to be its anchor."""
    torch.manual_seed(0)
    with torch.no_grad():
        outputs = DetectorNetwork(DetectorConfig()).eval()(torch.randn(1, 3, 128, 128))
    for level, (stride, sides) in enumerate(zip(STRIDES, ANCHOR_SIDES_PX, strict=True)):
        assert outputs[level].max() < 0.02
        first, second = outputs[3 + level][0, 0::2], outputs[3 + level][0, 1::2]
        torch.testing.assert_close(first, torch.full_like(first, sides[0] / stride / 2), rtol=0.1, atol=0)
        torch.testing.assert_close(second, torch.full_like(second, sides[1] / stride / 2), rtol=0.1, atol=0)


def test_anchor_order() -> None:
    """Anchors go row by row, two a cell: a change at the lower right moves the last ones and not the first."""
    network = tiny_detector()
    plain = torch.zeros(1, 3, 512, 512)
    touched = plain.clone()
    touched[:, :, -32:, -32:] = torch.randn(32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before, after = network(plain)[0][0, :, 0], network(touched)[0][0, :, 0]
    moved = (before - after).abs() > 1e-6
    assert moved[-8:].any()
    assert not moved[:200].any()


def test_batch_independence() -> None:
    """An image's answer in evaluation does not depend on the others of its batch."""
    network = tiny_detector()
    images = torch.randn(3, 3, 64, 96)
    with torch.no_grad():
        together, alone = network(images), [network(image[None]) for image in images]
    for index, output in enumerate(together):
        torch.testing.assert_close(output, torch.cat([each[index] for each in alone]), rtol=1e-4, atol=1e-5)


def test_size() -> None:
    """The make-up that is trained has under 750,000 parameters, the tiny one under ten thousand."""
    assert 200_000 < sum(value.numel() for value in DetectorNetwork(DetectorRecipe().network).parameters()) < 750_000
    assert sum(value.numel() for value in DetectorNetwork(TINY).parameters()) < 10_000


def test_landmark_blocks() -> None:
    """With blocks of their own the landmarks are a level's own business: nothing else changes when one of them does."""
    network = DetectorNetwork(OWN_LANDMARKS).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = network(images)
        network.get_parameter("head.landmark_heads.1.landmarks.bias").add_(1)
        after = network(images)
    changed = [not torch.equal(one, other) for one, other in zip(before, after, strict=True)]
    assert changed == [False] * 7 + [True, False]


@pytest.mark.parametrize("config", [TINY, OWN_LANDMARKS, WHOLE])
def test_gradients(config: DetectorConfig) -> None:
    """Every parameter takes part in the answer."""
    torch.manual_seed(0)
    network = DetectorNetwork(config).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)  # what begins as nothing gives its convolution no gradient yet
    sum(output.square().sum() for output in network(torch.randn(2, 3, 64, 64))).backward()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in network.parameters())


def _mismatch(network: DetectorNetwork) -> float:
    """How far scores in service are from those in training on a batch whose statistics the norms have."""
    images = torch.randn(8, 3, 256, 256, generator=torch.Generator().manual_seed(2))
    served = with_precise_statistics(network, [images])
    with torch.no_grad():
        trained = network.train().levels(images)
        found = served.levels(images)
    return max(float((one[0] - other[0]).abs().max()) for one, other in zip(trained, found, strict=True))


def test_norms_know_their_level() -> None:
    """In service a head with norms of each level answers as in training; one norm for all levels is off on each."""
    assert _mismatch(tiny_detector(config=WHOLE)) < 0.1 * _mismatch(tiny_detector(config=OWN_LANDMARKS))


@pytest.mark.parametrize("config", [TINY, OWN_LANDMARKS])
def test_splitting_norms_changes_no_answer(config: DetectorConfig) -> None:
    """Split into one a level, the norms answer as the one that served all; splitting again does nothing."""
    network, images = tiny_detector(config=config), torch.randn(2, 3, 96, 64)
    split = with_level_norms(network)
    with torch.no_grad():
        for before, after in zip(network(images), split(images), strict=True):
            torch.testing.assert_close(after, before)
    assert split.config == replace(config, level_norms=True)
    assert with_level_norms(split) is split


def test_finer_features_add_nothing_at_first() -> None:
    """A detector that takes over another's weights, and sees finer features, begins where that one ended."""
    torch.manual_seed(1)
    before, after = DetectorNetwork(OWN_LANDMARKS).eval(), DetectorNetwork(replace(OWN_LANDMARKS, landmark_finer=True))
    after.load_state_dict(after.state_dict() | before.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for one, other in zip(before(images), after.eval()(images), strict=True):
            torch.testing.assert_close(other, one)


def test_the_smallest_anchors_are_judged_harder() -> None:
    """In service the smallest anchors' logits are lower by the shift, and nothing else; in training none is."""
    network, images = tiny_detector(config=WHOLE), torch.randn(1, 3, 64, 96)
    shifted = with_small_shift(network, 0.75)
    with torch.no_grad():
        before, after = network(images), shifted(images)
        for one, other in zip(network.levels(images), shifted.levels(images), strict=True):
            torch.testing.assert_close(other, one, rtol=0, atol=0)
    logits = [each[0].logit().view(-1, NUM_ANCHORS) for each in (before[0], after[0])]
    torch.testing.assert_close(logits[1][:, 0], logits[0][:, 0] - 0.75, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(logits[1][:, 1], logits[0][:, 1], rtol=1e-4, atol=1e-4)
    for one, other in zip(before[1:], after[1:], strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=0)
