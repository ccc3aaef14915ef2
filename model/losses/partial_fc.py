"""Partial FC: margin softmax over so many identities that they are sampled, and sharded over ranks.

Holds the class weights, which are training state, and the sampling. Never travels in a shipped checkpoint. Shape
suffixes: B a rank's batch; N the ranks' batches joined; D embedding length; K the identities in play on this rank.

An et al. 2022, arXiv 2203.15565: a step takes every identity of the batch and a random part of the others; the rest is
neither compared nor trained. With several ranks each holds a part of the identities, and sees all ranks' embeddings.
Unlike InsightFace's, the sample is drawn over all identities at once, from a generator that is the same on every rank:
so it does not depend on the number of ranks, and is a pure function of the generator's seed.
"""

from typing import Final, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.losses.classification import cross_entropy
from model.losses.margin import (
    Margins,
    check_margins,
    dynamic_scale,
    fixed_adacos_scale,
    margin_logits,
    others_log_sum_exp,
)
from model.losses.masking import at_least_float32, picked
from model.losses.sampled_rows import SampledRows
from model.losses.sharding import current_shard, joined, log_sum_exp_over_ranks, sharded_cross_entropy, summed

MarginKind = Literal["combined", "sphereface", "adacos"]

_BLOCK_ROWS: Final = 1 << 16


