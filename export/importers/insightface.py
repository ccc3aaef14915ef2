"""InsightFace's model zoo as packs: a folder's detector, recognition and gender-age networks, checked against itself.

Holds what a pack states of them, and the run of the original files as InsightFace runs them, which each new graph is
compared with. Never imports insightface, and never keeps a graph that answers otherwise than its original.
Shape suffixes: N faces; S crop side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from export.check import Predict, in_batches, predict_by
from export.errors import ExportError
from export.importers.model_zoo import NUM_GENDER_AGE, Zoo, ZooModel, read_zoo
from export.importers.packing import FOREIGN_TOLERANCES, ForeignAnalyzer, Terms
from export.importers.zoo_graph import float_weights, wrap
from export.precision import embedding_space
from model.runtime.alignment import ARCFACE_SIDE_PX
from model.runtime.known_answer import known_crops
from model.runtime.labels import Task
from model.runtime.pack import sha256_of
from model.runtime.session import Session, SessionError, open_session

TERMS: Final = Terms(
    "LicenseRef-NonCommercial-Research",
    "Non-commercial research only: InsightFace gives the weights of its model zoo for that alone. Its code is MIT; for "
    "another use of the weights ask InsightFace.",
)
BOX_SCALE: Final = 1.5  # of the crop's side to the box's longer one, in InsightFace's `Attribute.get`
_ORIGINAL: Final = "the original file, prepared and read as InsightFace does"
_TASKS: Final[dict[str, tuple[Task, ...]]] = {"recognition": ("embedding",), "gender-age": ("gender", "age")}
_NOISE_SEED: Final = 5


@dataclass(frozen=True, slots=True)
class FromZoo:
    """What a folder gives: the detector's file where it has one, its analyzers, and what was left out, in words."""

    detector: Path | None
    analyzers: tuple[ForeignAnalyzer, ...]
    left_out: tuple[str, ...]


def read_insightface(folder: Path, *, needs_detector: bool = True) -> FromZoo:
    """Reads a model-zoo folder and wraps its networks.

    Args:
        folder: `buffalo_l`, `buffalo_s`, `buffalo_sc`, `antelopev2`, or one of the same make.
        needs_detector: whether the folder's own detector is wanted.

    Raises:
        ExportError: as `read_zoo`, or if a network cannot keep the pack's contract; the file is named.
    """
    zoo = read_zoo(folder, needs_detector=needs_detector)
    return FromZoo(zoo.detector, tuple(to_analyzer(model) for model in _networks(zoo)), zoo.left_out)


def to_analyzer(model: ZooModel) -> ForeignAnalyzer:
    """Wraps one recognition or gender and age network.

    Raises:
        ExportError: if it does not run, its crops are of another template, or it answers one face at a time alone.
    """
    tasks = _TASKS[model.kind]
    is_recognition = model.kind == "recognition"
    if is_recognition and model.side_px % ARCFACE_SIDE_PX:
        raise ExportError(
            f"{model.path.name}: takes crops of {model.side_px} px, which InsightFace aligns to another template; "
            f"multiples of {ARCFACE_SIDE_PX} are served"
        )
    network = original(model)
    answer = network(known_crops(_NOISE_SEED, model.side_px, 1))
    num_columns = answer["embedding"].shape[1] if is_recognition else NUM_GENDER_AGE
    return ForeignAnalyzer(
        file_stem=model.kind,
        graph=_graph(model, network, num_columns),
        side_px=model.side_px,
        tasks=tasks,
        origin=_origin(model),
        alignment="arcface-5pt" if is_recognition else "box",
        box_scale=None if is_recognition else BOX_SCALE,
        embedding_dim=num_columns if is_recognition else None,
        embedding_space=_space(model) if is_recognition else None,
        network=network,
        network_name=_ORIGINAL,
    )


def original(model: ZooModel) -> Predict:
    """The original file as a function of crops, run one at a time, with InsightFace's own arithmetic around it.

    As `ArcFaceONNX.get_feat` and `Attribute.get` do it (InsightFace, MIT), but that an embedding is brought to unit
    length, gender is a softmax, and years are not rounded.

    Raises:
        ExportError: if onnxruntime cannot load it, or it answers nothing of that kind.
    """
    try:
        session = open_session(model.path)
    except SessionError as error:
        raise ExportError(str(error)) from error

    def predict(images_NSSC: NDArray[np.uint8]) -> dict[Task, NDArray[Any]]:
        raw = np.concatenate([_ask(session, model, image_SSC) for image_SSC in images_NSSC])
        if model.kind == "recognition":
            return {"embedding": raw / np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-12)}
        shifted = np.exp(raw[:, :2] - raw[:, :2].max(1, keepdims=True))
        return {"gender": shifted / shifted.sum(1, keepdims=True), "age": raw[:, 2] * np.float32(100)}

    return predict


def _ask(session: Session, model: ZooModel, image_SSC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """One crop's raw numbers, (1, columns)."""
    mean, std = np.float32(model.normalisation.mean), np.float32(1.0 / model.normalisation.std)
    blob_NCHW = ((image_SSC.astype(np.float32) - mean) * std).transpose(2, 0, 1)[None]
    try:
        raw = session.run({model.input: np.ascontiguousarray(blob_NCHW)}, [model.output])[model.output]
    except Exception as error:  # onnxruntime raises a family of its own, without a common base
        raise ExportError(f"{model.path.name} does not run: {str(error).splitlines()[0][:200]}") from error
    if raw.ndim != 2 or len(raw) != 1 or raw.dtype != np.float32:
        raise ExportError(f"{model.path.name}: answers {raw.dtype} {raw.shape} for one crop, not float32 (1, numbers)")
    return np.asarray(raw)


def _graph(model: ZooModel, network: Predict, num_columns: int) -> bytes:
    """The wrapped graph, its batch opened; as it is where that does not hold; refused where neither does."""
    crops_NSSC = known_crops(_NOISE_SEED, model.side_px, 3)
    expected = in_batches(network, crops_NSSC, 1)
    for open_batch in (True, False):
        graph = wrap(model, num_columns, open_batch=open_batch)
        if _answers_as(graph, crops_NSSC, expected):
            return graph
    raise ExportError(
        f"{model.path.name}: its graph answers one face at a time alone, and its batch cannot be opened; "
        "export it again with a dynamic batch"
    )


def _answers_as(graph: bytes, crops_NSSC: NDArray[np.uint8], expected: dict[Task, NDArray[Any]]) -> bool:
    try:
        found = in_batches(predict_by(open_session(graph, quiet=True)), crops_NSSC, len(crops_NSSC))
    except Exception:  # a graph of a fixed batch fails in as many ways as there are operators
        return False
    return all(
        found[task].shape == values.shape and bool(np.abs(found[task] - values).max() <= FOREIGN_TOLERANCES[task])
        for task, values in expected.items()
    )


def _networks(zoo: Zoo) -> Sequence[ZooModel]:
    return [model for model in (zoo.recognition, zoo.gender_age) if model is not None]


def _origin(model: ZooModel) -> str:
    mean, std = model.normalisation.mean, model.normalisation.std
    pixels = "pixels as they are" if (mean, std) == (0.0, 1.0) else f"(pixels - {mean:g}) / {std:g}"
    return (
        f"InsightFace model zoo, {model.words}, SHA-256 {sha256_of(model.path)}; {pixels}. What it was trained on is "
        "not recorded in it."
    )


def _space(model: ZooModel) -> str:
    weights = float_weights(model.model)
    return embedding_space({name: torch.from_numpy(np.array(values)) for name, values in weights.items()})
