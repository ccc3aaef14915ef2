"""Robustness: a detector under every condition, counted: recall, false alarms, landmark error.

Never says what a condition is (see `model.training.detection.conditions`) and never changes an operating point.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.runtime.detection import Detections, Detector
from model.runtime.pose import pose_of
from model.training.dataset import DataError
from model.training.detection.conditions import CLEAN, Condition, conditions
from model.training.detection.evaluate import DATASET, MIN_FACE_PX
from model.training.detection.matching import landmark_error, match
from model.training.detection.scenes import Scene
from model.training.detection.views import side_of
from model.training.evaluation.report import Measure

GROUP: Final = "condition"
