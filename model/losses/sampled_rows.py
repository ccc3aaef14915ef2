"""Optimizer steps on sampled rows: a row that was not drawn keeps its weights and its optimizer state.

Holds the row bookkeeping. Never decides which rows are drawn.

Partial FC trains a part of its rows a step. An ordinary optimizer would move the others, too: their gradient is zero,
but momentum and weight decay are not. InsightFace swaps a small parameter and its state in and out of the optimizer.
Here the parameter stays whole, and hooks around the optimizer's step narrow parameter, gradient and state to the drawn
rows and write them back. So any optimizer that works number by number (SGD, AdamW) runs as it is, on the drawn rows
alone; its state is whole between two steps, and is saved and resumed as any other.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class _Whole:
    """What the hooks put away during a step: the whole tensors, and which rows are out."""

    rows: Tensor
    data: Tensor
    gradient: Tensor
    state: dict[str, Tensor]


class SampledRows:
    """The rows of one parameter that got a gradient since the last `zero_grad`, and the narrowed step on them."""

    def __init__(self, parameter: nn.Parameter) -> None:
        self._parameter = parameter
        self._rows: list[Tensor] = []
        self._pending: list[Tensor] = []
        self._fresh = True
        self._away: _Whole | None = None
        parameter.register_post_accumulate_grad_hook(self._accumulated)

    def select(self, rows: Tensor) -> Tensor:
        """The parameter's rows, by sorted distinct indices; what flows back through them is noted."""
        selected = self._parameter.index_select(0, rows)
        if selected.requires_grad:
            selected.register_hook(lambda _: self._note(rows))
        return selected

    def narrow(self, optimizer: torch.optim.Optimizer) -> None:
        """Makes an optimizer's steps touch the noted rows alone, from now on.

        Raises:
            ValueError: if the optimizer does not hold the parameter.
        """
        if not any(held is self._parameter for group in optimizer.param_groups for held in group["params"]):
            raise ValueError("the optimizer does not hold the sampled parameter")
        optimizer.register_step_pre_hook(self._before)
        optimizer.register_step_post_hook(self._after)

    def _note(self, rows: Tensor) -> None:
        # No gradient yet: the first backward pass since `zero_grad`, so what an optimizer skipped is forgotten.
        self._fresh = self._parameter.grad is None
        self._pending.append(rows)

    def _accumulated(self, _parameter: Tensor) -> None:
        self._rows = self._pending if self._fresh else self._rows + self._pending
        self._pending = []

    def _before(self, optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:  # noqa: ANN401
        parameter = self._parameter
        if not self._rows or parameter.grad is None:
            return
        rows = torch.cat(self._rows).unique()
        state = {
            name: value
            for name, value in optimizer.state[parameter].items()
            if torch.is_tensor(value) and value.shape == parameter.shape
        }
        self._away = _Whole(rows, parameter.data, parameter.grad, state)
        self._replace(parameter.data[rows], parameter.grad[rows])
        optimizer.state[parameter].update({name: value[rows] for name, value in state.items()})

    def _after(self, optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:  # noqa: ANN401
        if self._away is None:
            return
        away, narrowed = self._away, self._parameter.data
        state = optimizer.state[self._parameter]
        for name, value in state.items():
            if torch.is_tensor(value) and value.shape == narrowed.shape:
                # A first step makes the state: rows that it did not draw start at zero, as a fresh optimizer's do.
                whole = away.state[name] if name in away.state else torch.zeros_like(away.data)
                state[name] = whole.index_copy_(0, away.rows, value)
        self._replace(away.data.index_copy_(0, away.rows, narrowed), away.gradient)
        self._rows, self._away = [], None

    def _replace(self, data: Tensor, gradient: Tensor) -> None:
        self._parameter.grad = None  # a gradient must fit its parameter, so it goes before and comes after
        self._parameter.data = data
        self._parameter.grad = gradient
