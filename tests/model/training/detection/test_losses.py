"""Tests of `model.training.detection.losses` and the objective made of them."""

from dataclasses import replace
from itertools import combinations

import cv2
import numpy as np
import pytest
import torch

from model.training.detection.batches import BatchReader
from model.training.detection.composites import Compositor
from model.training.detection.drawing import Batch, draw_batch
from model.training.detection.losses import box_iou, distance_iou, landmark_distance, quality_focal
from model.training.detection.objective import detection_losses, weighted_sum
from model.training.detection.recipe import CanvasConfig, DetectorLossWeights
from model.training.detection.targets import anchor_grid
from tests.model.detector.networks import tiny_detector
from tests.model.training.detection.data import heads

CANVAS = CanvasConfig(side_px=96, batch=3, large_side_px=128, large_batch=2, large_every=3, views=1)


def same(one: Batch, other: Batch) -> bool:
    """Whether two batches are the same numbers."""
    pairs = [(getattr(one, name), getattr(other, name)) for name in one.__slots__]
    return all(a is None and b is None if a is None or b is None else torch.equal(a, b) for a, b in pairs)


def test_quality_focal() -> None:
    """The value is Li et al.'s equation 4; nothing where the score is the quality, or where it is not counted."""
    logits, quality = torch.tensor([[0.4, -2.0]]), torch.tensor([[0.7, 0.0]])
    score = torch.sigmoid(logits)
    entropy = -(quality * score.log() + (1 - quality) * (1 - score).log())
    expected = ((quality - score).abs() ** 2 * entropy).sum()
    torch.testing.assert_close(quality_focal(logits, quality, torch.ones(1, 2, dtype=torch.bool)), expected)
    exact = torch.logit(torch.tensor([[0.7]]))
    assert quality_focal(exact, torch.tensor([[0.7]]), torch.ones(1, 1, dtype=torch.bool)) < 1e-6
    assert quality_focal(logits, quality, torch.zeros(1, 2, dtype=torch.bool)) == 0


def test_uncounted_has_no_gradient() -> None:
    """An anchor that is not counted gets no gradient."""
    logits = torch.zeros(1, 3, requires_grad=True)
    quality_focal(logits, torch.zeros(1, 3), torch.tensor([[True, False, True]])).backward()
    assert logits.grad is not None
    assert (logits.grad != 0).tolist() == [[True, False, True]]


def test_boxes() -> None:
    """IoU and DIoU of equal, half-overlapping and distant boxes; a distant one still pulls towards its target."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 5, 10, 15], [20, 0, 30, 10]], requires_grad=True)
    targets = torch.tensor([[0.0, 0, 10, 10]]).expand(3, 4)
    torch.testing.assert_close(box_iou(boxes, targets), torch.tensor([1.0, 1 / 3, 0.0]))
    expected = torch.tensor([0.0, 2 / 3 + 25 / (100 + 225), 1 + 400 / (900 + 100)])
    torch.testing.assert_close(distance_iou(boxes, targets), expected)
    distance_iou(boxes, targets)[2].backward()
    assert boxes.grad is not None
    assert boxes.grad[2, 0] > 0


def test_landmarks() -> None:
    """The landmark loss does not depend on the face's size, and is zero for exact points."""
    points, targets = torch.rand(4, 5, 2) * 10, torch.rand(4, 5, 2) * 10
    sizes = torch.full((4,), 8.0)
    loss = landmark_distance(points, targets, sizes)
    assert loss.shape == (4,)
    torch.testing.assert_close(landmark_distance(points * 4, targets * 4, sizes * 4), loss)
    assert landmark_distance(points, points, sizes).abs().max() == 0


def test_batches() -> None:
    """A batch is a function of its step, read ahead or not; every few steps it is of large canvases."""
    compositor = Compositor(heads(), 3)
    with BatchReader(compositor, CANVAS) as reader:
        for step in (0, 1, 2, 7):
            one = reader.read(step)
            assert same(one, draw_batch(compositor, CANVAS, step))
            assert one.images.shape == ((2, 3, 128, 128) if step == 2 else (3, 3, 96, 96))
            assert one.counted.shape == (len(one.images), len(anchor_grid(*one.images.shape[2:]).sides))


