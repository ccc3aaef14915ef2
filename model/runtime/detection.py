"""Detection: every face on an image, by any SCRFD-format ONNX graph with key points.

Holds the passes over an image, the decoding of scores, boxes and key points, and non-maximum suppression, in numpy;
with one scale and unblended, its answers are those of InsightFace's own SCRFD class on the same graph at the same input
size. What a pass looks at is in `model.runtime.passes`. Never decodes an image file, never imports onnxruntime (see
`model.runtime.session`), never decides how sharp or large a face must be.
Shape suffixes: N batch; H, W height and width; C channels (three, RGB); A a stride's anchors; K faces that are kept.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.runtime.blending import SHARE, blended
from model.runtime.blob import Blobs
from model.runtime.pack import DetectorPart, PackError
from model.runtime.passes import (
    CONCLUSIVE_SCORE,
    FILLS,
    View,
    are_doubtful,
    are_parts,
    confirmed,
    doubtful_side_px,
    is_conclusive,
    small,
    tiles,
    trimmed,
    whole,
    whole_scale,
)
from model.runtime.session import Session

NUM_LANDMARKS: Final = 5
# Strides and anchors a cell by the number of outputs: scores, boxes and key points of each stride (InsightFace, MIT).
_LAYOUTS: Final[dict[int, tuple[tuple[int, ...], int]]] = {9: ((8, 16, 32), 2), 15: ((8, 16, 32, 64, 128), 1)}
_OUTPUTS_WITHOUT_LANDMARKS: Final = (6, 10)
_WIDTHS: Final = (1, 4, 2 * NUM_LANDMARKS)  # columns of a score, a box, a face's key points
_INPUT_DTYPES: Final[dict[str, type[np.floating]]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_SECOND_LOOK_FLOOR: Final = 0.1  # the lowest score of a second look that says anything of a doubtful face
_MAX_BATCH: Final = 8  # 40 MB of input at 640 x 640; a larger run gains nothing and holds memory


class DetectorError(PackError):
    """A graph that is not an SCRFD-format detector with key points; the message is one clear line."""


@dataclass(frozen=True, slots=True)
class Detections:
    """The faces of one image, surest first; all in pixels of the image as it was given, and possibly outside it.

    Attributes:
        boxes: float32 (K, 4), x1, y1, x2, y2.
        scores: float32 (K,), descending.
        landmarks: float32 (K, 5, 2), x and y of left eye, right eye, nose, left and right mouth corner (the viewer's).
        num_views: runs of the network that the image took.
        is_finite: whether the network answered in numbers; where it did not, none of the faces is to be believed, and
            none may be missed in silence either: NaN is under every threshold.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    num_views: int = field(default=1, kw_only=True)
    is_finite: bool = field(default=True, kw_only=True)

    def __len__(self) -> int:
        return len(self.scores)

    def over(self, min_score: float) -> "Detections":
        """Those of a score or more."""
        return self.where(self.scores >= min_score)

    def where(self, kept: NDArray[np.bool_]) -> "Detections":
        """Those of a mask (K,)."""
        return replace(self, boxes=self.boxes[kept], scores=self.scores[kept], landmarks=self.landmarks[kept])


@dataclass(frozen=True, slots=True)
class _Level:
    """One stride's output names and the (A, 2) centres of its anchors, in pixels of the network's input."""

    stride: int
    names: tuple[str, str, str]
    centres: NDArray[np.float32]


class Detector:
    """An SCRFD-format graph, driven. Holds nothing that changes an answer, so several threads may call it at once."""

    def __init__(self, session: Session, part: DetectorPart, *, trims: bool = True) -> None:
        """Takes an opened graph and what the pack says of it; a size that is fixed in the graph wins over the pack's.

        Args:
            session: the graph.
            part: what the pack says of it.
            trims: whether canvases are trimmed where the pack has it so: not on a GPU, which tunes itself anew at each
                shape, and gains little.

        Raises:
            DetectorError: if the graph has no key points, is not in SCRFD's format at all, or does not take canvases of
                any size where the pack has them trimmed.
        """
        self._session, self._part = session, part
        _check_outputs(session, part.file)
        if len(session.inputs) != 1 or len(session.inputs[0].shape) != 4:
            raise DetectorError(f"{part.file}: an SCRFD detector has one input (N, 3, H, W)")
        spec = session.inputs[0]
        if spec.dtype not in _INPUT_DTYPES:
            raise DetectorError(f"{part.file}: the input is {spec.dtype}; an SCRFD detector takes floats")
        self._input_name = spec.name
        self._blobs = Blobs(part.mean, part.std, _INPUT_DTYPES[spec.dtype])
        self.input_height = spec.shape[2] or part.input_height
        self.input_width = spec.shape[3] or part.input_width
        # A classic InsightFace export folds the batch into the anchors' axis (rank 2), whatever its input says.
        ranks = {len(output.shape) for output in session.outputs}
        self._batches = ranks == {3} and all(node.shape[0] is None for node in (spec, *session.outputs))
        if part.trims and not spec.shape[2] is spec.shape[3] is None:
            raise DetectorError(f"{part.file}: canvases are to be trimmed, and the graph takes one size alone")
        self._trims = trims and part.trims
        # Of each canvas size that has been met: there are at most as many as multiples of 32 up to the input's sides.
        self._levels: dict[tuple[int, int], tuple[_Level, ...]] = {}

    @property
    def session(self) -> Session:
        """The graph that it drives."""
        return self._session

    @property
    def _size(self) -> tuple[int, int]:
        return self.input_width, self.input_height

    @property
    def min_score(self) -> float:
        """The lowest score of a face that is kept, unless a caller states another."""
        return self._part.min_score

    def detect(self, images: Sequence[NDArray[np.uint8]], min_score: float | None = None) -> list[Detections]:
        """Finds the faces of images of any sizes, by as many passes as the scales and the first one's answers ask for.

        Args:
            images: uint8 (H, W, 3) RGB arrays.
            min_score: the lowest score of a face that is kept, 0 to 1; the pack's by default.

        Returns:
            One `Detections` an image, in order.
        """
        threshold = self._part.min_score if min_score is None else min_score
        # Whether a first pass is conclusive must not depend on the score that was asked for.
        floor = threshold if self._part.scales == (1.0,) else min(threshold, CONCLUSIVE_SCORE)
        first = list(self._run((whole(image, *self._size) for image in images), floor))
        again = [(number, view) for number, image in enumerate(images) for view in self._further(image, first[number])]
        found = [[each] for each in first]
        seen = self._run((view for _, view in again), min(floor, _SECOND_LOOK_FLOOR))
        for (number, view), faces in zip(again, seen, strict=True):
            if view.is_small:
                found[number][0], faces = self._looked_again(found[number][0], faces, view, images[number])
            found[number].append(faces.over(floor))
        return [self._merged(parts, threshold) if len(parts) > 1 else parts[0].over(threshold) for parts in found]

    def _further(self, image: NDArray[np.uint8], first: Detections) -> Iterator[View]:
        """The views of an image beyond the ordinary one."""
        for scale in self._part.scales:
            if scale > 1:
                yield from tiles(image, *self._size, round(scale))
            elif scale < 1 and (self._is_open(image, first) or self._doubtful(image, first).any()):
                yield small(image, *self._size, scale)

    def _is_open(self, image: NDArray[np.uint8], first: Detections) -> bool:
        """Whether a large face may have been missed."""
        fills_px = FILLS * min(self._size) / whole_scale(image, *self._size)
        return not is_conclusive(first.boxes, first.scores, fills_px)

    def _doubtful(self, image: NDArray[np.uint8], first: Detections) -> NDArray[np.bool_]:
        return are_doubtful(first.boxes, first.scores, doubtful_side_px(whole_scale(image, *self._size)))

    def _looked_again(
        self, first: Detections, again: Detections, view: View, image: NDArray[np.uint8]
    ) -> tuple[Detections, Detections]:
        """A first pass's faces as a look at the picture made small confirms them, and the large faces that it adds."""
        doubtful = self._doubtful(image, first)
        scores = np.where(doubtful, confirmed(first.boxes, first.scores, again.boxes, again.scores), first.scores)
        # Whether large faces are added must not depend on what is doubtful, which depends on the score asked for.
        large = again.where(view.is_large(again.boxes) & self._is_open(image, first))
        parts = are_parts(first.boxes, first.scores, large.boxes, large.scores)
        return replace(first, scores=scores.astype(np.float32)).where(~parts), large

    def _merged(self, parts: Sequence[Detections], threshold: float) -> Detections:
        """What several passes found, each face once; boxes in pixels of the image, so that passes compare."""
        boxes, scores = (np.concatenate([getattr(part, name) for part in parts]) for name in ("boxes", "scores"))
        keep = suppress(boxes, scores, self._part.nms_iou)
        landmarks = np.concatenate([part.landmarks for part in parts])
        is_finite = all(part.is_finite for part in parts)
        found = Detections(boxes[keep], scores[keep], landmarks[keep], num_views=len(parts), is_finite=is_finite)
        return found.over(threshold)

    def _run(self, views: Iterable[View], threshold: float) -> Iterator[Detections]:
        shown = map(trimmed, views) if self._trims else views
        for _, alike in groupby(shown, key=lambda view: view.canvas.shape):
            while batch := list(islice(alike, _MAX_BATCH if self._batches else 1)):
                blob_NCHW = self._blobs.filled([view.canvas for view in batch])
                outputs = self._session.run({self._input_name: blob_NCHW})
                for row, view in enumerate(batch):
                    yield self._decode(outputs, row, view, threshold)

    def _decode(self, outputs: dict[str, NDArray[np.floating]], row: int, view: View, threshold: float) -> Detections:
        """Turns one view's outputs into faces; only anchors over the threshold are decoded, which is quick."""
        scores, boxes, landmarks = [], [], []
        is_finite = True
        # Neighbours of a face over the threshold that are blended with it may lie under it.
        floor = SHARE * threshold if self._part.blend else threshold
        for level in self._anchors(*view.canvas.shape[:2]):
            score_A, distance_A4, points_A10 = (_of_image(outputs[name], row) for name in level.names)
            if len(score_A) != len(level.centres):
                raise DetectorError(
                    f"{self._part.file}: {len(score_A)} anchors at stride {level.stride}, not {len(level.centres)}"
                )
            is_finite = is_finite and bool(np.isfinite(score_A).all())
            kept = np.flatnonzero(score_A[:, 0] >= floor)
            at_K2 = level.centres[kept]
            distance_K4 = distance_A4[kept].astype(np.float32, copy=False) * level.stride
            points_K52 = points_A10[kept].astype(np.float32, copy=False).reshape(-1, NUM_LANDMARKS, 2) * level.stride
            scores.append(score_A[kept, 0])
            boxes.append(np.hstack([at_K2 - distance_K4[:, :2], at_K2 + distance_K4[:, 2:]]))
            landmarks.append(at_K2[:, None] + points_K52)
        all_scores = np.concatenate(scores).astype(np.float32, copy=False)
        on_canvas = np.concatenate(boxes)
        origin = np.array(view.origin, np.float32)
        all_boxes = ((on_canvas - np.tile(origin, 2)) / view.scale).astype(np.float32, copy=False)
        all_points = np.concatenate(landmarks)
        if not (is_finite and np.isfinite(all_boxes).all() and np.isfinite(all_points).all()):
            return _nothing_finite()
        keep = suppress(all_boxes, all_scores, self._part.nms_iou)
        keep = keep[(all_scores[keep] >= threshold) & view.counts(on_canvas[keep])]
        kept_points = blended(on_canvas, all_scores, all_points, keep) if self._part.blend else all_points[keep]
        points = ((kept_points - origin) / view.scale).astype(np.float32, copy=False)
        return Detections(all_boxes[keep], all_scores[keep], points)

    def _anchors(self, height: int, width: int) -> tuple[_Level, ...]:
        """Each stride's outputs and anchors on a canvas."""
        if (height, width) not in self._levels:
            strides, num_anchors = _LAYOUTS[len(self._session.outputs)]
            names = [output.name for output in self._session.outputs]
            levels = []
            for index, stride in enumerate(strides):
                rows, columns = np.mgrid[: height // stride, : width // stride]
                centres = np.stack([columns, rows], axis=-1).reshape(-1, 2).astype(np.float32) * stride
                score, box, points = names[index :: len(strides)]
                levels.append(_Level(stride, (score, box, points), np.repeat(centres, num_anchors, axis=0)))
            self._levels[height, width] = tuple(levels)
        return self._levels[height, width]


def suppress(boxes: NDArray[np.float32], scores: NDArray[np.float32], max_iou: float) -> NDArray[np.intp]:
    """Greedy non-maximum suppression, with sides that count both end pixels (width = x2 - x1 + 1), as SCRFD's is.

    Args:
        boxes: (K, 4), x1, y1, x2, y2.
        scores: (K,).
        max_iou: a box that overlaps a surer one by more is dropped.

    Returns:
        Indices of the boxes that are kept, by descending score; equal scores keep their order.
    """
    x1, y1, x2, y2 = boxes.T
    areas = (x2 - x1 + 1) * (y2 - y1 + 1)
    order = np.argsort(-scores, kind="stable")
    keep: list[np.intp] = []
    while order.size:
        best, rest = order[0], order[1:]
        keep.append(best)
        width = np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest]) + 1
        height = np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest]) + 1
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        order = rest[shared / (areas[best] + areas[rest] - shared) <= max_iou]
    return np.array(keep, np.intp)


def _nothing_finite() -> Detections:
    zero = np.zeros((0,), np.float32)
    return Detections(zero.reshape(0, 4), zero, zero.reshape(0, NUM_LANDMARKS, 2), is_finite=False)


def _of_image(output: NDArray[np.floating], row: int) -> NDArray[np.floating]:
    return output[row] if output.ndim == 3 else output


def _check_outputs(session: Session, file: str) -> None:
    count = len(session.outputs)
    if count in _OUTPUTS_WITHOUT_LANDMARKS:
        raise DetectorError(f"{file}: the detector has no key points ({count} outputs), and alignment needs them")
    if count not in _LAYOUTS:
        raise DetectorError(f"{file}: {count} outputs; an SCRFD detector with key points has 9 or 15")
    num_strides = len(_LAYOUTS[count][0])
    for index, output in enumerate(session.outputs):
        width = _WIDTHS[index // num_strides]
        if len(output.shape) not in (2, 3) or output.shape[-1] not in (None, width):
            raise DetectorError(f"{file}: output {output.name!r} has shape {output.shape}, not (N, anchors, {width})")
