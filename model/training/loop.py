"""A multi-task training from its start to its end: prepare, step, log, validate, save, ship.

Holds the order of things. Never holds a loss, a schedule or a file format. A training that is killed and resumed ends
with the same weights as one that ran through (see `model.training.steps`).
"""

from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor

from model.checkpoint import load_network, save
from model.losses.classification import inverse_frequency_weights
from model.training.batches import Mixture
from model.training.dataset import read_faces
from model.training.devices import TrainingError, device_of
from model.training.interruption import stopping
from model.training.logbook import Logbook, Silence
from model.training.loss_curves import draw_losses
from model.training.precision import effective
from model.training.recipes.recipe import AnalyzerRecipe
from model.training.run_folder import BEST, EMA
from model.training.state import TrainingState, new_state, resume_state, save_state
from model.training.steps import Training
from model.training.teacher import Teacher, hold_to, read_teacher
from model.training.validating import Validator
from model.training.world import World, joined


def train_analyzer(
    recipe: AnalyzerRecipe,
    data: Path,
    out: Path,
    *,
    resume: bool = False,
    init: Path | None = None,
    cache: Path | None = None,
    distil: Path | None = None,
) -> bool:
    """Trains to the recipe's end, or until SIGTERM or SIGINT, and saves.

    Started by torchrun, it is one of several processes that train together.

    Args:
        recipe: what to do.
        data: the folder with the parquet files.
        out: the run's folder.
        resume: go on from `out/last`.
        init: a checkpoint to start from.
        cache: a folder for decoded pixels.
        distil: a checkpoint whose answers are distilled beside the labels.

    Returns:
        Whether the end was reached.

    Raises:
        DataError: if the data cannot be used.
        CheckpointError: if the state or `init` cannot be used.
        OptimizerError: if the recipe multiplies the rate of a module that is not there.
        TrainingError: if the loss is no longer finite.
        WorldError: if there is no GPU for a process.
    """
    with joined(recipe.device) as world:
        device = device_of(recipe.device, recipe.num_threads)
        mixture = Mixture([read_faces(data, name, "train", cache) for name in recipe.sets])
        chosen = recipe.validation.metric is not None and world.writes
        validator = Validator(recipe.validation, data, cache, device) if chosen else None
        teacher = None if distil is None else read_teacher(distil, recipe.network)
        state = _start(recipe, mixture, device, out, resume, init, world, teacher)
        with ExitStack() as opened:
            network = None if teacher is None else teacher.network.to(device)
            training = opened.enter_context(Training(recipe, mixture, state, device, world, network))
            stopped = opened.enter_context(stopping())
            first, total = state.step, training.plan.total_steps
            logbook: Logbook | Silence = Logbook(out, first, total) if world.writes else Silence()
            opened.enter_context(logbook)
            logbook.say(_opening(recipe, training, mixture, device, world))
            run = Run(training, out, logbook, validator)
            run.until(stopped)
            return run.close()


