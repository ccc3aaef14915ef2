"""InsightFace's model-zoo folders: which of its ONNX files finds, recognises, tells gender and age, or does else.

Holds the telling apart, by what goes into a graph and comes out of it as InsightFace's own router does, never by a
file's name; and how each graph wants its pixels. Never changes a graph (see `export.importers.zoo_graph`).
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import onnx

from export.errors import ExportError

Kind = Literal[
    "detector", "blind-detector", "recognition", "gender-age", "landmarks", "attributes", "swapper", "unknown"
]
_WORDS: Final[dict[Kind, str]] = {
    "detector": "a detector with key points",
    "blind-detector": "a detector without key points, and alignment needs them",
    "recognition": "a recognition network",
    "gender-age": "a gender and age network",
    "landmarks": "a landmark network",
    "attributes": "a network of other attributes",
    "swapper": "a face swapper",
    "unknown": "none of InsightFace's kinds of network",
}
# Outputs of a detector, with and without key points, by the strides that it has (InsightFace's SCRFD class, MIT).
_OUTPUTS_WITH_POINTS: Final = (9, 15)
_MIN_DETECTOR_OUTPUTS: Final = 5
_LANDMARK_SIDE_PX, _ATTRIBUTE_SIDE_PX, _SWAPPER_SIDE_PX, _MIN_RECOGNITION_SIDE_PX = 192, 96, 128, 112
_RECOGNITION_MULTIPLE_PX: Final = 16
NUM_GENDER_AGE: Final = 3
_NUM_LOOKED_AT: Final = 8  # nodes at a graph's start
_MANIFEST: Final = "manifest.json"


@dataclass(frozen=True, slots=True)
class Normalisation:
    """`(pixel - mean) / std` of RGB pixels from 0 to 255, before they go into a graph."""

    mean: float
    std: float


@dataclass(frozen=True, slots=True, eq=False)
class ZooModel:
    """One ONNX file of a model zoo.

    Attributes:
        path: the file.
        kind: what it does.
        model: what is in it, as it is.
        input: name of the input that takes pixels.
        output: name of the first output.
        side_px: of its square input; 0 where the file leaves it open.
        normalisation: how InsightFace prepares its pixels.
    """

    path: Path
    kind: Kind
    model: onnx.ModelProto
    input: str
    output: str
    side_px: int
    normalisation: Normalisation

    @property
    def words(self) -> str:
        """The file's name and what it is."""
        return f"{self.path.name}: {_WORDS[self.kind]}"


@dataclass(frozen=True, slots=True)
class Zoo:
    """What of a folder goes into a pack, and what was left out and why, in words; None for a kind that it lacks."""

    detector: Path | None
    recognition: ZooModel | None
    gender_age: ZooModel | None
    left_out: tuple[str, ...]


def read_zoo(folder: Path, *, needs_detector: bool = True) -> Zoo:
    """Reads a model-zoo folder (`buffalo_l`, `antelopev2`, ...); of each kind the first by file name, as InsightFace.

    Args:
        folder: with ONNX files.
        needs_detector: whether the folder's own detector is wanted; else it is left out.

    Raises:
        ExportError: if it is no such folder, a file is no ONNX model, it holds neither a recognition nor a gender and
            age network, or its only detector has no key points.
    """
    _require_folder(folder)
    first: dict[Kind, ZooModel] = {}
    left_out: list[str] = []
    for path in sorted(folder.glob("*.onnx")):
        found = open_model(path)
        if found.kind in _USED and found.kind not in first:
            first[found.kind] = found
        else:
            second = f" ({first[found.kind].path.name} is taken)" if found.kind in first else ""
            left_out.append(found.words + second)
    if not {"recognition", "gender-age"} & set(first):
        raise ExportError(f"{folder} holds no recognition and no gender and age network; {'; '.join(left_out)}")
    detector = first.get("detector")
    if (
        needs_detector
        and detector is None
        and (blind := [text for text in left_out if _WORDS["blind-detector"] in text])
    ):
        raise ExportError(f"{blind[0]}; name another by --detector")
    if detector is not None and not needs_detector:
        left_out.append(f"{detector.words} (another was named)")
    own = detector.path if detector is not None and needs_detector else None
    return Zoo(own, first.get("recognition"), first.get("gender-age"), tuple(left_out))


