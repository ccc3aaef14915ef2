"""Tests of model.losses.margin."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from model.losses.margin import (
    MarginClassifier,
    Margins,
    adacos,
    combined_margin,
    fixed_adacos_scale,
    margin_logits,
    sphereface,
)

COSINES = torch.tensor([[0.5, 0.1, -0.3], [0.2, 0.9, 0.0]], dtype=torch.float64)
IDENTITY = torch.tensor([0, -1])
MARGINS: list[Margins] = [(1.0, 0.0, 0.35), (1.0, 0.5, 0.0), (1.35, 0.0, 0.0), (0.9, 0.4, 0.15), (4.0, 0.3, 0.1)]


def _random(num_rows: int = 6, num_identities: int = 5) -> tuple[Tensor, Tensor]:
    """Float64 cosines over the whole range, and identities, the second row's unknown."""
    generator = torch.Generator().manual_seed(8)
    cosine = 2 * torch.rand(num_rows, num_identities, dtype=torch.float64, generator=generator) - 1
    identity = torch.randint(num_identities, (num_rows,), generator=generator)
    identity[1] = -1
    return cosine, identity


@pytest.mark.parametrize(
    ("margins", "hit"),
    [
        ((1.0, 0.0, 0.35), 0.5 - 0.35),
        ((1.0, 0.5, 0.0), math.cos(math.acos(0.5) + 0.5)),
        ((1.35, 0.0, 0.0), math.cos(1.35 * math.acos(0.5))),
        ((0.9, 0.4, 0.15), math.cos(0.9 * math.acos(0.5) + 0.4) - 0.15),
    ],
)
def test_the_target_alone_is_made_harder(margins: Margins, hit: float) -> None:
    """CosFace, ArcFace, SphereFace and their mix: cross entropy with the target's cosine moved by the margins."""
    logits = 64 * torch.tensor([hit, 0.1, -0.3], dtype=torch.float64)
    expected = torch.logsumexp(logits, 0) - logits[0]
    torch.testing.assert_close(combined_margin(COSINES, IDENTITY, 64.0, margins), expected)


@pytest.mark.parametrize("margins", MARGINS)
def test_targets_fall_over_the_whole_angle(margins: Margins) -> None:
    """From 0 to pi a target's logit never rises: it is the formula up to pi, and goes on falling past it."""
    angle = torch.linspace(0.01, math.pi - 0.01, 2000, dtype=torch.float64)
    cosine = torch.cos(angle)[:, None]
    logit = margin_logits(cosine, torch.zeros(2000, dtype=torch.int64), 1.0, margins)[:, 0]
    assert bool((logit.diff() < 0).all())
    moved = margins[0] * angle + margins[1]
    plain = moved < math.pi
    torch.testing.assert_close(logit[plain], (torch.cos(moved) - margins[2])[plain])


def test_arcface_past_pi_is_its_codes_own() -> None:
    """Where the angle and its margin pass pi, ArcFace takes cos(angle) - m sin(m)."""
    cosine = torch.tensor([[-0.95, 0.0]], dtype=torch.float64)
    logit = margin_logits(cosine, torch.tensor([0]), 64.0, (1.0, 0.5, 0.0))
    assert logit.tolist() == [pytest.approx([64 * (-0.95 - 0.5 * math.sin(0.5)), 0.0])]


def test_sphereface_past_pi_is_the_papers() -> None:
    """Past k half turns SphereFace is (-1)^k cos(m angle) - 2k, which meets itself at every half turn."""
    cosine = torch.tensor([[-0.95, 0.0]], dtype=torch.float64)
    expected = -math.cos(1.35 * math.acos(-0.95)) - 2
    assert margin_logits(cosine, torch.tensor([0]), 1.0, (1.35, 0.0, 0.0))[0, 0].item() == pytest.approx(expected)
    turn = torch.cos(torch.tensor([[math.pi / 4 - 1e-9], [math.pi / 4 + 1e-9]], dtype=torch.float64))
    before, after = margin_logits(turn, torch.tensor([0, 0]), 1.0, (4.0, 0.0, 0.0))
    torch.testing.assert_close(before, after)


def test_sphereface_has_the_published_scale_and_margin() -> None:
    """Without more said, s is 64 and m 1.35."""
    cosine, identity = _random()
    expected = combined_margin(cosine, identity, 64.0, (1.35, 0.0, 0.0))
    assert torch.equal(sphereface(cosine, identity), expected)
    assert not torch.equal(sphereface(cosine, identity, margin=1.2), expected)


