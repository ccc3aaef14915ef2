"""The detector's training loop: draw, forward, backward, average, log, save.

Holds the order of things. Never holds a loss, a schedule or a file format. A step depends on the state before it and on
(seed, step) alone, so a training that is killed and resumed ends with the same weights as one that ran through.
"""

import os
from dataclasses import replace
from pathlib import Path

import cv2
import torch
from torch import Tensor

from model.detector.checkpoint import OperatingPoint, save_detector
from model.detector.network import DetectorNetwork
from model.training.batch_norm import with_precise_statistics
from model.training.detection.batches import BatchReader
from model.training.detection.composites import Compositor
from model.training.detection.drawing import draw_batch
from model.training.detection.objective import detection_losses, weighted_sum
from model.training.detection.recipe import DetectorRecipe
from model.training.detection.scenes import Scene
from model.training.detection.state import DetectorState, new_state, resume_state, save_state
from model.training.devices import TrainingError, device_of
from model.training.interruption import stopping
from model.training.logbook import Logbook
from model.training.run_folder import EMA
from model.training.schedule import learning_rate
from model.training.seeds import STATISTICS, seed_of

_MEAN, _STD = 127.5, 128.0  # SCRFD's, and the pack's defaults


class DetectorTraining:
    """One training on scenes in memory.

    Attributes:
        recipe: how it goes.
        state: what it is between two steps.
    """

    def __init__(self, recipe: DetectorRecipe, reader: BatchReader, state: DetectorState, device: torch.device) -> None:
        self.recipe, self.state = recipe, state
        self._reader, self._device = reader, device

    def step(self) -> dict[str, Tensor]:
        """Does one step; returns its losses and figures, scalars on the device."""
        recipe, state = self.recipe, self.state
        rate = learning_rate(
            state.step, recipe.total_steps, recipe.warmup_steps, recipe.learning_rate, recipe.final_share
        )
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        batch = self._reader.read(state.step).to(self._device)
        losses = detection_losses(state.network.levels(normalised(batch.pixels())), batch)
        total = weighted_sum(losses, recipe.losses)
        state.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(state.network.parameters(), recipe.max_grad_norm)
        state.optimizer.step()
        state.step += 1
        if state.step % recipe.ema_every == 0:
            state.average.update(state.network, state.step // recipe.ema_every - 1)
        figures = {"loss": total, **losses, "gradient_norm": norm, "learning_rate": torch.tensor(rate)}
        return {name: value.detach() for name, value in figures.items()}


def run_training(
    recipe: DetectorRecipe, scenes: tuple[Scene, ...], out: Path, *, resume: bool, init: Path | None = None
) -> bool:
    """Trains to the recipe's end, or until SIGTERM or SIGINT, and saves; `init` is a checkpoint to start from.

    Returns:
        Whether the end was reached.

    Raises:
        DataError: if the scenes are not enough to train on.
        CheckpointError: if there is nothing to resume, or it is another training, or `init` cannot be used.
        TrainingError: if the loss is no longer finite, or the device is absent.
    """
    cv2.setNumThreads(1)  # small images: threads cost more than they give
    device = device_of(recipe.device, recipe.num_threads)
    compositor = Compositor(scenes, recipe.seed)
    state = resume_state(out, recipe, device) if resume else new_state(recipe, device, init)
    with (
        stopping() as stopped,
        Logbook(out, state.step, recipe.total_steps) as logbook,
        BatchReader(compositor, recipe.canvas, _num_workers(recipe, device), device.type == "cuda") as reader,
    ):
        count = sum(parameter.numel() for parameter in state.network.parameters())
        logbook.say(f"detector: {count:,} parameters, {len(scenes):,} scenes, on {device}, from step {state.step}")
        _run(DetectorTraining(recipe, reader, state, device), out, logbook, stopped)
        done = state.step >= recipe.total_steps
        if done and recipe.statistics_batches and not recipe.trained:
            save_detector(out / EMA, _shipped(recipe, scenes, state, device), OperatingPoint())
        logbook.say(f"{'done' if done else 'stopped'} at step {state.step}: {out / EMA}")
    return done


def _shipped(
    recipe: DetectorRecipe, scenes: tuple[Scene, ...], state: DetectorState, device: torch.device
) -> DetectorNetwork:
    """The averaged network with batch norm statistics of its own, from drawings that no step saw."""
    compositor = Compositor(scenes, seed_of(recipe.seed, STATISTICS))
    config = replace(recipe.canvas, views=1)
    batches = (draw_batch(compositor, config, number).to(device) for number in range(recipe.statistics_batches))
    return with_precise_statistics(state.average.network, (normalised(batch.pixels()) for batch in batches))


def normalised(levels_BCHW: Tensor) -> Tensor:
    """Levels 0 to 255 as the network takes them; written over."""
    return levels_BCHW.sub_(_MEAN).div_(_STD)


def _num_workers(recipe: DetectorRecipe, device: torch.device) -> int:
    if recipe.num_workers >= 0:
        return recipe.num_workers
    return max(len(os.sched_getaffinity(0)) - 2, 1) if device.type == "cuda" else 0


def _run(training: DetectorTraining, out: Path, logbook: Logbook, stopped: list[int]) -> None:
    recipe, state = training.recipe, training.state
    rows: list[dict[str, Tensor]] = []
    while state.step < recipe.total_steps and not stopped:
        rows.append(training.step())
        logbook.advance(state.step)
        if state.step % recipe.log_every == 0:
            logbook.write(state.step, _means(rows))
            rows = []
        if state.step % recipe.save_every == 0 and state.step < recipe.total_steps:
            save_state(out, recipe, state)
    save_state(out, recipe, state)


def _means(rows: list[dict[str, Tensor]]) -> dict[str, float]:
    means = {name: float(torch.stack([row[name] for row in rows]).mean()) for name in rows[0]}
    if not torch.isfinite(torch.tensor(means["loss"])):
        raise TrainingError("the loss is no longer finite; try a lower learning_rate")
    return means
