"""Tests of model.losses.sampled_rows: an optimizer's step on some rows against its formula, row by row."""

import pytest
import torch
from torch import Tensor, nn

from model.losses.sampled_rows import SampledRows

DRAWS = [torch.tensor(rows) for rows in ([0, 2, 3], [1, 2], [0, 2], [4])]
PULL = torch.randn(6, 3, generator=torch.Generator().manual_seed(2))


def _parameter() -> nn.Parameter:
    return nn.Parameter(torch.randn(6, 3, generator=torch.Generator().manual_seed(1)))


def _loss(selected: Tensor, rows: Tensor) -> Tensor:
    """A loss whose gradient depends on the row's value."""
    return ((selected - PULL[rows]) ** 2).sum()


def _trained(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, rows: SampledRows) -> None:
    rows.narrow(optimizer)
    for drawn in DRAWS:
        optimizer.zero_grad()
        _loss(rows.select(drawn), drawn).backward()
        optimizer.step()


def test_sgd_steps_the_drawn_rows_alone() -> None:
    """Momentum SGD with decay: a drawn row moves by its own buffer, any other keeps weight and buffer."""
    parameter = _parameter()
    weight, buffer = parameter.detach().clone(), torch.zeros(6, 3)
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9, weight_decay=0.05)
    _trained(optimizer, parameter, SampledRows(parameter))
    for drawn in DRAWS:
        for row in drawn.tolist():
            gradient = 2 * (weight[row] - PULL[row]) + 0.05 * weight[row]
            buffer[row] = 0.9 * buffer[row] + gradient
            weight[row] = weight[row] - 0.1 * buffer[row]
    torch.testing.assert_close(parameter.detach(), weight)
    torch.testing.assert_close(optimizer.state[parameter]["momentum_buffer"], buffer)
    assert torch.equal(parameter.detach()[5], _parameter().detach()[5])


@pytest.mark.parametrize("fused", [False, True])
def test_adamw_steps_the_drawn_rows_alone(fused: bool) -> None:
    """AdamW: a drawn row moves by its own moments, corrected by the steps of all; any other keeps all it has."""
    parameter = _parameter()
    weight, mean, square = parameter.detach().clone(), torch.zeros(6, 3), torch.zeros(6, 3)
    optimizer = torch.optim.AdamW([parameter], lr=0.1, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.2, fused=fused)
    _trained(optimizer, parameter, SampledRows(parameter))
    for step, drawn in enumerate(DRAWS, start=1):
        for row in drawn.tolist():
            gradient = 2 * (weight[row] - PULL[row])
            mean[row] = 0.8 * mean[row] + 0.2 * gradient
            square[row] = 0.9 * square[row] + 0.1 * gradient**2
            moved = (mean[row] / (1 - 0.8**step)) / ((square[row] / (1 - 0.9**step)).sqrt() + 1e-6)
            weight[row] = weight[row] * (1 - 0.1 * 0.2) - 0.1 * moved
    torch.testing.assert_close(parameter.detach(), weight)
    torch.testing.assert_close(optimizer.state[parameter]["exp_avg"], mean)
    torch.testing.assert_close(optimizer.state[parameter]["exp_avg_sq"], square)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_all_rows_drawn_is_the_ordinary_step(kind: str) -> None:
    """When every row is drawn, the optimizer does what it does without the hooks, bit for bit."""
    results = []
    for narrowed in (True, False):
        parameter = _parameter()
        optimizer: torch.optim.Optimizer
        if kind == "sgd":
            optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9, weight_decay=0.05)
        else:
            optimizer = torch.optim.AdamW([parameter], lr=0.1)
        rows, every = SampledRows(parameter), torch.arange(6)
        if narrowed:
            rows.narrow(optimizer)
        for _ in range(3):
            optimizer.zero_grad()
            _loss(rows.select(every), every).backward()
            optimizer.step()
        results.append(parameter.detach())
    assert torch.equal(*results)


def test_the_gradient_stays_whole_and_zero_elsewhere() -> None:
    """What clips or scales gradients sees one of the parameter's shape, before the step and after it."""
    parameter = _parameter()
    rows, optimizer = SampledRows(parameter), torch.optim.SGD([parameter], lr=0.1)
    rows.narrow(optimizer)
    _loss(rows.select(DRAWS[1]), DRAWS[1]).backward()
    before = parameter.grad
    assert before is not None
    assert before.abs().sum(1).nonzero()[:, 0].tolist() == [1, 2]
    optimizer.step()
    assert parameter.grad is before
    assert parameter.shape == (6, 3)


def test_accumulated_passes_step_their_rows_together() -> None:
    """Rows of every backward pass since zero_grad move, also of two selections in one pass."""
    parameter = _parameter()
    rows, optimizer = SampledRows(parameter), torch.optim.SGD([parameter], lr=0.1)
    rows.narrow(optimizer)
    before = parameter.detach().clone()
    _loss(rows.select(DRAWS[1]), DRAWS[1]).backward()
    (_loss(rows.select(DRAWS[2]), DRAWS[2]) + _loss(rows.select(DRAWS[3]), DRAWS[3])).backward()
    optimizer.step()
    assert (parameter != before).any(1).tolist() == [True, True, True, False, True, False]


def test_a_skipped_step_is_forgotten() -> None:
    """Rows whose step a gradient scaler skipped, their gradient being infinite, do not move with the next one's."""
    parameter = _parameter()
    rows, optimizer = SampledRows(parameter), torch.optim.AdamW([parameter], lr=0.1)
    rows.narrow(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    before = parameter.detach().clone()
    for drawn, factor in ((DRAWS[0], torch.inf), (DRAWS[3], 1.0)):
        optimizer.zero_grad()
        scaler.scale(_loss(rows.select(drawn), drawn) * factor).backward()
        scaler.step(optimizer)
        scaler.update()
    assert (parameter != before).any(1).tolist() == [False, False, False, False, True, False]
    assert bool(torch.isfinite(parameter).all())


def test_other_parameters_step_as_ever() -> None:
    """A parameter beside the sampled one, and a step without a selection, are left to the optimizer."""
    parameter, other = _parameter(), nn.Parameter(torch.ones(2))
    rows, optimizer = SampledRows(parameter), torch.optim.SGD([parameter, other], lr=0.5)
    rows.narrow(optimizer)
    other.sum().backward()
    before = parameter.detach().clone()
    optimizer.step()
    assert other.tolist() == [0.5, 0.5]
    assert torch.equal(parameter, before)


def test_a_foreign_optimizer_is_refused() -> None:
    """An optimizer that does not hold the parameter is named."""
    with pytest.raises(ValueError, match="does not hold"):
        SampledRows(_parameter()).narrow(torch.optim.SGD([_parameter()], lr=0.1))