def test_views_of_a_drawing() -> None:
    """The steps of a drawing see the same canvases, each otherwise, and the next drawing has its own."""
    compositor, config = Compositor(heads(), 3), replace(CANVAS, views=3)
    with BatchReader(compositor, config) as reader:
        batches = [reader.read(step) for step in range(9)]
        again = [reader.read(step) for step in (4, 7, 1)]
    for batch, step in zip(again, (4, 7, 1), strict=True):
        assert same(batch, batches[step])
        assert same(batch, draw_batch(compositor, config, step))
    assert same(batches[3], draw_batch(compositor, CANVAS, 1))
    assert batches[8].images.shape == (2, 3, 128, 128)
    for first in (0, 3, 6):
        seen = [batch.pixels() for batch in batches[first : first + 3]]
        assert torch.equal(seen[0], batches[first].images.float())
        assert not any(torch.equal(*pair) for pair in combinations(seen, 2))
        for batch in batches[first : first + 3]:
            assert torch.equal(batch.images, batches[first].images)
            assert batch.counted[batch.image, batch.anchor].all()
    assert not torch.equal(batches[0].images, batches[3].images)


@pytest.mark.parametrize("views", [1, 2])
def test_processes_draw_the_same_batches(views: int) -> None:
    """Batches that processes draw are those of one thread, whatever threads OpenCV had before they branched off."""
    cv2.setNumThreads(2)
    cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (0, 0), 3)
    compositor, config = Compositor(heads(), 3), replace(CANVAS, views=views)
    with BatchReader(compositor, config, num_workers=2) as reader:
        for step in (4, 5, 6, 2):
            assert same(reader.read(step), draw_batch(compositor, config, step))


def test_perfect_answers() -> None:
    """A network that says just what the targets are loses nothing but the score's doubt."""
    batch = draw_batch(Compositor(heads(), 3), CANVAS, 0)
    assert len(batch.image) > 0
    grid = anchor_grid(96, 96)
    count = len(grid.sides)
    logits = torch.full((3, count, 1), -12.0)
    distances, points = torch.ones(3, count, 4), torch.zeros(3, count, 10)
    centres, strides = (torch.from_numpy(each)[batch.anchor] for each in (grid.centres, grid.strides))
    reach = torch.cat([centres - batch.boxes[:, :2], batch.boxes[:, 2:] - centres], dim=1) / strides[:, None]
    distances[batch.image, batch.anchor] = reach
    points[batch.image, batch.anchor] = ((batch.landmarks - centres[:, None]) / strides[:, None, None]).flatten(1)
    logits[batch.image, batch.anchor] = 12.0
    sizes = [96 // stride for stride in (8, 16, 32)]
    parts = [2 * size * size for size in sizes]
    levels = list(zip(*(torch.split(each, parts, dim=1) for each in (logits, distances, points)), strict=True))
    losses = detection_losses(levels, batch)
    assert losses["iou"] > 0.9999
    assert losses["score"] < 1e-4
    assert losses["box"] < 1e-4
    assert losses["landmarks"] < 1e-6
    weights = DetectorLossWeights(1, 10, 100)
    expected = losses["score"] + 10 * losses["box"] + 100 * losses["landmarks"]
    assert weighted_sum(losses, weights) == pytest.approx(float(expected))


def test_learning() -> None:
    """A few dozen steps on one batch halve its loss."""
    batch = draw_batch(Compositor(heads(), 3), CANVAS, 0)
    network = tiny_detector().train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    images = (batch.images.float() - 127.5) / 128
    values = []
    for _ in range(40):
        loss = weighted_sum(detection_losses(network.levels(images), batch), DetectorLossWeights())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    assert np.mean(values[-3:]) < 0.5 * values[0]


def test_no_face() -> None:
    """A batch without a face still has a finite loss that punishes false scores."""
    compositor = Compositor(heads(), 3)
    steps = (draw_batch(compositor, CanvasConfig(96, 1, 96, 1, 0, 1), step) for step in range(200))
    batch = next(batch for batch in steps if len(batch.image) == 0)
    losses = detection_losses(tiny_detector().levels((batch.images.float() - 127.5) / 128), batch)
    assert losses["score"] > 0
    assert losses["box"] == losses["landmarks"] == losses["iou"] == 0
