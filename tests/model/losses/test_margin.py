"""Tests of model.losses.margin."""

import math

import pytest
import torch

from model.losses.margin import MarginClassifier, combined_margin

COSINES = torch.tensor([[0.5, 0.1, -0.3], [0.2, 0.9, 0.0]], dtype=torch.float64)
IDENTITY = torch.tensor([0, -1])


@pytest.mark.parametrize(
    ("margins", "hit"),
    [
        ((1.0, 0.0, 0.35), 0.5 - 0.35),
        ((1.0, 0.5, 0.0), math.cos(math.acos(0.5) + 0.5)),
        ((1.35, 0.0, 0.0), math.cos(1.35 * math.acos(0.5))),
        ((0.9, 0.4, 0.15), math.cos(0.9 * math.acos(0.5) + 0.4) - 0.15),
    ],
)
def test_the_target_alone_is_made_harder(margins: tuple[float, float, float], hit: float) -> None:
    """CosFace, ArcFace, SphereFace and their mix: cross entropy with the target's cosine moved by the margins."""
    logits = 64 * torch.tensor([hit, 0.1, -0.3], dtype=torch.float64)
    expected = torch.logsumexp(logits, 0) - logits[0]
    torch.testing.assert_close(combined_margin(COSINES, IDENTITY, 64.0, margins), expected)


def test_rows_without_identity_are_inert() -> None:
    """A row without an identity gets a zero gradient; none at all gives a zero loss."""
    cosines = COSINES.clone().requires_grad_()
    combined_margin(cosines, IDENTITY, 32.0, (1.0, 0.0, 0.2)).backward()
    assert cosines.grad is not None
    assert cosines.grad[0].abs().max().item() > 0.0
    assert cosines.grad[1].abs().max().item() == 0.0
    assert combined_margin(COSINES, torch.tensor([-1, -1]), 32.0, (1.0, 0.0, 0.2)).item() == 0.0


@pytest.mark.parametrize("margins", [(1.0, 0.0, 0.35), (1.0, 0.5, 0.0)])
def test_gradients_are_exact(margins: tuple[float, float, float]) -> None:
    """Analytic gradients agree with finite differences."""
    cosines = COSINES.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: combined_margin(x, IDENTITY, 8.0, margins), cosines)


def test_a_perfect_match_has_a_finite_gradient() -> None:
    """Cosines of exactly 1 and -1, where the angle's own derivative is infinite, give finite gradients."""
    cosines = torch.tensor([[1.0, -1.0], [1.0, -1.0]], requires_grad=True)
    combined_margin(cosines, torch.tensor([0, 1]), 64.0, (1.0, 0.5, 0.0)).backward()
    assert cosines.grad is not None
    assert bool(torch.isfinite(cosines.grad).all())


def test_lengths_do_not_matter() -> None:
    """The classifier compares directions: longer embeddings and weights give the same loss."""
    torch.manual_seed(0)
    classifier = MarginClassifier(8, 5, 32.0, (1.0, 0.0, 0.2))
    embedding, identity = torch.randn(4, 8), torch.tensor([0, 4, -1, 2])
    before = classifier(embedding, identity)
    with torch.no_grad():
        classifier.weight.mul_(3)
    torch.testing.assert_close(classifier(embedding * 7, identity), before)
