"""A detector network behind the session's door, so that a checkpoint is measured by the code that serves its export.

Never opens an ONNX file and never trains.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.detector.config import STRIDES
from model.detector.network import NUM_LANDMARKS, DetectorNetwork
from model.runtime.session import Session, TensorSpec

INPUT_NAME = "input"
# SCRFD's order: the scores of all strides, then the boxes, then the key points.
OUTPUT_NAMES = tuple(f"{kind}_{stride}" for kind in ("score", "bbox", "kps") for stride in STRIDES)
OUTPUT_WIDTHS = (1, 4, 2 * NUM_LANDMARKS)


class TorchSession(Session):
    """Looks and runs as an exported detector does; torch computes."""

    def __init__(self, network: DetectorNetwork) -> None:
        self._network = network.eval()
        widths = [width for width in OUTPUT_WIDTHS for _ in STRIDES]
        self.inputs = (TensorSpec(INPUT_NAME, "tensor(float)", (None, 3, None, None)),)
        self.outputs = tuple(
            TensorSpec(name, "tensor(float)", (None, None, width))
            for name, width in zip(OUTPUT_NAMES, widths, strict=True)
        )

    @property
    def provider(self) -> str:
        """That torch computes, and on what."""
        return f"torch on {next(self._network.parameters()).device}"

    def run(
        self, feeds: Mapping[str, NDArray[np.generic]], outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Runs the network once; see `Session.run`."""
        images_bchw = torch.from_numpy(np.asarray(feeds[INPUT_NAME], np.float32))
        with torch.inference_mode():
            answers = self._network(images_bchw.to(next(self._network.parameters()).device))
        named = dict(zip(OUTPUT_NAMES, (answer.cpu().numpy() for answer in answers), strict=True))
        return {name: named[name] for name in (outputs if outputs is not None else OUTPUT_NAMES)}
