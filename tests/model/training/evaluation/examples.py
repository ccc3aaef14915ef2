"""A report with something of everything, for what reads one. Its figures mean nothing."""

from typing import Final

from model.runtime.labels import ATTRIBUTES, EXPRESSIONS
from model.training.evaluation.report import Confusion, EvaluationReport, Measure, VerificationCurve

REPORT: Final = EvaluationReport(
    model="runs/my/ema",
    command="mien-train evaluate runs/my/ema --data data",
    measures=(
        Measure("embedding", "accuracy_10fold", 0.9123, "lfw", 6000),
        Measure("embedding", "tar_at_fmr_1e-03", 0.81, "lfw", 6155),
        Measure("embedding", "threshold_at_fmr_1e-03", 0.3125, "lfw", 17_454_940),
        Measure("embedding", "fmr_at_threshold_of_1e-03", 0.00123, "celeba", 4000, "gender=male"),
        Measure("age", "mae_years", 6.25, "utkface", 1994),
        Measure("age", "mae_years", 7.5, "utkface", 300, "age=30-39"),
        Measure("age", "mae_years", 5.5, "utkface", 953, "gender=female"),
        Measure("gender", "accuracy", 0.8769, "utkface", 1994),
        Measure("gender", "recall_female", 0.8444, "utkface", 953),
        Measure("gender", "accuracy", 0.75, "utkface", 953, "race=asian"),
        Measure("attributes", "accuracy_mean", 0.8642, "celeba", 1098),
        *(Measure("attributes", f"accuracy_{name}", 0.5 + k / 80, "celeba", 1098) for k, name in enumerate(ATTRIBUTES)),
        *(Measure("attributes", f"balanced_accuracy_{name}", 0.6, "celeba", 1098) for name in ATTRIBUTES),
        Measure("detection", "recall_at_iou_0.5", 0.93, "detection-val", 212),
        Measure("detection", "false_alarms_per_room", 0.053, "detection-val", 186),
    ),
    confusions=(
        Confusion("expression", "fer2013", EXPRESSIONS, tuple((k, 2, 3, 4, 5, 6, 7) for k in range(7))),
        Confusion("gender", "utkface", ("female", "male"), ((0, 0), (1, 9))),
    ),
    curves=(
        VerificationCurve("lfw", "all", 1000, 50, (0.0, 0.001, 0.1, 1.0), (0.4, 0.3, 0.1, 0.0), (0.9, 0.7, 0.3, -1.0)),
        VerificationCurve("lfw", "gender=male", 90, 9, (0.0, 0.5, 1.0), (0.2, 0.1, 0.0), (0.8, 0.5, -1.0)),
    ),
    notes=("celeba: not in data, left out",),
)
