"""Tests of model.losses.attributes: each loss against its formula, cell by cell."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from model.losses.attributes import asymmetric, focal, lse_sign, masked_bce

Loss = Callable[[Tensor, Tensor], Tensor]

TARGET = torch.tensor([[1, 0, -1, 1], [-1, -1, -1, -1], [0, 0, 1, -1]])
MASK = torch.tensor([[0, 1, 1, 1], [1, 0, 1, 0], [1, 0, 0, 0]])


def _masked(logits: Tensor, target: Tensor) -> Tensor:
    return masked_bce(logits, target, MASK[: len(logits)], mask_ratio=0.3)


def _unshifted(logits: Tensor, target: Tensor) -> Tensor:
    return asymmetric(logits, target, gamma_negative=0.5, gamma_positive=0.0, clip=0.0)


def _across(logits: Tensor, target: Tensor) -> Tensor:
    return lse_sign(logits, target, scale=3.0, across_batch=True)


LOSSES: list[Loss] = [focal, asymmetric, _unshifted, masked_bce, _masked, lse_sign, _across]
every = pytest.mark.parametrize("loss", LOSSES)


@pytest.fixture
def logits() -> Tensor:
    """Float64 logits (3, 4) of both signs."""
    return 2 * torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def _cells(logits: Tensor) -> list[tuple[int, int, float, int]]:
    """Row, attribute, logit and target of every labelled cell."""
    rows, attributes = TARGET.shape
    cells = [(b, a, logits[b, a].item(), int(TARGET[b, a])) for b in range(rows) for a in range(attributes)]
    return [cell for cell in cells if cell[3] >= 0]


def test_focal_is_the_plain_formula(logits: Tensor) -> None:
    """Positives weigh alpha, negatives the rest, each fades as (1 - q)^gamma, and the cells are summed."""
    expected = 0.0
    for _, _, logit, target in _cells(logits):
        truth = _sigmoid(logit) if target else 1 - _sigmoid(logit)
        expected -= (0.8 if target else 0.2) * (1 - truth) ** 2 * math.log(truth)
    assert focal(logits, TARGET).item() == pytest.approx(expected)
    assert focal(logits, TARGET, reduction="mean").item() == pytest.approx(expected / 6)


def test_focal_without_focus_is_binary_cross_entropy(logits: Tensor) -> None:
    """Gamma 0 and alpha a half leave half the binary cross entropy."""
    target = TARGET[[0]][:, [0, 1]]
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[:1, :2], target.double(), reduction="sum")
    torch.testing.assert_close(focal(logits[:1, :2], target, alpha=0.5, gamma=0.0), expected / 2)


@pytest.mark.parametrize(("gammas", "clip"), [((4.0, 1.0), 0.05), ((2.0, 0.0), 0.2), ((4.0, 1.0), 0.0)])
def test_asymmetric_is_the_plain_formula(logits: Tensor, gammas: tuple[float, float], clip: float) -> None:
    """A positive fades as (1 - p)^g+, a negative as m^g- with m its probability less the clip, not below 0."""
    expected = 0.0
    for _, _, logit, target in _cells(logits):
        if target:
            expected -= (1 - _sigmoid(logit)) ** gammas[1] * math.log(_sigmoid(logit))
        else:
            shifted = max(_sigmoid(logit) - clip, 0.0)
            expected -= shifted ** gammas[0] * math.log(1 - shifted)
    assert asymmetric(logits, TARGET, *gammas, clip).item() == pytest.approx(expected)


def test_asymmetric_ignores_easy_negatives() -> None:
    """A negative whose probability is below the clip has no gradient."""
    logits = torch.tensor([[-4.0, 1.0]], requires_grad=True)
    asymmetric(logits, torch.zeros(1, 2, dtype=torch.int64)).backward()
    assert logits.grad is not None
    assert logits.grad[0, 0].item() == 0.0
    assert logits.grad[0, 1].item() > 0.0


def test_masked_bce_is_the_plain_formula(logits: Tensor) -> None:
    """The mask's cells weigh the ratio, the others 1, logits end at +-10, and the weights' sum divides."""
    logits = torch.cat([logits[:2] * 10, logits[2:]])
    for loss, ratio in ((masked_bce, None), (_masked, 0.3)):
        total, weights = 0.0, 0.0
        for row, attribute, logit, target in _cells(logits):
            probability = _sigmoid(min(max(logit, -10.0), 10.0))
            weight = 1.0 if ratio is None or MASK[row, attribute] == 0 else ratio
            total -= weight * math.log(probability if target else 1 - probability)
            weights += weight
        assert loss(logits, TARGET).item() == pytest.approx(total / weights)


def test_lse_sign_is_the_plain_formula(logits: Tensor) -> None:
    """A row's loss is log(1 + sum exp(-y s)); FAER's code takes one logarithm over all rows instead."""
    sums = [0.0, 0.0, 0.0]
    for row, _, logit, target in _cells(logits):
        sums[row] += math.exp(-(1 if target else -1) * 3.0 * logit)
    assert lse_sign(logits, TARGET, scale=3.0).item() == pytest.approx((math.log1p(sums[0]) + math.log1p(sums[2])) / 2)
    assert _across(logits, TARGET).item() == pytest.approx(math.log1p(sum(sums)) / 2)


@every
def test_unlabelled_cells_are_inert(loss: Loss, logits: Tensor) -> None:
    """A cell without a label gets a zero gradient and changes nothing, however large; none labelled is a zero loss."""
    logits = logits.requires_grad_()
    loss(logits, TARGET).backward()
    assert logits.grad is not None
    assert logits.grad[TARGET < 0].abs().max().item() == 0.0
    assert logits.grad[TARGET >= 0].abs().max().item() > 0.0
    changed = torch.where(TARGET < 0, torch.full_like(logits, 1e4), logits)
    torch.testing.assert_close(loss(changed, TARGET), loss(logits, TARGET))
    nothing = loss(logits, torch.full_like(TARGET, -1))
    nothing.backward()
    assert nothing.item() == 0.0
    assert bool(torch.isfinite(logits.grad).all())


@every
def test_gradients_are_exact(loss: Loss, logits: Tensor) -> None:
    """Analytic gradients agree with finite differences."""
    assert torch.autograd.gradcheck(lambda x: loss(x, TARGET), logits.requires_grad_())


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extreme_logits_stay_finite(loss: Loss, dtype: torch.dtype) -> None:
    """Right and wrong answers at the edge of half precision give a finite float32 loss and finite gradients."""
    logits = torch.tensor([[6e4, -6e4, 6e4, -6e4], [0.0] * 4, [6e4, -6e4, -6e4, 0.0]], dtype=dtype, requires_grad=True)
    got = loss(logits, TARGET)
    got.backward()
    assert logits.grad is not None
    assert got.dtype == torch.float32
    assert bool(torch.isfinite(got))
    assert bool(torch.isfinite(logits.grad).all())


@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_slow_fading_has_finite_gradients(clip: float) -> None:
    """Gamma below 1, where a power's own slope at 0 is infinite, still gives finite gradients."""
    logits = torch.tensor([[1e3, -1e3], [-1e3, 1e3]], requires_grad=True)
    target = torch.tensor([[1, 0], [1, 0]])
    (focal(logits, target, gamma=0.5) + asymmetric(logits, target, 0.5, 0.5, clip)).backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())