class Run:
    """The steps of one sitting, with what happens between them."""

    def __init__(self, training: Training, out: Path, logbook: Logbook | Silence, validator: Validator | None) -> None:
        self._training, self._out, self._logbook, self._validator = training, out, logbook, validator
        self._recipe, self._state, self._world = training.recipe, training.state, training.world
        self._rows: list[dict[str, Tensor]] = []
        self._saved = training.state.step

    def until(self, stopped: list[int]) -> None:
        """Steps to the end, or until a signal or early stopping."""
        figures: dict[str, Tensor] = {}
        while not self._done and not self._world.any(bool(stopped)):
            figures = self._training.step()
            self._rows.append(figures)
            self._logbook.advance(self._state.step)
            self._log()
            validated = self._validate()
            if self._state.step % self._recipe.save_every == 0 or validated:
                self._save(figures)
        # A signal may come at any point of a step, so this is decided after the last one.
        if self._saved != self._state.step:
            self._save(figures)

    def close(self) -> bool:
        """Ships what is to be shipped; answers whether the end was reached."""
        done, ema = self._done, self._out / EMA
        if self._world.writes:
            if done:
                best = self._recipe.validation.metric is not None and self._state.watch.best is not None
                save(ema, load_network(self._out / BEST) if best else self._training.shipped_network())
            early = ", early" if self._state.watch.stopped else ""
            self._logbook.say(f"{'done' if done else 'stopped'} at step {self._state.step}{early}: {ema}")
            self._logbook.say(f"training curves: {draw_losses(self._out)}")
        self._world.wait()
        return done

    @property
    def _done(self) -> bool:
        return self._state.watch.stopped or self._state.step >= self._training.plan.total_steps

    def _log(self) -> None:
        if self._state.step % self._recipe.log_every == 0:
            refuse_divergence(self._rows[-1])
            means = {name: float(torch.stack([row[name] for row in self._rows]).mean()) for name in self._rows[0]}
            self._logbook.write(self._state.step, means)
            self._rows = []

    def _save(self, figures: dict[str, Tensor]) -> None:
        refuse_divergence(figures)
        save_state(self._out, self._recipe, self._state, self._world)
        self._saved = self._state.step

    def _validate(self) -> bool:
        """Validates where it is due, keeps the best, and counts an epoch's end; answers whether it did."""
        config, step, plan = self._recipe.validation, self._state.step, self._training.plan
        if not config.due(step, plan.steps_per_epoch, plan.total_steps):
            return False
        watch = self._state.watch
        network = self._training.shipped_network() if self._validator is not None else None
        value = self._validator.measure(network) if self._validator is not None and network is not None else 0.0
        value = self._world.from_first(value)
        if watch.see(value, step, config) and network is not None:
            save(self._out / BEST, network)
        self._logbook.validated(step, str(config.metric), value, step == watch.best_step)
        if step % plan.steps_per_epoch == 0:
            watch.end_epoch(config, self._recipe.schedule)
        return True


def refuse_divergence(figures: dict[str, Tensor]) -> None:
    """Ends a training whose loss or gradient is no longer finite, before it is saved: what is on disk stays usable.

    Raises:
        TrainingError: if it is so.
    """
    if not bool(torch.isfinite(figures["loss"]) & torch.isfinite(figures["gradient_norm"])):
        raise TrainingError("the loss is no longer finite; try a lower learning_rate")


def _start(
    recipe: AnalyzerRecipe,
    mixture: Mixture,
    device: torch.device,
    out: Path,
    resume: bool,
    init: Path | None,
    world: World,
    teacher: Teacher | None,
) -> TrainingState:
    weights = class_weights(recipe, mixture)
    if resume:
        state = resume_state(out, recipe, mixture.num_identities, device, class_weights=weights, world=world)
        state.alignment = mixture.alignment
        hold_to(teacher, state.distilled_from)
        return state
    state = new_state(recipe, mixture.num_identities, device, init, class_weights=weights, world=world)
    state.alignment = mixture.alignment
    state.distilled_from = None if teacher is None else teacher.sha256
    save_state(out, recipe, state, world)  # from here on a kill at any point can be resumed
    return state


def class_weights(recipe: AnalyzerRecipe, mixture: Mixture) -> dict[str, Tensor]:
    """Weights of a recipe's classes by task, float32 (K,): their inverse frequency in the sets, to a power."""
    powers = dict.fromkeys(("gender", "race"), 1.0) if recipe.forms.classes == "weighted" else {}
    powers |= {"expression": recipe.forms.balance} if recipe.forms.balance else {}
    sizes = {task: recipe.network.output_size(task) for task in powers if task in recipe.network.tasks}
    counts = {task: mixture.counts(task, size).tolist() for task, size in sizes.items()}
    return {task: inverse_frequency_weights(count) ** powers[task] for task, count in counts.items()}


def _opening(recipe: AnalyzerRecipe, training: Training, mixture: Mixture, device: torch.device, world: World) -> str:
    parts = [f"{training.state.network.num_parameters():,} parameters", str(mixture.sizes), f"on {device}"]
    if world.size > 1:
        parts.append(f"{world.size} processes")
    if effective(recipe.precision, device) != recipe.precision:
        parts.append(f"in float32: {recipe.precision} is for a GPU")
    return ", ".join(parts)
