"""Tests of model.losses.partial_fc in one process; see test_sharding for two."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from model.losses import partial_fc
from model.losses.margin import MarginClassifier, Margins, adacos, combined_margin, fixed_adacos_scale, sphereface
from model.losses.partial_fc import MarginKind, PartialFC

COSFACE: Margins = (1.0, 0.0, 0.4)
PLAIN: Margins = (1.0, 0.0, 0.0)
IDENTITY = torch.tensor([3, 17, -1, 3, 29, 0, -1, 11])


def _embedding(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(8, 6, generator=torch.Generator().manual_seed(6)).to(dtype).requires_grad_()


def _partial(num_identities: int = 30, margins: Margins = COSFACE, **options: Any) -> PartialFC:
    torch.manual_seed(9)
    return PartialFC(6, num_identities, scale=16.0, margins=margins, **options)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _touched(partial: PartialFC) -> list[int]:
    assert partial.weight.grad is not None
    return partial.weight.grad.abs().sum(1).nonzero()[:, 0].tolist()


def test_whole_and_unsampled_it_is_the_margin_classifier() -> None:
    """From the same seed, weights, loss and gradients are the plain classifier's, bit for bit."""
    partial, mine = _partial(), _embedding()
    torch.manual_seed(9)
    plain, theirs = MarginClassifier(6, 30, 16.0, COSFACE), _embedding()
    assert torch.equal(partial.weight, plain.weight)
    loss, expected = partial(mine, IDENTITY), plain(theirs, IDENTITY)
    assert torch.equal(loss, expected)
    loss.backward()
    expected.backward()
    assert mine.grad is not None
    assert theirs.grad is not None
    assert partial.weight.grad is not None
    assert plain.weight.grad is not None
    assert torch.equal(mine.grad, theirs.grad)
    assert torch.equal(partial.weight.grad, plain.weight.grad)
    assert partial.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize("kind", ["combined", "sphereface", "adacos"])
def test_each_kind_is_its_function_of_the_cosines(kind: MarginKind) -> None:
    """The three kinds are the pure margin functions on the cosines of embeddings and class weights."""
    filtered = 0.0 if kind == "adacos" else 0.3
    margins: Margins = {"combined": (1.0, 0.5, 0.1), "sphereface": (1.35, 0.0, 0.0), "adacos": PLAIN}[kind]
    partial, embedding = _partial(margins=margins, kind=kind, interclass_filter=filtered), _embedding()
    cosine = F.normalize(embedding) @ F.normalize(partial.weight).T
    expected = {
        "combined": lambda: combined_margin(cosine, IDENTITY, 16.0, margins, 0.3),
        "sphereface": lambda: combined_margin(cosine, IDENTITY, 16.0, margins, 0.3),
        "adacos": lambda: adacos(cosine, IDENTITY, fixed_adacos_scale(30))[0],
    }[kind]()
    torch.testing.assert_close(partial(embedding, IDENTITY), expected)


def test_sphereface_without_a_filter() -> None:
    """At the published scale and margin it is the SphereFace function."""
    torch.manual_seed(9)
    partial, embedding = PartialFC(6, 30, scale=64.0, margins=(1.35, 0.0, 0.0), kind="sphereface"), _embedding()
    cosine = F.normalize(embedding) @ F.normalize(partial.weight).T
    torch.testing.assert_close(partial(embedding, IDENTITY), sphereface(cosine, IDENTITY))


@pytest.mark.parametrize(("rate", "size"), [(0.5, 15), (0.2, 6), (0.1, 5), (0.01, 5)])
def test_a_sample_keeps_the_batchs_identities(rate: float, size: int) -> None:
    """The gradient touches the sampled rows alone: the share asked for, or the batch's own where they are more."""
    partial = _partial(sample_rate=rate)
    partial(_embedding(), IDENTITY, _generator()).backward()
    touched = _touched(partial)
    assert len(touched) == size
    assert {0, 3, 11, 17, 29} <= set(touched)


