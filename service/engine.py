"""Engine: the seam between the service and whatever runs a pack's graphs.

Holds the contract alone: `service.onnx_engine` runs packs by onnxruntime, and tests put engines with a stated property
(slow, failing, short of a row) in its place. Never knows of requests, queues or HTTP.
Shapes: N crops; S a crop's side; H, W an image's height and width.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from model.runtime.detection import Detections
from model.runtime.labels import Task
from model.runtime.pack import Pack

MAX_DETECTION_BATCH: Final = 8  # images in one run of a detector; a GPU is warmed for every size up to it
Outputs = Mapping[Task, NDArray[np.float32]]


class Engine(Protocol):
    """Runs one pack's graphs. Its methods block, and may be called from several threads at once."""

    @property
    def pack(self) -> Pack:
        """What is served."""

    @property
    def device(self) -> str:
        """What really runs the graphs, as `/metrics` names it."""

    def warm_up(self) -> None:
        """Runs every graph at every batch size that will be served, and the known answer.

        Raises:
            StartupError: one line, where an answer is not the one that the pack states.
        """

    def spreads(self, index: int | None = None) -> bool:
        """Whether the detector, or analyzer number `index`, can run by two threads as well as by one."""

    def detect(
        self, images: Sequence[NDArray[np.uint8]], min_score: float, *, spread: bool = False
    ) -> Sequence[Detections]:
        """Finds the faces of uint8 (H, W, 3) RGB images of any sizes; one answer an image, in order.

        Args:
            images: the images.
            min_score: the lowest score of a face that is kept.
            spread: by two threads; by one where it does not spread.
        """

    def analyze(self, index: int, crops: NDArray[np.uint8], *, spread: bool = False) -> Outputs:
        """Runs the pack's analyzer number `index` on uint8 (N, S, S, 3) RGB crops; each output has N rows."""
