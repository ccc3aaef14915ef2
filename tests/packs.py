"""Tiny real packs: ONNX graphs whose answers can be worked out by hand, in a folder with a valid `pack.json`.

The detector is of SCRFD's format and finds bright squares of 32, 64 and 128 pixels (of its 160-pixel input) on dark
ground: a square's brightness is its score, and its landmarks are placed so that its aligned crop is the square itself.
The analyzer's six tasks are simple functions of a crop's mean colours on a 2 x 2 grid. A fault is a property of the
graph, and shows on white crops alone, so that the pack passes its known answer.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from model.runtime.alignment import ARCFACE_SIDE_PX, ARCFACE_TEMPLATE_P2
from model.runtime.known_answer import known_answer, known_crops
from model.runtime.labels import ATTRIBUTES, EXPRESSIONS, GENDERS, RACES, TASKS, Task
from model.runtime.pack import Alignment, AnalyzerPart, DetectorPart, Pack, Threshold, Verification
from model.runtime.session import open_session

Fault = Literal["failing", "nan", "short", "slow", "hanging", "blind"]
INPUT_PX: Final = 160
SIDE_PX: Final = 32
EMBEDDING_DIM: Final = 12
OPSET: Final = 17
STRIDES: Final = (8, 16, 32)
_SEED: Final = 7
_WHITE: Final = 0.95  # a crop of this mean brightness or more shows the fault
_SLOW_LOOPS: Final = 4000
_ENDLESS_LOOPS: Final = 10**12
_WIDTHS: Final[dict[Task, int | None]] = {
    "embedding": EMBEDDING_DIM,
    "age": None,
    "gender": 2,
    "expression": 7,
    "attributes": 40,
    "race": 5,
}
_LABELS: Final[dict[Task, tuple[str, ...]]] = {
    "gender": GENDERS,
    "expression": EXPRESSIONS,
    "attributes": ATTRIBUTES,
    "race": RACES,
}


@dataclass(frozen=True)
class Square:
    """A face, as the detector knows it: its top left corner, its side (32, 64 or 128 detector pixels), its colour."""

    x: int
    y: int
    side: int = 32
    color: tuple[int, int, int] = (255, 200, 240)


@dataclass
class _Graph:
    """Nodes and constants of a graph in the making."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def add(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [output], **attributes))
        return output

    def constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def paint(squares: Sequence[Square], width: int = INPUT_PX, height: int = INPUT_PX) -> NDArray[np.uint8]:
    """A black picture, uint8 (height, width, 3), with squares on it."""
    picture = np.zeros((height, width, 3), np.uint8)
    for square in squares:
        picture[square.y : square.y + square.side, square.x : square.x + square.side] = square.color
    return picture


def encode(pixels: NDArray[np.uint8], kind: str = "PNG") -> bytes:
    """Pixels as an image file's bytes."""
    target = BytesIO()
    Image.fromarray(pixels).save(target, kind)
    return target.getvalue()


def photo(*squares: Square, width: int = INPUT_PX, height: int = INPUT_PX) -> bytes:
    """A PNG with squares on it."""
    return encode(paint(squares, width, height))


def build_pack(
    folder: Path,
    *,
    name: str = "tiny",
    tasks: Sequence[Sequence[Task]] = (TASKS,),
    sides_px: Sequence[int] = (SIDE_PX,),
    alignments: Sequence[Alignment] | None = None,
    fault: Fault | None = None,
    calibrated: bool = True,
) -> Path:
    """Writes a pack to `folder`, an analyzer for each of `tasks`, and returns it.

    Unless `alignments` says otherwise, the first analyzer is aligned by landmarks and all others by box.
    """
    folder.mkdir(parents=True, exist_ok=True)
    detector = _write(folder / "detector.onnx", detector_graph(is_blind=fault == "blind"))
    parts = []
    for index, (names, side_px) in enumerate(zip(tasks, sides_px, strict=True)):
        alignment: Alignment = alignments[index] if alignments else "box" if index else "arcface-5pt"
        file = f"analyzer-{index}.onnx"
        digest = _write(folder / file, analyzer_graph(names, side_px, fault))
        answers = open_session(folder / file).run({"images": known_crops(_SEED, side_px, 1)}, list(names))
        parts.append(
            AnalyzerPart(
                file=file,
                sha256=digest,
                side_px=side_px,
                alignment=alignment,
                box_scale=1.0 if alignment == "box" else None,
                tasks=tuple(names),
                labels={task: _LABELS[task] for task in names if task in _LABELS},
                embedding_dim=EMBEDDING_DIM if "embedding" in names else None,
                opset=OPSET,
                known_answer=known_answer(_SEED, {task: answers[task] for task in names}, 1e-4),
            )
        )
    pack = Pack(
        name=name,
        version="1.0.0",
        license="MIT",
        allowed_use="tests",
        detector=DetectorPart(
            file="detector.onnx", sha256=detector, input_width=INPUT_PX, input_height=INPUT_PX, min_score=0.5
        ),
        analyzers=tuple(parts),
        embedding_space="tiny-space" if any("embedding" in names for names in tasks) else None,
        verification=_verification() if calibrated else None,
    )
    (folder / "pack.json").write_text(pack.model_dump_json(indent=2))
    return folder


