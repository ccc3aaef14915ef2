"""The training loop of a multi-task network: draw, augment, forward, backward, average, log, save.

Holds the order of things. Never holds a loss, a schedule or a file format. A step depends on the state before it and on
(seed, step) alone, so a training that is killed and resumed ends with the same weights as one that ran through.
"""

from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from model.analyzer import normalise
from model.checkpoint import save
from model.network import MultiTaskNetwork
from model.training.augmentation import Augmentation
from model.training.batch_norm import with_precise_statistics
from model.training.batches import Mixture
from model.training.dataset import read_faces
from model.training.interruption import stopping
from model.training.logbook import Logbook
from model.training.loss_curves import draw_losses
from model.training.recipes import AnalyzerRecipe
from model.training.sampler import MixedSampler
from model.training.schedule import learning_rate
from model.training.seeds import AUGMENT, DROPOUT, STATISTICS, seed_of, torch_generator
from model.training.state import EMA, TrainingState, new_state, resume_state, save_state


class TrainingError(RuntimeError):
    """A training that cannot go on; the message is one clear line."""


class Training:
    """One training on data in memory.

    Attributes:
        state: what it is between two steps.
    """

    def __init__(self, recipe: AnalyzerRecipe, mixture: Mixture, state: TrainingState, device: torch.device) -> None:
        self.recipe = recipe
        self.state = state
        self._mixture = mixture
        self._device = device
        self._sampler = MixedSampler(mixture.sizes, asdict(recipe.rows), recipe.seed)
        self._augment = Augmentation(recipe.augmentation)
        self._parameters = [*state.network.parameters(), *state.objective.parameters()]

    def step(self) -> dict[str, Tensor]:
        """Does one step; returns the step's losses and figures, scalars on the device."""
        recipe, state = self.recipe, self.state
        torch.manual_seed(seed_of(recipe.seed, DROPOUT, state.step))
        rate = learning_rate(
            state.step, recipe.total_steps, recipe.warmup_steps, recipe.learning_rate, recipe.final_share
        )
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        losses = self._losses()
        total = state.objective.total(losses)
        state.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, recipe.max_grad_norm)
        state.optimizer.step()
        state.average.update(state.network, state.step)
        state.step += 1
        figures = {"loss": total, **losses, "gradient_norm": norm, "learning_rate": torch.tensor(rate)}
        return {name: value.detach() for name, value in figures.items()}

    def shipped_network(self) -> MultiTaskNetwork:
        """The averaged network with batch norm statistics of its own, from batches that (seed, place) decide."""
        sampler = MixedSampler(self._mixture.sizes, asdict(self.recipe.rows), seed_of(self.recipe.seed, STATISTICS))
        batches_BCHW = (
            normalise(self._mixture.batch(sampler.draw(place)).images.to(self._device))
            for place in range(self.recipe.statistics_batches)
        )
        return with_precise_statistics(self.state.average.network, batches_BCHW)

    def _losses(self) -> dict[str, Tensor]:
        step = self.state.step
        batch = self._mixture.batch(self._sampler.draw(step)).to(self._device)
        images_BCHW = self._augment(normalise(batch.images), torch_generator(self.recipe.seed, AUGMENT, step))
        cast = self.recipe.bfloat16 and self._device.type == "cuda"
        with torch.autocast(self._device.type, torch.bfloat16, enabled=cast):
            answers = self.state.network(images_BCHW)
        losses: dict[str, Tensor] = self.state.objective(
            {name: value.float() for name, value in answers.items()}, batch
        )
        return losses


def train_analyzer(
    recipe: AnalyzerRecipe,
    data: Path,
    out: Path,
    *,
    resume: bool = False,
    init: Path | None = None,
    cache: Path | None = None,
) -> bool:
    """Trains to the recipe's end, or until SIGTERM or SIGINT, and saves.

    Args:
        recipe: what to do.
        data: the folder with the parquet files.
        out: the run's folder.
        resume: go on from `out/last`.
        init: a checkpoint to start from.
        cache: a folder for decoded pixels.

    Returns:
        Whether the end was reached.

    Raises:
        DataError: if the data cannot be used.
        CheckpointError: if the state or `init` cannot be used.
        TrainingError: if the loss is no longer finite.
    """
    device = _prepare(recipe)
    sets = [name for name, rows in asdict(recipe.rows).items() if rows > 0]
    mixture = Mixture([read_faces(data, name, "train", cache) for name in sets])
    if resume:
        state = resume_state(out, recipe, mixture.num_identities, device)
    else:
        state = new_state(recipe, mixture.num_identities, device, init)
        save_state(out, recipe, state)  # from here on a kill at any point can be resumed
    training = Training(recipe, mixture, state, device)
    with stopping() as stopped, Logbook(out, state.step, recipe.total_steps) as logbook:
        logbook.say(f"{state.network.num_parameters():,} parameters, {mixture.sizes}, on {device}")
        _run(training, out, logbook, stopped)
        done = state.step >= recipe.total_steps
        if done:
            save(out / EMA, training.shipped_network())
        logbook.say(f"{'done' if done else 'stopped'} at step {state.step}: {out / EMA}")
        logbook.say(f"training curves: {draw_losses(out)}")
    return done


def _run(training: Training, out: Path, logbook: Logbook, stopped: list[int]) -> None:
    recipe, state = training.recipe, training.state
    rows: list[dict[str, Tensor]] = []
    saved = state.step
    while state.step < recipe.total_steps and not stopped:
        figures = training.step()
        rows.append(figures)
        logbook.advance(state.step)
        if state.step % recipe.log_every == 0:
            logbook.write(state.step, _means(rows))
            rows = []
        if state.step % recipe.save_every == 0:
            _refuse_divergence(figures)
            save_state(out, recipe, state)
            saved = state.step
    if saved != state.step:  # a signal may come at any point of a step, so this is decided after the last one
        _refuse_divergence(figures)
        save_state(out, recipe, state)


def _means(rows: list[dict[str, Tensor]]) -> dict[str, float]:
    _refuse_divergence(rows[-1])
    return {name: float(torch.stack([row[name] for row in rows]).mean()) for name in rows[0]}


def _refuse_divergence(figures: dict[str, Tensor]) -> None:
    """Ends a training whose loss or gradient is no longer finite, before it is saved: what is on disk stays usable."""
    if not bool(torch.isfinite(figures["loss"]) & torch.isfinite(figures["gradient_norm"])):
        raise TrainingError("the loss is no longer finite; try a lower learning_rate")


def _prepare(recipe: AnalyzerRecipe) -> torch.device:
    if recipe.num_threads > 0:
        torch.set_num_threads(recipe.num_threads)
    if recipe.device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device=cuda, but torch finds no CUDA device")
    wanted = recipe.device if recipe.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)
