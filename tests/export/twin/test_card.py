"""The card's section on a twin: every figure from the manifest, and which setting takes it."""

from pathlib import Path

from export.twin.card import twin_section
from model.runtime.pack import read_pack
from model.runtime.twin_part import HalfComparison, HalfPart, TwinComparison, TwinPart, TwinSpeed
from tests.packs import build_pack

TWIN = TwinPart(
    file="analyzer-0.int8.onnx",
    sha256="0" * 64,
    method="static, minmax, all: 3 of 3 large matrices",
    preferred=True,
    cosine_mean=0.9991,
    cosine_min=0.99,
    speed=(TwinSpeed(batch_size=1, ratio_min=1.1, ratio_median=1.5, ratio_max=1.9),),
    compared=(TwinComparison(task="age", metric="mae_years", dataset="x", float32=6.0, int8=6.05, num_samples=50),),
    machine="a processor",
    command="mien-export quantise tiny",
)


def test_the_card_tells_of_a_twin(tmp_path: Path) -> None:
    """Method, speed, machine, both figures, cosine and command stand in the section."""
    (part,) = read_pack(build_pack(tmp_path / "tiny")).analyzers
    text = twin_section(part, TWIN)
    assert text.startswith("## In int8: analyzer-0.int8.onnx")
    assert "(static, minmax, all: 3 of 3 large matrices)" in text
    assert "Measured on a processor." in text
    assert "| 1 | 1.10 | 1.50 | 1.90 |" in text
    assert "| age | mae_years | x | 6.00 years | 6.05 years | 50 |" in text
    assert "mean cosine of 0.9991 to the float graph's (least 0.9900), so both may be compared" in text
    assert "The service takes it by default" in text
    assert text.endswith("Made by `mien-export quantise tiny`.")


def test_the_card_tells_of_a_space_of_its_own(tmp_path: Path) -> None:
    """A twin that went too far is named with its space, and with the one setting that takes it."""
    (part,) = read_pack(build_pack(tmp_path / "tiny")).analyzers
    text = twin_section(part, TWIN.model_copy(update={"embedding_space": "abc", "preferred": False}))
    assert "its own embedding space is `abc`" in text
    assert "only with `MIEN_PRECISION=int8`" in text


def test_the_card_tells_of_a_float16_twin(tmp_path: Path) -> None:
    """Method, figures and the one setting that takes it stand in the section; no speed does: none was measured."""
    (part,) = read_pack(build_pack(tmp_path / "tiny")).analyzers
    row = HalfComparison(task="age", metric="mae_years", dataset="x", float32=6.0, float16=6.01, num_samples=50)
    twin = HalfPart(
        file="analyzer-0.float16.onnx", sha256="0" * 64, method="3 of 3 large matrices", cosine_mean=0.99999,
        cosine_min=0.9999, compared=(row,), command="mien-export halve tiny",
    )  # fmt: skip
    text = twin_section(part, twin)
    assert text.startswith("## In float16: analyzer-0.float16.onnx")
    assert "| task | metric | set | float32 | float16 | samples |" in text
    assert "| age | mae_years | x | 6.00 years | 6.01 years | 50 |" in text
    assert "only with `MIEN_PRECISION=float16`, on a GPU" in text
    assert "imes as fast" not in text
    unmeasured = twin.model_copy(update={"cosine_mean": None, "cosine_min": None, "embedding_space": "own"})
    assert "was not measured on real crops: its own embedding space is `own`" in twin_section(part, unmeasured)