def test_the_filter_silences_too_alike_others() -> None:
    """A cosine above the threshold to another identity counts as 0 and has no gradient; the target's own stays."""
    cosine = torch.tensor([[0.8, 0.7, 0.3], [0.9, 0.2, 0.1]], dtype=torch.float64, requires_grad=True)
    identity = torch.tensor([0, 1])
    loss = combined_margin(cosine, identity, 10.0, (1.0, 0.0, 0.2), interclass_filter=0.5)
    rows = torch.tensor([[0.6, 0.0, 0.3], [0.0, 0.0, 0.1]], dtype=torch.float64) * 10
    torch.testing.assert_close(loss, (rows.logsumexp(1) - torch.stack([rows[0, 0], rows[1, 1]])).mean())
    loss.backward()
    assert cosine.grad is not None
    assert (cosine.grad == 0).tolist() == [[False, True, False], [True, False, False]]


@pytest.mark.parametrize(
    "margins", [(0.0, 0.0, 0.0), (-1.0, 0.0, 0.0), (1.0, -0.1, 0.0), (1.0, math.pi, 0.0), (1.0, 0.0, math.nan)]
)
def test_margins_out_of_range_are_refused(margins: Margins) -> None:
    """An m1 of 0 or less, an m2 outside [0, pi), or an m3 that is no number, is named."""
    with pytest.raises(ValueError, match="m1 is above 0"):
        combined_margin(COSINES, IDENTITY, 64.0, margins)


def test_rows_without_identity_are_inert() -> None:
    """A row without an identity gets a zero gradient and changes nothing; none at all gives a zero loss."""
    cosines, identity = _random()
    cosines.requires_grad_()
    loss = combined_margin(cosines, identity, 32.0, (1.0, 0.3, 0.2), interclass_filter=0.4)
    loss.backward()
    assert cosines.grad is not None
    assert cosines.grad[0].abs().max().item() > 0.0
    assert cosines.grad[1].abs().max().item() == 0.0
    known = identity >= 0
    torch.testing.assert_close(loss, combined_margin(cosines[known], identity[known], 32.0, (1.0, 0.3, 0.2), 0.4))
    assert combined_margin(COSINES, torch.tensor([-1, -1]), 32.0, (1.0, 0.0, 0.2)).item() == 0.0


@pytest.mark.parametrize("margins", MARGINS)
def test_gradients_are_exact(margins: Margins) -> None:
    """Analytic gradients agree with finite differences, past pi too."""
    cosines, identity = _random()
    cosines[0, identity[0]] = -0.97
    cosines.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: combined_margin(x, identity, 8.0, margins), cosines)