def test_a_sampled_loss_is_the_softmax_over_the_sample() -> None:
    """Among the rows in play the loss is the plain one, as if there were no others."""
    partial, embedding = _partial(sample_rate=0.4), _embedding()
    loss = partial(embedding, IDENTITY, _generator())
    loss.backward()
    touched = _touched(partial)
    cosine = F.normalize(embedding) @ F.normalize(partial.weight[touched]).T
    column = torch.tensor([touched.index(identity) if identity >= 0 else -1 for identity in IDENTITY.tolist()])
    torch.testing.assert_close(loss, combined_margin(cosine, column, 16.0, COSFACE))


def test_a_sample_is_a_function_of_the_generators_seed() -> None:
    """One seed draws one sample whatever was drawn before, other seeds draw others, and all rows get their turn."""
    partial = _partial(sample_rate=0.4)
    samples = []
    for seed in (1, 2, *range(60), 1):
        partial.zero_grad()
        torch.rand(seed)
        partial(_embedding(), IDENTITY, _generator(seed)).backward()
        samples.append(frozenset(_touched(partial)))
    assert samples[0] == samples[-1]
    assert samples[0] != samples[1]
    assert frozenset().union(*samples) == set(range(30))


def test_a_sample_needs_a_generator_in_training_alone() -> None:
    """Sampling without a generator is refused; in evaluation every identity is compared."""
    partial = _partial(sample_rate=0.4)
    with pytest.raises(ValueError, match="needs a generator"):
        partial(_embedding(), IDENTITY)
    partial.eval()
    torch.testing.assert_close(partial(_embedding(), IDENTITY), _partial()(_embedding(), IDENTITY))


@pytest.mark.parametrize("rate", [1.0, 0.3])
def test_rows_without_identity_are_inert(rate: float) -> None:
    """A row without an identity gets a zero gradient and changes nothing; none at all gives a zero loss."""
    partial, embedding, known = _partial(sample_rate=rate), _embedding(), IDENTITY >= 0
    loss = partial(embedding, IDENTITY, _generator())
    loss.backward()
    assert embedding.grad is not None
    assert embedding.grad[~known].abs().max().item() == 0.0
    assert embedding.grad[known].abs().min().item() > 0.0
    torch.testing.assert_close(loss, partial(embedding[known], IDENTITY[known], _generator()))
    partial.zero_grad()
    nothing = partial(embedding, torch.full((8,), -1), _generator())
    nothing.backward()
    assert nothing.item() == 0.0
    assert _touched(partial) == []


@pytest.mark.parametrize("rate", [1.0, 0.3])
def test_embedding_gradients_are_exact(rate: float) -> None:
    """Analytic gradients of the embeddings agree with finite differences, sampled too."""
    partial = _partial(margins=(1.0, 0.3, 0.1), sample_rate=rate).double()
    assert torch.autograd.gradcheck(lambda x: partial(x, IDENTITY, _generator()), _embedding(torch.float64))


def test_weight_gradients_are_exact() -> None:
    """A sampled step's gradient of every class weight agrees with finite differences of the loss."""
    partial, embedding = _partial(sample_rate=0.3).double(), _embedding(torch.float64).detach()
    partial(embedding, IDENTITY, _generator()).backward()
    numeric = torch.zeros_like(partial.weight)
    for row in range(30):
        for column in range(6):
            losses = []
            for shift in (1e-7, -1e-7):
                moved = _partial(sample_rate=0.3).double()
                with torch.no_grad():
                    moved.weight[row, column] += shift
                    losses.append(moved(embedding, IDENTITY, _generator()).item())
            numeric[row, column] = (losses[0] - losses[1]) / 2e-7
    torch.testing.assert_close(partial.weight.grad, numeric, rtol=1e-5, atol=1e-5)