def detector_graph(*, is_blind: bool = False) -> onnx.ModelProto:
    """SCRFD's nine outputs: scores, boxes, points at strides 8, 16, 32; two anchors a cell, the second never sure.

    One that `is_blind` scores every anchor NaN where a pixel of the picture is white.
    """
    graph = _Graph()
    graph.constant("half", np.float32(0.5))
    graph.add("Mul", ["input", graph.constant("gain", np.float32(128 / 255))], "scaled")
    graph.add("Add", ["scaled", "half"], "light")  # 0 black to 1 white: what lies outside pads as black
    _add_blindness(graph, is_blind)
    outputs: dict[str, list[onnx.ValueInfoProto]] = {"score": [], "box": [], "points": []}
    half_box = np.full(4, 2.0, np.float32)
    points = (ARCFACE_TEMPLATE_P2 / ARCFACE_SIDE_PX * 4 - 2).astype(np.float32).ravel()
    for stride in STRIDES:
        num = (INPUT_PX // stride) ** 2 * 2
        _add_scores(graph, stride)
        for kind, values in (("box", half_box), ("points", points)):
            zeros = graph.constant(f"{kind}_zeros_{stride}", np.zeros((1, 1, len(values)), np.float32))
            graph.add("Mul", [f"score_{stride}", zeros], f"{kind}_shape_{stride}")
            level = graph.constant(f"{kind}_level_{stride}", values.reshape(1, 1, -1))
            graph.add("Add", [f"{kind}_shape_{stride}", level], f"{kind}_{stride}")
        for kind, width in (("score", 1), ("box", 4), ("points", 10)):
            info = helper.make_tensor_value_info(f"{kind}_{stride}", TensorProto.FLOAT, ["N", num, width])
            outputs[kind].append(info)
    images = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, INPUT_PX, INPUT_PX])
    return _model(graph, [images], [*outputs["score"], *outputs["box"], *outputs["points"]])


