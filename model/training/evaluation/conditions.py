"""Conditions in a report: how the figures of a detector under a condition are named, and in what order they are told.

Holds names alone, for what measures, prints and writes cards. Never says what a condition is (see
`model.training.detection.conditions`).
"""

from typing import Final

CONDITION: Final = "condition="  # how the group of such a figure begins; the condition's name follows
# Metric: what heads its column.
CONDITION_METRICS: Final = {
    "recall_at_iou_0.5": "recall at IoU 0.5",
    "false_alarms_per_room": "false alarms a room",
    "landmark_error_by_eye_distance": "landmark error / eye distance",
    "views_per_photo": "looks a photograph",
}