class PartialFC(nn.Module):
    """One unit-length weight row an identity, and a margin softmax over them.

    With torch.distributed initialised before it is made, it holds its rank's rows alone; the whole is the same whatever
    the number of ranks. With one rank and sample rate 1 it is `model.losses.margin.MarginClassifier`, bit for bit.

    Args:
        embedding_dim: D.
        num_identities: over all ranks.
        sample_rate: share of the identities in play a step, above 0 to 1; a batch's own are always in play.
        scale: s; AdaCos has its own, and takes no notice of it.
        margins: (m1, m2, m3); SphereFace's are (m, 0, 0); AdaCos has none, and takes no notice of them.
        kind: which margin softmax.
        interclass_filter: see `model.losses.margin.margin_logits`; AdaCos has none.

    Raises:
        ValueError: if an argument is out of its range.
    """

    adacos_scale: Tensor

    def __init__(
        self,
        embedding_dim: int,
        num_identities: int,
        *,
        sample_rate: float = 1.0,
        scale: float,
        margins: Margins,
        kind: MarginKind = "combined",
        interclass_filter: float = 0.0,
    ) -> None:
        super().__init__()
        check_options(kind, margins, sample_rate, interclass_filter)
        if num_identities < 1:
            raise ValueError("PartialFC needs an identity")
        self.shard = current_shard(num_identities)
        self.sample_rate = sample_rate
        self.scale = scale
        self.margins = margins
        self.kind = kind
        self.interclass_filter = interclass_filter
        self.weight = nn.Parameter(self._drawn_weight(embedding_dim))
        if kind == "adacos":
            self.register_buffer("adacos_scale", torch.tensor(fixed_adacos_scale(num_identities)))
        self._sampled_rows = SampledRows(self.weight)
        nn.Module.register_load_state_dict_pre_hook(self, _take_own_rows)

    def forward(self, embedding_BD: Tensor, identity_B: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Embeddings (B, D) of any length and identities (B,), -1 for none, to a scalar.

        Computed in float32 whatever autocast says. On several ranks B is the same on each, the scalar is the mean over
        all ranks' rows, and the gradients are those that `model.losses.sharding` states.

        Args:
            embedding_BD: float (B, D).
            identity_B: int64 (B,).
            generator: seeded alike on every rank; needed if identities are sampled, which happens in training alone.

        Raises:
            ValueError: if it must sample and has no generator.
        """
        with torch.autocast(embedding_BD.device.type, enabled=False):
            embedding_ND, identity_N = joined(at_least_float32(embedding_BD)), joined(identity_B)
            rows_K = self._sample(identity_N, generator)
            weight_KD = self.weight if rows_K is None else self._sampled_rows.select(rows_K)
            cosine_NK = F.linear(F.normalize(embedding_ND, dim=1), F.normalize(weight_KD, dim=1))
            return self._loss(cosine_NK, self._columns(identity_N, rows_K), identity_N >= 0)

    def step_sampled_rows(self, optimizer: torch.optim.Optimizer) -> None:
        """Makes an optimizer that holds `weight` step the sampled rows alone, state and decay included.

        To be called once an optimizer. Without it the other rows get no gradient, but momentum and decay move them.

        Raises:
            ValueError: if the optimizer does not hold `weight`.
        """
        if self.sample_rate < 1:
            self._sampled_rows.narrow(optimizer)

    def whole(self, own: Tensor) -> Tensor:
        """All ranks' rows of `weight`, or of a tensor of its shape (an optimizer's state): what to save.

        A collective call. `load_state_dict` takes the whole `weight` back on any number of ranks, each its own rows;
        for an optimizer's state use `own`.
        """
        return self.shard.whole(own)

    def own(self, whole: Tensor) -> Tensor:
        """This rank's rows of such a whole tensor."""
        return self.shard.own(whole)

    def _drawn_weight(self, embedding_dim: int) -> Tensor:
        """The own rows of normal numbers that are drawn for all identities, block by block: no rank holds the whole."""
        weight_KD = torch.empty(self.shard.stop - self.shard.start, embedding_dim)
        for first in range(0, self.shard.num_rows, _BLOCK_ROWS):
            block = torch.empty(min(_BLOCK_ROWS, self.shard.num_rows - first), embedding_dim)
            nn.init.normal_(block, std=0.01)
            start, stop = max(first, self.shard.start), min(first + len(block), self.shard.stop)
            if start < stop:
                weight_KD[start - self.shard.start : stop - self.shard.start] = block[start - first : stop - first]
        return weight_KD

    @torch.no_grad()
    def _sample(self, identity_N: Tensor, generator: torch.Generator | None) -> Tensor | None:
        """The own rows in play, sorted, counted from the shard's first; None for all."""
        if self.sample_rate == 1 or not self.training:
            return None
        if generator is None:
            raise ValueError("a sampled PartialFC needs a generator, a function of seed and step")
        # float64, so that no two identities draw the same number.
        draw = torch.rand(self.shard.num_rows, generator=generator, device=generator.device, dtype=torch.float64)
        draw = draw.to(identity_N.device).index_fill_(0, identity_N[identity_N >= 0], 2.0)
        num_kept = max(int(self.sample_rate * self.shard.num_rows), int((draw == 2.0).sum()))
        kept = torch.topk(draw, num_kept, sorted=False).indices
        return kept[(kept >= self.shard.start) & (kept < self.shard.stop)].sort().values - self.shard.start

    def _columns(self, identity_N: Tensor, rows_K: Tensor | None) -> Tensor:
        """Each row's target among the columns in play here, -1 where it has none or another rank has it."""
        here_N = (identity_N >= self.shard.start) & (identity_N < self.shard.stop)
        local_N = (identity_N - self.shard.start).where(here_N, torch.zeros_like(identity_N))
        column_N = local_N if rows_K is None else torch.searchsorted(rows_K, local_N)
        return column_N.where(here_N, torch.full_like(column_N, -1))

    def _loss(self, cosine_NK: Tensor, column_N: Tensor, labelled_N: Tensor) -> Tensor:
        if self.kind == "adacos":
            logits_NK = cosine_NK * self._next_scale(cosine_NK.detach(), column_N, labelled_N)
        else:
            logits_NK = margin_logits(cosine_NK, column_N, self.scale, self.margins, self.interclass_filter)
        if self.shard.num_ranks == 1:
            return cross_entropy(logits_NK, column_N)
        return sharded_cross_entropy(logits_NK, column_N, labelled_N)

    @torch.no_grad()
    def _next_scale(self, cosine_NK: Tensor, column_N: Tensor, labelled_N: Tensor) -> Tensor:
        scale = self.adacos_scale
        if not self.training:
            return scale
        others_N, own_N = others_log_sum_exp(cosine_NK, column_N, scale), picked(cosine_NK, column_N)
        if self.shard.num_ranks > 1:
            others_N, own_N = log_sum_exp_over_ranks(others_N), summed(own_N)
        return scale.copy_(dynamic_scale(others_N, own_N, labelled_N, scale)).clone()


def check_options(kind: MarginKind, margins: Margins, sample_rate: float, interclass_filter: float = 0.0) -> None:
    """Holds a Partial FC's options to each other: what a recipe can ask before there are identities.

    Raises:
        ValueError: if one is out of its range, in one line.
    """
    if kind not in get_args(MarginKind):
        raise ValueError(f"kind is one of {', '.join(get_args(MarginKind))}, not {kind}")
    if not 0 < sample_rate <= 1:
        raise ValueError(f"sample_rate is above 0 to 1, not {sample_rate}")
    if kind == "sphereface" and margins[1:] != (0.0, 0.0):
        raise ValueError(f"SphereFace's margins are (m, 0, 0), not {margins}")
    if kind == "adacos" and interclass_filter > 0:
        raise ValueError("AdaCos has no interclass filter")
    check_margins(margins)


def _take_own_rows(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Lets a shard load from the whole weight, so that a training resumes on another number of ranks."""
    assert isinstance(module, PartialFC)
    saved = state.get(f"{prefix}weight")
    if saved is not None and len(saved) == module.shard.num_rows:
        state[f"{prefix}weight"] = module.own(saved)