def open_model(path: Path) -> ZooModel:
    """Reads one ONNX file and tells what it is.

    The rules and their order are those of `ModelRouter.get_model` in InsightFace's `model_zoo/model_zoo.py` (MIT).

    Raises:
        ExportError: if it is no ONNX model.
    """
    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf, ONNX and the disk each raise families of their own
        raise ExportError(f"{path} cannot be read as an ONNX model: {_line(error)}") from error
    inputs = real_inputs(model.graph)
    if not inputs or not model.graph.output:
        raise ExportError(f"{path} is no ONNX model with inputs and outputs")
    kind = _kind(model.graph, inputs)
    shape = _shape(inputs[0])
    side_px = shape[2] if len(shape) == 4 and shape[2] == shape[3] else None
    return ZooModel(
        path, kind, model, inputs[0].name, model.graph.output[0].name, side_px or 0, _normalisation(model.graph, kind)
    )


def real_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """Inputs that a caller feeds: files of ONNX's early versions list their weights among the inputs, too."""
    weights = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in weights]


def _kind(graph: onnx.GraphProto, inputs: Sequence[onnx.ValueInfoProto]) -> Kind:
    shape, num_outputs = _shape(inputs[0]), len(graph.output)
    if num_outputs >= _MIN_DETECTOR_OUTPUTS:
        return "detector" if num_outputs in _OUTPUTS_WITH_POINTS else "blind-detector"
    if len(shape) != 4 or shape[2] is None or shape[2] != shape[3]:
        return "unknown"
    side_px = shape[2]
    if side_px == _LANDMARK_SIDE_PX:
        return "landmarks"
    if side_px == _ATTRIBUTE_SIDE_PX:
        widths = _shape(graph.output[0])
        return "gender-age" if len(widths) == 2 and widths[1] == NUM_GENDER_AGE else "attributes"
    if len(inputs) == 2 and side_px == _SWAPPER_SIDE_PX:
        return "swapper"
    is_recognition = side_px >= _MIN_RECOGNITION_SIDE_PX and side_px % _RECOGNITION_MULTIPLE_PX == 0
    return "recognition" if is_recognition and len(inputs) == 1 and num_outputs == 1 else "unknown"


def _normalisation(graph: onnx.GraphProto, kind: Kind) -> Normalisation:
    """A graph that begins with a subtraction and a product prepares its pixels itself (MXNet's exports do).

    The rule, by the names of the first nodes, is that of InsightFace's `ArcFaceONNX` and `Attribute` classes (MIT): a
    graph of another tool whose first nodes bear such names is read as they read it, so that the numbers are theirs.
    """
    names = [node.name for node in graph.node[:_NUM_LOOKED_AT]]
    subtracts = any(name.startswith(("Sub", "_minus")) for name in names)
    multiplies = any(name.startswith(("Mul", "_mul")) for name in names)
    begins_with_norm = kind != "recognition" and "bn_data" in names[:3]
    if (subtracts and multiplies) or begins_with_norm:
        return Normalisation(0.0, 1.0)
    return Normalisation(127.5, 127.5 if kind == "recognition" else 128.0)


def _shape(value: onnx.ValueInfoProto) -> list[int | None]:
    return [axis.dim_value if axis.dim_value > 0 else None for axis in value.type.tensor_type.shape.dim]


def _require_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ExportError(f"no folder at {folder}: give one of InsightFace's model-zoo folders, such as buffalo_l")
    if not any(folder.glob("*.onnx")):
        inside = sorted({path.parent.name for path in _one_deeper(folder)})
        hint = f"; {folder / inside[0]} holds some" if inside else ""
        raise ExportError(f"{folder} holds no .onnx file{hint}")
    if _manifest_version(folder / _MANIFEST) == 2:
        raise ExportError(
            f"{folder} is a package with a manifest of version 2, whose models are prepared in ways of their own; "
            "only folders of plain .onnx files are read"
        )


def _one_deeper(folder: Path) -> Iterator[Path]:
    yield from folder.glob("*/*.onnx")


def _manifest_version(path: Path) -> object:
    try:
        manifest = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return manifest.get("manifest_version") if isinstance(manifest, dict) else None


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


_USED: Final[tuple[Kind, ...]] = ("detector", "recognition", "gender-age")
