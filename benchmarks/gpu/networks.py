"""The networks that are measured: SwinFace at its full size, weights by lot, and the shipped pack's own.

Holds each one's graph, torch twin, work and right answers. Never trains, and never times anything.
Shape suffixes: N crops; S crop side; C channels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from report import Work
from torch.utils.flop_counter import FlopCounterMode

from export.graph import trace
from model.analyzer import Analyzer
from model.checkpoint import load_network
from model.config import SWINFACE
from model.network import MultiTaskNetwork
from model.runtime.pack import DEFAULT_PACK, find_pack, read_pack

INPUT: Final = "images"
Answers = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Subject:
    """One network: its torch twin on the processor, its work, and what it answers to its crops, uint8 (N, S, S, 3)."""

    name: str
    analyzer: Analyzer
    work: Work
    crops: NDArray[np.uint8]
    answers: Answers


def shipped(num_crops: int) -> Subject:
    """The shipped pack's first analyzer."""
    return _subject(DEFAULT_PACK, Analyzer(load_network(find_pack(DEFAULT_PACK) / "analyzer")).eval(), num_crops)


def swinface(num_crops: int) -> Subject:
    """SwinFace as published, with weights by lot, which cost what trained ones do."""
    torch.manual_seed(0)
    return _subject("SwinFace", Analyzer(MultiTaskNetwork(SWINFACE)).eval(), num_crops)


SUBJECTS: Final[dict[str, Callable[[int], Subject]]] = {DEFAULT_PACK: shipped, "SwinFace": swinface}


def graph_of(subject: Subject, kept_in: Path) -> bytes:
    """A network's graph: the pack's own file, or SwinFace's as this project exports it.

    The export takes about a minute, so a folder keeps what it gave, by this torch.
    """
    if subject.name == DEFAULT_PACK:
        folder = find_pack(DEFAULT_PACK)
        return (folder / read_pack(folder).analyzers[0].file).read_bytes()
    kept = kept_in / f"{subject.name}-torch-{torch.__version__}.onnx"
    if not kept.is_file():
        beside = kept.with_suffix(".part")
        beside.write_bytes(trace(subject.analyzer))
        beside.replace(kept)
    return kept.read_bytes()


def _subject(name: str, analyzer: Analyzer, num_crops: int) -> Subject:
    side_px = analyzer.side_px
    crops = np.random.default_rng(0).integers(0, 256, (num_crops, side_px, side_px, 3), np.uint8)
    with torch.inference_mode():
        answers = {task: rows.numpy() for task, rows in analyzer(torch.from_numpy(crops)).items()}
        with FlopCounterMode(display=False) as counter:
            analyzer(torch.from_numpy(crops[:1]))
    work = Work(
        network=name,
        gflop_a_face=counter.get_total_flops() / 1e9,
        million_parameters=sum(weight.numel() for weight in analyzer.parameters()) / 1e6,
        bytes_a_face=crops[0].nbytes + sum(rows[0].nbytes for rows in answers.values()),
    )
    return Subject(name, analyzer, work, crops, answers)


def deviation(right: Answers, found: Answers) -> tuple[float, float]:
    """The least cosine of embeddings, and the largest difference of a probability; NaN passes as neither."""
    num = len(found["embedding"])
    a, b = right["embedding"][:num].astype(np.float64), found["embedding"].astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    others = [
        np.abs(right[task][:num] - rows).max() for task, rows in found.items() if task not in ("embedding", "age")
    ]
    return float(((a * b).sum(1) / norms).min()), float(max(others))
