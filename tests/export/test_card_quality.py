"""The card on errors against quality, and on what was seen in training."""

from pathlib import Path

from export.card_quality import quality_and_error, seen_and_unseen
from model.runtime.pack import Picture, read_pack
from model.runtime.quality_curve import QualityBin, QualityCurve
from tests.export.test_card import figure


def _curve(quality: str, spearman: float, how: str = "measured") -> QualityCurve:
    part = QualityBin(low=0.0, high=10.0, mean=5.0, error=0.1, error_low=0.05, error_high=0.2, num_samples=100)
    return QualityCurve.model_validate(
        {
            "task": "gender",
            "error": "wrong",
            "quality": quality,
            "dataset": "utkface",
            "how": how,
            "spearman": spearman,
            "spearman_low": spearman - 0.05,
            "spearman_high": spearman + 0.05,
            "num_samples": 200,
            "bins": (part, part.model_copy(update={"low": 10.0, "high": 40.0, "error": 0.3})),
            "command": "mien-train evaluate x --data d --quality",
        }
    )


def test_bins_correlation_picture_and_command_stand_in_the_card(made_pack: Path) -> None:
    """Each curve is a row with its bins; what chance may have made is not counted as found."""
    picture = Picture(file="card/quality-faces.png", sha256="0" * 64, title="errors over sharpness")
    curves = (_curve("yaw_degrees", 0.25), _curve("sharpness", 0.01), _curve("size_px", -0.3, "degraded"))
    text = quality_and_error(read_pack(made_pack).model_copy(update={"quality": curves, "pictures": (picture,)}))
    assert "- yaw_degrees, measured faces: the error rises with it, beyond chance, in 1 of 1 curves." in text
    assert "- sharpness, measured faces: the error falls with it, beyond chance, in 0 of 1 curves." in text
    assert "- size_px, degraded faces: the error falls with it, beyond chance, in 1 of 1 curves." in text
    assert "![errors over sharpness](card/quality-faces.png)" in text
    assert "| gender | wrong | yaw_degrees | utkface | measured | +0.25 (+0.20 to +0.30) | 200 | 0-10: 10.0 %" in text
    assert "`mien-train evaluate x --data d --quality`" in text


def test_the_gap_is_what_is_better_on_seen_rows(made_pack: Path) -> None:
    """Fewer years off on what was seen, and more faces right, are both a gap above 0."""
    pack = read_pack(made_pack).model_copy(
        update={
            "measured": (figure("age", "mae_years", 6.5), figure("gender", "accuracy", 0.90)),
            "seen": (
                figure("age", "mae_years", 6.0, dataset="utkface-train"),
                figure("gender", "accuracy", 0.95, dataset="utkface-train"),
                figure("race", "accuracy", 0.95, dataset="utkface-train"),
            ),
        }
    )
    text = seen_and_unseen(pack)
    assert "| age | mae_years | utkface | 6.00 years | 6.50 years | +0.50 years | 500 | 500 |" in text
    assert "| gender | accuracy | utkface | 95.0 % | 90.0 % | +5.0 % | 500 | 500 |" in text
    assert "race" not in text


def test_a_pack_without_either_says_nothing(made_pack: Path) -> None:
    """Neither section is there where nothing was measured for it."""
    pack = read_pack(made_pack)
    assert quality_and_error(pack) == seen_and_unseen(pack) == ""