def analyzer_graph(tasks: Sequence[Task], side_px: int = SIDE_PX, fault: Fault | None = None) -> onnx.ModelProto:
    """Six tasks on a crop's mean colours: the 2 x 2 grid's, (N, 12), and the whole crop's brightness, (N,)."""
    graph = _Graph()
    graph.add("Cast", ["images"], "floats", to=TensorProto.FLOAT)
    graph.add("Div", ["floats", graph.constant("full", np.float32(255))], "light")
    graph.add("Transpose", ["light"], "channels", perm=[0, 3, 1, 2])
    graph.add("AveragePool", ["channels"], "pooled", kernel_shape=[side_px // 2] * 2, strides=[side_px // 2] * 2)
    graph.add("Flatten", ["pooled"], "plain_grid")
    graph.add("ReduceMean", ["plain_grid"], "brightness", axes=[1], keepdims=0)
    _add_fault(graph, fault)
    graph.add("Add", ["grid", graph.constant("bias", 0.01 * np.arange(1, 13, dtype=np.float32))], "features")
    for task in tasks:
        _add_task(graph, task)
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", side_px, side_px, 3])
    infos = []
    for task in tasks:
        width = _WIDTHS[task]
        infos.append(helper.make_tensor_value_info(task, TensorProto.FLOAT, ["M"] if width is None else ["M", width]))
    return _model(graph, [images], infos)


def _add_scores(graph: _Graph, stride: int) -> None:
    """Mean light within four strides, less that of a ring half a stride wide: only a square of that size scores."""
    inner, ring = 4 * stride, stride // 2
    size = inner + 2 * ring
    kernel = np.full((size, size), -1.0 / (size**2 - inner**2), np.float32)
    kernel[ring:-ring, ring:-ring] = 1.0 / inner**2
    weight = graph.constant(f"kernel_{stride}", np.repeat(kernel[None, None] / 3, 3, axis=1))
    begin, end = size // 2, size // 2 - stride
    graph.add("Conv", ["light", weight], f"match_{stride}", strides=[stride] * 2, pads=[begin, begin, end, end])
    graph.add("Clip", [f"match_{stride}", *_bounds(graph, stride)], f"sure_{stride}")
    none = graph.constant(f"none_{stride}", np.float32(0))
    graph.add("Mul", [f"sure_{stride}", none], f"second_{stride}")
    graph.add("Concat", [f"sure_{stride}", f"second_{stride}"], f"pair_{stride}", axis=1)
    graph.add("Transpose", [f"pair_{stride}"], f"cells_{stride}", perm=[0, 2, 3, 1])
    shape = graph.constant(f"shape_{stride}", np.array([0, -1, 1], np.int64))
    graph.add("Reshape", [f"cells_{stride}", shape], f"seen_{stride}")
    graph.add("Add", [f"seen_{stride}", "blindness"], f"score_{stride}")


def _add_blindness(graph: _Graph, is_blind: bool) -> None:
    """What is added to each picture's scores, (N, 1, 1): 0, or NaN for the root of a negative number."""
    graph.add("ReduceMean", ["light"], "greys", axes=[1], keepdims=0)
    graph.add("ReduceMax", ["greys"], "lightest", axes=[1, 2], keepdims=1)
    graph.add("Sub", [graph.constant("dazzling", np.float32(0.99 if is_blind else 9)), "lightest"], "comfort")
    graph.add("Sqrt", ["comfort"], "comfort_root")
    graph.add("Sub", ["comfort_root", "comfort_root"], "blindness")


def _bounds(graph: _Graph, stride: int) -> list[str]:
    return [
        graph.constant(f"least_{stride}", np.float32(0)),
        graph.constant(f"most_{stride}", np.float32(1)),
    ]


def _add_task(graph: _Graph, task: Task) -> None:
    if task == "embedding":
        graph.add("LpNormalization", ["features"], "embedding", axis=1, p=2)
        return
    if task == "age":
        graph.add("ReduceMean", ["grid"], "mean", axes=[1], keepdims=0)
        graph.add("Mul", ["mean", graph.constant("century", np.float32(100))], "age")
        return
    width = _WIDTHS[task]
    assert width is not None
    matrix = np.sin(np.arange(12 * width, dtype=np.float32).reshape(12, width) * (1 + width))
    graph.add("MatMul", ["features", graph.constant(f"{task}_weight", matrix)], f"{task}_logits")
    graph.add("Sigmoid" if task == "attributes" else "Softmax", [f"{task}_logits"], task)


def _add_fault(graph: _Graph, fault: Fault | None) -> None:
    """Turns `plain_grid` into `grid`, with the fault where a crop of the batch is white."""
    white = graph.constant("white", np.float32(_WHITE))
    if fault == "nan":
        graph.add("Sub", [white, "brightness"], "margin")
        graph.add("Sqrt", ["margin"], "root")  # not a number below zero
        graph.add("Sub", ["root", "root"], "zero")
        graph.add("Unsqueeze", ["zero", graph.constant("axis", np.array([1], np.int64))], "column")
        graph.add("Add", ["plain_grid", "column"], "grid")
        return
    graph.add("Less", ["brightness", white], "dark")
    if fault == "short":
        graph.add("Compress", ["plain_grid", "dark"], "grid", axis=0)
        return
    if fault in ("failing", "slow", "hanging"):
        graph.add("Not", ["dark"], "bright")
        graph.add("Cast", ["bright"], "counts", to=TensorProto.INT64)
        graph.add("ReduceMax", ["counts"], "any", keepdims=0)
    if fault == "failing":
        # Index 1 of an axis of one is out of bounds, which onnxruntime finds out while it runs.
        table = graph.constant("table", np.zeros((1,), np.float32))
        graph.add("Gather", [table, "any"], "looked_up")
        graph.add("Add", ["plain_grid", "looked_up"], "grid")
    elif fault in ("slow", "hanging"):
        _add_loop(graph, _SLOW_LOOPS if fault == "slow" else _ENDLESS_LOOPS)
    else:
        graph.add("Identity", ["plain_grid"], "grid")


def _add_loop(graph: _Graph, num_loops: int) -> None:
    """Multiplies a matrix by itself, over and over, where a crop is white."""
    graph.add("Mul", ["any", graph.constant("loops", np.int64(num_loops))], "trips")
    square = graph.constant("matrix", np.eye(192, dtype=np.float32))
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", square], ["next_state"]),
            helper.make_node("Identity", ["go_on"], ["goes_on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("trip", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [192, 192]),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next_state", TensorProto.FLOAT, [192, 192]),
        ],
    )
    graph.add("Loop", ["trips", graph.constant("yes", np.bool_(True)), square], "power", body=body)
    graph.add("ReduceMin", ["power"], "least", keepdims=0)  # 0: the identity's powers are the identity
    graph.add("Add", ["plain_grid", "least"], "grid")


def _model(graph: _Graph, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
    made = helper.make_graph(graph.nodes, "tiny", inputs, outputs, graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def _write(path: Path, model: onnx.ModelProto) -> str:
    data = model.SerializeToString()
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def _verification() -> Verification:
    points = [(0.01, 0.90, 0.95), (0.001, 0.95, 0.88), (0.0001, 0.98, 0.78)]
    return Verification(
        calibrated_on="made up for tests",
        num_images=1000,
        num_impostor_pairs=100_000,
        num_genuine_pairs=10_000,
        thresholds=tuple(Threshold(fmr=fmr, threshold=at, tar=tar) for fmr, at, tar in points),
    )
