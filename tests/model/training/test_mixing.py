"""Tests of model.training.mixing."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from model.losses.classification import cross_entropy
from model.training.mixing import cutmix, mixed, mixup

Mix = Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor, float]]


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _images() -> Tensor:
    return torch.rand(5, 3, 12, 16, generator=_generator(9))


def test_mixup_is_the_plain_formula() -> None:
    """Every image is its share of itself and the rest of its partner's; partners are a permutation."""
    images = _images()
    got, partner, share = mixup(images, _generator(1))
    assert sorted(partner.tolist()) == list(range(5))
    assert 0.0 < share < 1.0
    for row in range(5):
        torch.testing.assert_close(got[row], share * images[row] + (1 - share) * images[int(partner[row])])
    assert torch.equal(images, _images())


def test_cutmix_pastes_one_box() -> None:
    """Each pixel is the own one's or the partner's, the partner's are a box, and the share is what was kept."""
    images, boxes = _images(), 0
    for seed in range(20):
        got, partner, share = cutmix(images, _generator(seed))
        assert sorted(partner.tolist()) == list(range(5))
        for row in range(5):
            if int(partner[row]) == row:
                assert torch.equal(got[row], images[row])
                continue
            pasted = (got[row] != images[row]).all(0)
            assert torch.equal(pasted, (got[row] != images[row]).any(0))
            assert torch.equal(got[row][:, pasted], images[int(partner[row])][:, pasted])
            assert 1 - pasted.double().mean().item() == pytest.approx(share)
            box = pasted.any(1).nonzero(), pasted.any(0).nonzero()
            assert int(pasted.sum()) == len(box[0]) * len(box[1])
            boxes += bool(pasted.any())
    assert boxes > 20
    assert torch.equal(images, _images())


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_a_mixture_is_a_function_of_the_seed(
    mix: Mix,
) -> None:
    """One seed gives one mixture whatever was drawn before, another seed another."""
    first, other = mix(_images(), _generator(1)), mix(_images(), _generator(2))
    torch.manual_seed(0)
    torch.rand(3)
    again = mix(_images(), _generator(1))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert first[2] == again[2]
    assert not torch.equal(first[0], other[0])


def test_shares_follow_alpha() -> None:
    """A small alpha leaves one image nearly alone, a great one mixes by halves."""
    small = torch.tensor([mixup(_images()[:2], _generator(seed), alpha=0.1)[2] for seed in range(300)])
    great = torch.tensor([mixup(_images()[:2], _generator(seed), alpha=50.0)[2] for seed in range(300)])
    assert small.mean().item() == pytest.approx(0.5, abs=0.1)
    assert (small - 0.5).abs().mean().item() > 0.4
    assert (great - 0.5).abs().max().item() < 0.25


def test_the_loss_is_weighed_by_share() -> None:
    """Own and partner's targets count by their shares, and a row without a label counts in neither half."""
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    target, partner = torch.tensor([2, -1, 0, 1]), torch.tensor([3, 0, 1, 2])
    loss = mixed(cross_entropy, logits, target, partner, 0.7)
    log_probability = torch.log_softmax(logits, 1)
    own = -(log_probability[0, 2] + log_probability[2, 0] + log_probability[3, 1]) / 3
    theirs = -(log_probability[0, 1] + log_probability[1, 2] + log_probability[3, 0]) / 3
    torch.testing.assert_close(loss, 0.7 * own + 0.3 * theirs)
    assert torch.autograd.gradcheck(lambda x: mixed(cross_entropy, x, target, partner, 0.7), logits)
    nothing = mixed(cross_entropy, logits, torch.full((4,), -1), partner, 0.7)
    assert nothing.item() == 0.0


def test_a_share_of_one_is_the_plain_loss() -> None:
    """Unmixed images have the loss they had."""
    logits, target = torch.randn(4, 3), torch.tensor([2, -1, 0, 1])
    torch.testing.assert_close(
        mixed(cross_entropy, logits, target, torch.tensor([3, 0, 1, 2]), 1.0), cross_entropy(logits, target)
    )