def test_other_rows_do_not_step() -> None:
    """With its optimizer told, a step moves the sample alone; untold, decay moves every row."""
    for told in (True, False):
        partial = _partial(sample_rate=0.3)
        optimizer = torch.optim.AdamW(partial.parameters(), lr=0.1, weight_decay=0.1)
        if told:
            partial.step_sampled_rows(optimizer)
        before = partial.weight.detach().clone()
        partial(_embedding(), IDENTITY, _generator()).backward()
        optimizer.step()
        moved = (partial.weight != before).any(1).nonzero()[:, 0].tolist()
        assert moved == (_touched(partial) if told else list(range(30)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_does_not_reach_the_cosines(dtype: torch.dtype) -> None:
    """Half-precision embeddings under autocast give a float32 loss, the one of the same embeddings in float32."""
    partial, embedding = _partial(margins=(1.0, 0.5, 0.0)), _embedding(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        loss = partial(embedding, IDENTITY)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, partial(embedding.float(), IDENTITY))
    loss.backward()
    assert embedding.grad is not None
    assert bool(torch.isfinite(embedding.grad).all())


def test_extreme_embeddings_stay_finite() -> None:
    """Embeddings of enormous length, of none, and equal to a class weight have finite losses and gradients."""
    partial = _partial(margins=(1.0, 0.5, 0.0))
    embedding = torch.zeros(3, 6)
    embedding[0], embedding[1] = 1e18, partial.weight[17].detach()
    embedding.requires_grad_()
    loss = partial(embedding, IDENTITY[:3].clamp(min=0))
    loss.backward()
    assert embedding.grad is not None
    assert bool(torch.isfinite(loss))
    assert bool(torch.isfinite(embedding.grad).all())


def test_adacos_has_neither_scale_nor_margins() -> None:
    """What is said of scale and margins, which belong to the other kinds, changes nothing in AdaCos."""
    losses = [
        _partial(margins=margins, kind="adacos")(_embedding(), IDENTITY)
        for margins in (PLAIN, (1.0, 0.5, 0.0), COSFACE)
    ]
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(losses[0], losses[2])


def test_adacos_scale_is_saved_and_goes_on() -> None:
    """The scale starts fixed, follows training alone, travels in the state, and goes on from there."""
    partial = _partial(margins=PLAIN, kind="adacos")
    assert partial.adacos_scale.item() == pytest.approx(math.sqrt(2) * math.log(29))
    partial(_embedding(), IDENTITY)
    scale = partial.adacos_scale.item()
    assert scale != pytest.approx(math.sqrt(2) * math.log(29))
    partial.eval()
    partial(_embedding(), IDENTITY)
    assert partial.adacos_scale.item() == scale
    resumed = PartialFC(6, 30, scale=16.0, margins=PLAIN, kind="adacos")
    resumed.load_state_dict(partial.state_dict())
    losses = [module.train()(_embedding(), IDENTITY) for module in (partial, resumed)]
    assert torch.equal(*losses)
    assert torch.equal(partial.adacos_scale, resumed.adacos_scale)


def test_weights_are_drawn_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many identities are drawn in blocks, so that no rank holds them all, and none is left undrawn."""
    monkeypatch.setattr(partial_fc, "_BLOCK_ROWS", 7)
    torch.manual_seed(9)
    expected = torch.cat([torch.nn.init.normal_(torch.empty(rows, 6), std=0.01) for rows in (7, 7, 7, 7, 2)])
    assert torch.equal(_partial().weight, expected)
    assert _partial(40000).weight.std().item() == pytest.approx(0.01, rel=0.02)


def test_own_and_whole_are_one_without_ranks() -> None:
    """In one process the whole rows are the own ones, and a state loads as it was saved."""
    partial = _partial()
    assert torch.equal(partial.whole(partial.weight), partial.weight)
    assert torch.equal(partial.own(partial.weight), partial.weight)
    with pytest.raises(RuntimeError, match="size mismatch"):
        partial.load_state_dict({"weight": torch.zeros(29, 6)})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sample_rate": 0.0}, "sample_rate is above 0 to 1, not 0.0"),
        ({"sample_rate": 1.5}, "sample_rate is above 0 to 1, not 1.5"),
        ({"kind": "arcface"}, "kind is one of combined, sphereface, adacos, not arcface"),
        ({"margins": (0.0, 0.0, 0.0)}, "m1 is above 0"),
        ({"kind": "sphereface"}, r"SphereFace's margins are \(m, 0, 0\)"),
        ({"kind": "adacos", "margins": PLAIN, "num_identities": 2}, "AdaCos needs 3 identities or more"),
        ({"kind": "adacos", "margins": PLAIN, "interclass_filter": 0.3}, "AdaCos has no interclass filter"),
        ({"num_identities": 0}, "needs an identity"),
    ],
)
def test_unsound_options_are_refused(options: dict[str, Any], says: str) -> None:
    """What cannot be meant is refused in one line when it is made."""
    with pytest.raises(ValueError, match=says):
        _partial(**options)