@pytest.mark.parametrize("margins", MARGINS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_perfect_match_has_a_finite_gradient(margins: Margins, dtype: torch.dtype) -> None:
    """Cosines of exactly 1 and -1, where the angle's own derivative is infinite, give finite float32 gradients."""
    cosines = torch.tensor([[1.0, -1.0], [1.0, -1.0]], dtype=dtype, requires_grad=True)
    loss = combined_margin(cosines, torch.tensor([0, 1]), 64.0, margins)
    loss.backward()
    assert cosines.grad is not None
    assert loss.dtype == torch.float32
    assert bool(torch.isfinite(loss))
    assert bool(torch.isfinite(cosines.grad).all())


def test_half_precision_margins_are_computed_in_float32() -> None:
    """Half-precision cosines give what their float32 copies give."""
    cosine, identity = _random()
    half = cosine.half()
    expected = combined_margin(half.float(), identity, 64.0, (1.0, 0.5, 0.0))
    assert torch.equal(combined_margin(half, identity, 64.0, (1.0, 0.5, 0.0)), expected)


def _adacos(cosine: Tensor, identity: Tensor, old: float) -> tuple[float, float]:
    """AdaCos' loss and new scale by the paper's equations, number by number."""
    rows = [row for row in range(len(identity)) if identity[row] >= 0]
    others, angles = 0.0, []
    for row in rows:
        own = int(identity[row])
        others += sum(math.exp(old * cosine[row, k].item()) for k in range(cosine.shape[1]) if k != own)
        angles.append(math.acos(cosine[row, own].item()))
    median = sorted(angles)[(len(angles) - 1) // 2]
    scale = math.log(others / len(rows)) / math.cos(min(math.pi / 4, median))
    loss = 0.0
    for row in rows:
        logits = [scale * value for value in cosine[row].tolist()]
        loss += math.log(sum(map(math.exp, logits))) - logits[int(identity[row])]
    return loss / len(rows), scale


@pytest.mark.parametrize("near", [False, True])
def test_adacos_is_the_plain_formula(near: bool) -> None:
    """The scale follows the others' mean sum and the median angle, at most 45 degrees, and is used at once."""
    cosine, identity = _random()
    if near:
        cosine[range(6), identity] = 0.9
    for old in (fixed_adacos_scale(5), 7.5):
        loss, scale = adacos(cosine, identity, old)
        assert (loss.item(), scale.item()) == pytest.approx(_adacos(cosine, identity, old))


def test_adacos_starts_at_the_fixed_scale() -> None:
    """The first scale is sqrt(2) log(K - 1), and fewer than three identities are refused."""
    assert fixed_adacos_scale(85742) == pytest.approx(math.sqrt(2) * math.log(85741))
    with pytest.raises(ValueError, match="3 identities or more, not 2"):
        fixed_adacos_scale(2)


def test_adacos_rows_without_identity_are_inert() -> None:
    """A row without an identity neither moves the scale nor gets a gradient; none at all keeps the old scale."""
    cosine, identity = _random()
    cosine.requires_grad_()
    loss, scale = adacos(cosine, identity, 5.0)
    loss.backward()
    assert cosine.grad is not None
    assert cosine.grad[1].abs().max().item() == 0.0
    known = identity >= 0
    same_loss, same_scale = adacos(cosine[known], identity[known], 5.0)
    torch.testing.assert_close((loss, scale), (same_loss, same_scale))
    nothing, kept = adacos(cosine, torch.full_like(identity, -1), 5.0)
    assert (nothing.item(), kept.item()) == (0.0, 5.0)


def test_adacos_gradients_are_exact() -> None:
    """At a given scale the loss is a softmax: analytic gradients agree with those of the plain one."""
    cosine, identity = _random()
    cosine.requires_grad_()
    loss, scale = adacos(cosine, identity, 5.0)
    loss.backward()
    assert cosine.grad is not None
    assert not scale.requires_grad
    plain = cosine.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: combined_margin(x, identity, scale.item(), (1.0, 0.0, 0.0)), plain)
    combined_margin(plain, identity, scale.item(), (1.0, 0.0, 0.0)).backward()
    torch.testing.assert_close(cosine.grad, plain.grad)


def test_adacos_never_turns_round() -> None:
    """Others that are all far away cannot make the scale negative, and from 0 it finds its way back."""
    cosine = torch.tensor([[0.9, -0.9, -0.9]])
    _, scale = adacos(cosine, torch.tensor([0]), 30.0)
    assert scale.item() == 0.0
    _, scale = adacos(cosine, torch.tensor([0]), scale)
    assert scale.item() == pytest.approx(math.log(2) / math.cos(math.acos(0.9)))


def test_adacos_is_finite_at_a_great_scale() -> None:
    """A sum of exponentials that is beyond float32 has a finite logarithm."""
    loss, scale = adacos(torch.ones(2, 5, dtype=torch.float16), torch.tensor([0, 1]), 1e4)
    assert bool(torch.isfinite(loss))
    assert scale.item() == pytest.approx(1e4 + math.log(4))


def test_lengths_do_not_matter() -> None:
    """The classifier compares directions: longer embeddings and weights give the same loss."""
    torch.manual_seed(0)
    classifier = MarginClassifier(8, 5, 32.0, (1.0, 0.0, 0.2))
    embedding, identity = torch.randn(4, 8), torch.tensor([0, 4, -1, 2])
    before = classifier(embedding, identity)
    with torch.no_grad():
        classifier.weight.mul_(3)
    torch.testing.assert_close(classifier(embedding * 7, identity), before)


def test_the_shipped_recipes_margin_is_as_it_was() -> None:
    """CosFace's loss and gradients are those of the plain scatter, bit for bit: trainings of before can be repeated."""
    torch.manual_seed(0)
    classifier = MarginClassifier(16, 40, 32.0, (1.0, 0.0, 0.2))
    identity = torch.randint(-1, 40, (12,))
    embedding = torch.randn(12, 16, requires_grad=True)
    classifier(embedding, identity).backward()
    got = embedding.grad, classifier.weight.grad
    plain, weight = embedding.detach().clone().requires_grad_(), classifier.weight.detach().clone().requires_grad_()
    cosine = F.linear(F.normalize(plain, dim=1), F.normalize(weight, dim=1))
    target = identity.clamp(min=0)[:, None]
    logits = cosine.scatter(1, target, cosine.gather(1, target) - 0.2) * 32.0
    rows = F.cross_entropy(logits, target[:, 0], reduction="none") * (identity >= 0).float()
    (rows.sum() / (identity >= 0).float().sum()).backward()
    for mine, theirs in zip(got, (plain.grad, weight.grad), strict=True):
        assert mine is not None
        assert theirs is not None
        assert torch.equal(mine, theirs)
