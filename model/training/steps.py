"""A training's steps: feed, forward, backward, clip, step, average.

Holds one step and what is shipped of it. Never writes a file. A step depends on the state before it and on (seed, step)
alone: the batches of all steps and processes are numbered through, and everything random is a function of that number.
"""

import warnings
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from model.network import MultiTaskNetwork
from model.training.batch_norm import with_precise_statistics
from model.training.batches import Batch, Mixture
from model.training.captured import CapturedPasses
from model.training.feeding import FeedConfig, Feeder
from model.training.mixing import cutmix, mixup
from model.training.objective import Moment, Objective
from model.training.optimizer import chosen_parameters, clip_gradients
from model.training.precision import Precision, autocast
from model.training.recipes.recipe import AnalyzerRecipe
from model.training.resident import resident_crops
from model.training.sampler import MixedSampler
from model.training.schedule import scheduled_rate
from model.training.seeds import DROPOUT, MIX, SAMPLE, STATISTICS, seed_of, torch_generator
from model.training.state import TrainingState
from model.training.teacher_space import TeacherSpace, fold
from model.training.world import World

_ALONE = World()
_ANY_MOMENT = Moment()  # for losses that do not ask when: the others are not recorded


class LossPass(nn.Module):
    """A forward pass from images to losses: what is compiled, and what several processes average the gradients of."""

    def __init__(self, network: MultiTaskNetwork, objective: Objective, precision: Precision, compiled: bool) -> None:
        super().__init__()
        self.network = cast("nn.Module", torch.compile(network)) if compiled else network
        # Not a submodule: a shard of the identities' weights must not be averaged between the processes.
        self._objective = [objective]
        self._precision = precision

    def forward(
        self,
        images_BCHW: Tensor,
        labels: Sequence[tuple[float | Tensor, Batch]],
        moment: Moment,
        taught: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Losses by name, the weighed sum over pairs of a share and the labels that it counts."""
        with autocast(self._precision, images_BCHW.device):
            answers = self.network(images_BCHW)
        answers = {name: value.float() for name, value in answers.items()}
        parts: list[tuple[float | Tensor, dict[str, Tensor]]] = [
            (share, self._objective[0](answers, batch, moment, taught)) for share, batch in labels
        ]
        if len(parts) == 1:
            return parts[0][1]
        return {name: torch.stack([share * losses[name] for share, losses in parts]).sum() for name in parts[0][1]}


class Training:
    """One training on data in memory; a context manager, since it may own threads and processes.

    Attributes:
        recipe: how it goes.
        plan: its times in steps.
        state: what it is between two steps.
        world: the processes that it is one of.
    """

    def __init__(
        self,
        recipe: AnalyzerRecipe,
        mixture: Mixture,
        state: TrainingState,
        device: torch.device,
        world: World = _ALONE,
        teacher: MultiTaskNetwork | None = None,
    ) -> None:
        """Puts the parts together; `teacher` is a network whose answers are distilled, on the device."""
        self.recipe, self.state, self.world = recipe, state, world
        self.plan = recipe.plan(mixture.sizes, world.size)
        self._mixture, self._device = mixture, device
        self._teacher = cast("nn.Module", torch.compile(teacher)) if teacher is not None and recipe.compile else teacher
        self._resident = resident_crops(mixture, device)
        self._feeder = self._new_feeder(recipe.seed)
        self._pass: nn.Module = LossPass(state.network, state.objective, recipe.precision, recipe.compile)
        if world.size > 1:
            self._pass = _distributed(self._pass, device)
        self._captured: CapturedPasses | None = None
        if device.type == "cuda" and world.size == 1 and recipe.captures:
            self._captured = CapturedPasses(self._passes, self._forget, state.network.buffers)

    def __enter__(self) -> "Training":
        self._feeder.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._feeder.__exit__()

    def step(self) -> dict[str, Tensor]:
        """Does one step; returns its losses and figures, the same on every process, scalars on the device."""
        recipe, state = self.recipe, self.state
        rate = self._set_rates()
        if self._captured is None:  # a replay overwrites the gradients, where they are
            self._forget()
        parts = [self._backward(place) for place in range(recipe.accumulation)]
        self.world.average_([value.grad for value in state.objective.replicated_parameters() if value.grad is not None])
        norm = self._update()
        self.world.average_([value for value in state.network.buffers() if value.is_floating_point()])
        state.average.update(state.network, state.step)
        state.step += 1
        means = {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}
        means = dict(zip(means, self.world.mean([*means.values()]), strict=True))
        return {**means, "gradient_norm": norm, "learning_rate": torch.tensor(rate)}

    def shipped_network(self) -> MultiTaskNetwork:
        """The averaged network with batch norm statistics of its own, from batches that (seed, place) decide.

        Its embedding is carried to the teacher's space where the recipe asks for it.
        """
        feeder = self._new_feeder(seed_of(self.recipe.seed, STATISTICS))
        places = range(self.recipe.statistics_batches)
        network = with_precise_statistics(self.state.average.network, (feeder.plain(place)[0] for place in places))
        if self.recipe.teacher_space:
            self._carry(network, (feeder.plain(place) for place in places))
        return network

    @torch.no_grad()
    def _carry(self, network: MultiTaskNetwork, batches: Iterable[tuple[Tensor, Batch]]) -> None:
        space = TeacherSpace()
        for images_BCHW, batch in batches:
            for seen_BCHW in (images_BCHW, images_BCHW.flip(3)):  # the teacher's is of a crop and its mirror image
                space.add(network(seen_BCHW)["embedding"], batch.teacher)
        if space.enough:
            fold(network, space)

    def _new_feeder(self, seed: int) -> Feeder:
        recipe = self.recipe
        sampler = MixedSampler(self._mixture.sizes, recipe.rows, seed, recipe.keep)
        network = recipe.network
        config = FeedConfig(
            recipe.augmentation,
            network.backbone.side_px,
            network.pixels,
            recipe.seed,
            stride=self.world.size,
            num_workers=recipe.num_workers,
        )
        return Feeder(self._mixture, sampler, config, self._device, self._resident)

    def _forget(self) -> None:
        """No gradient is left, not even of what is not trained."""
        self.state.network.zero_grad(set_to_none=True)
        self.state.objective.zero_grad(set_to_none=True)

    def _set_rates(self) -> float:
        state = self.state
        for group in state.optimizer.param_groups:
            group["lr"] = self._rate(group["multiplier"])
        return self._rate(1.0)

    def _rate(self, multiplier: float) -> float:
        recipe, state = self.recipe, self.state
        return scheduled_rate(recipe.schedule, self.plan, recipe.final_share, state.step, multiplier, state.watch.cut)

    def _backward(self, place: int) -> dict[str, Tensor]:
        """One batch's losses and gradients; the processes' gradients meet with the step's last batch."""
        recipe, state = self.recipe, self.state
        batch_of_step = state.step * recipe.accumulation + place
        number = batch_of_step * self.world.size + self.world.rank
        images_BCHW, batch = self._feeder.feed(number)
        if self._captured is not None:
            self._captured.record(images_BCHW, batch)
        torch.manual_seed(seed_of(recipe.seed, DROPOUT, number))
        images_BCHW, partner_B, share = self._mixed(images_BCHW, batch_of_step)
        if self._captured is not None:
            return self._captured(images_BCHW, batch, partner_B, share)
        labels = [(1.0, batch)] if partner_B is None else [(share, batch), (1 - share, batch.rows(partner_B))]
        # The same on every process: they hold shards of one sample.
        moment = Moment(state.step / self.plan.total_steps, torch_generator(recipe.seed, SAMPLE, batch_of_step))
        with self._meeting(place == recipe.accumulation - 1):
            return self._passes(images_BCHW, labels, moment)

    def _passes(
        self, images_BCHW: Tensor, labels: Sequence[tuple[float | Tensor, Batch]], moment: Moment = _ANY_MOMENT
    ) -> dict[str, Tensor]:
        """The teacher's pass, the network's and the gradients' way back; what `model.training.captured` records."""
        state = self.state
        losses = self._pass(images_BCHW, labels, moment, self._taught(images_BCHW))
        total = state.objective.total(losses)
        scaled = total if state.scaler is None else state.scaler.scale(total)
        (scaled / self.recipe.accumulation).backward()
        return {"loss": total.detach(), **{name: value.detach() for name, value in losses.items()}}

    @torch.no_grad()
    def _taught(self, images_BCHW: Tensor) -> dict[str, Tensor] | None:
        if self._teacher is None:
            return None
        with autocast(self.recipe.precision, images_BCHW.device):
            answers = self._teacher(images_BCHW)
        return {name: value.float() for name, value in answers.items()}

    def _meeting(self, last: bool) -> AbstractContextManager[object]:
        if isinstance(self._pass, DistributedDataParallel) and not last:
            return self._pass.no_sync()
        return nullcontext()

    def _mixed(self, images_BCHW: Tensor, batch_of_step: int) -> tuple[Tensor, Tensor | None, float]:
        """Images, perhaps mixed, whose labels count beside the own ones, and the own labels' share."""
        mixing = self.recipe.mixing
        # Every process mixes by one share: the identities' softmax counts the rows of all of them at once.
        generator = torch_generator(self.recipe.seed, MIX, batch_of_step)
        if mixing.kind == "none" or float(torch.rand((), generator=generator)) >= mixing.probability:
            return images_BCHW, None, 1.0
        mix = mixup if mixing.kind == "mixup" else cutmix
        return mix(images_BCHW, generator, mixing.alpha)

    def _update(self) -> Tensor:
        """Clips and steps; answers the gradient's norm."""
        recipe, state = self.recipe, self.state
        if state.scaler is not None:
            state.scaler.unscale_(state.optimizer)
        replicated = [*state.network.parameters(), *state.objective.replicated_parameters()]
        sharded: list[nn.Parameter] = []
        if recipe.optimizer.clip:
            replicated = chosen_parameters(state.network, recipe.optimizer.clip)
        else:
            sharded = state.objective.sharded_parameters()
        norm = clip_gradients(replicated, sharded, recipe.max_grad_norm, self.world).detach()
        if state.scaler is None:
            state.optimizer.step()
            return norm
        state.scaler.step(state.optimizer)
        state.scaler.update()
        # A step that overflows is skipped and the scale lowered: nothing has diverged.
        return norm.nan_to_num(0.0, 0.0, 0.0)


def _distributed(module: nn.Module, device: torch.device) -> DistributedDataParallel:
    # A loss that is left out, or a branch that is dropped, leaves parameters without a gradient.
    warnings.filterwarnings("ignore", message="find_unused_parameters=True")
    ids = [device.index if device.index is not None else torch.cuda.current_device()] if device.type == "cuda" else None
    return DistributedDataParallel(module, device_ids=ids, broadcast_buffers=False, find_unused_parameters=True)
