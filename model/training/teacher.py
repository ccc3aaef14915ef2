"""The network whose answers a training distils: a larger one that was trained first.

Holds the reading of its checkpoint and what it must share with its student. Never runs it (see `model.training.steps`).
"""

from dataclasses import dataclass
from pathlib import Path

from model.checkpoint import WEIGHTS, CheckpointError, load_network, whole
from model.network import MultiTaskNetwork
from model.network_config import NetworkConfig
from model.runtime.pack import sha256_of


@dataclass(frozen=True, slots=True)
class Teacher:
    """A network to distil.

    Attributes:
        network: in evaluation mode, without gradients, on the CPU.
        sha256: of its weights' file, so that a resumed training is held to the same one.
    """

    network: MultiTaskNetwork
    sha256: str


def read_teacher(checkpoint: Path, student: NetworkConfig) -> Teacher:
    """Reads a checkpoint to distil.

    Args:
        checkpoint: its folder.
        student: what learns from it.

    Raises:
        CheckpointError: if it is unreadable, or takes or answers something in another form than the student.
    """
    network = load_network(checkpoint)
    refuse_other_forms(network.config, student)
    return Teacher(network.eval().requires_grad_(False), sha256_of(whole(checkpoint) / WEIGHTS))


def refuse_other_forms(teacher: NetworkConfig, student: NetworkConfig) -> None:
    """Holds a teacher to its student: they see the same images, and share tasks in the same form.

    Raises:
        CheckpointError: naming the first difference.
    """
    shared = set(teacher.tasks) & set(student.tasks)
    if not shared:
        raise CheckpointError("the network to distil shares no task with this one")
    forms: list[tuple[str, object, object]] = [("pixels", teacher.pixels, student.pixels)]
    forms += [("backbone.side_px", teacher.backbone.side_px, student.backbone.side_px)]
    if "age" in shared:
        forms += [("age_form", teacher.age_form, student.age_form)]
        forms += [("num_age_ranks", teacher.num_age_ranks, student.num_age_ranks)]
    if "attributes" in shared:
        forms += [("attribute_form", teacher.attribute_form, student.attribute_form)]
    if "embedding" in shared:
        forms += [("embedding_dim", teacher.embedding_dim, student.embedding_dim)]
    for name, theirs, ours in forms:
        if theirs != ours:
            raise CheckpointError(f"the network to distil has {name} {theirs}, this one {ours}")
    if "age" in shared and student.age_form != "distribution":
        raise CheckpointError("an age is distilled as a distribution alone: age_form=distribution")


def hold_to(teacher: Teacher | None, stored: str | None) -> None:
    """Holds a resumed training to the network that it was started with.

    Args:
        teacher: what is given now.
        stored: the SHA-256 of what was given at the start; None for nothing.

    Raises:
        CheckpointError: if they differ.
    """
    if (None if teacher is None else teacher.sha256) != stored:
        started = "with no network to distil" if stored is None else "with --distil and another checkpoint"
        raise CheckpointError(f"the run was started {started}; it can only go on so")
