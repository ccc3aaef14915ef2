"""The known answer's crops and comparison, and the operator set read without the onnx package."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from model.runtime.known_answer import NUM_LEADING, breach, known_answer, known_crops
from model.runtime.labels import Task
from model.runtime.opset import read_opset
from model.runtime.pack import PackError


def test_known_crops_never_change() -> None:
    """The crops of a seed are these bytes for ever: a pack that was exported today is checked with them years later."""
    crops = known_crops(1, 112, 3)
    assert crops.shape == (3, 112, 112, 3)
    assert crops[0, 0, :3].tolist() == [[255, 228, 34], [121, 243, 189], [6, 131, 102]]
    assert crops[0].mean() == pytest.approx(127.5, abs=2)


def test_first_crop_does_not_depend_on_how_many() -> None:
    """A crop alone is the first of several, also at a side whose bytes fill no whole number of words."""
    for side_px in (16, 17, 112):
        np.testing.assert_array_equal(known_crops(5, side_px)[0], known_crops(5, side_px, 4)[0])
    assert (known_crops(5, 16) != known_crops(6, 16)).any()


def test_breach_names_the_output() -> None:
    """The same numbers are no breach; a difference, NaN, a missing or a short output is, by name."""
    outputs: dict[Task, np.ndarray] = {
        "age": np.array([31.5, 2.0]),
        "embedding": np.random.default_rng(0).random((2, 512)),
    }
    known = known_answer(0, outputs, 1e-3)
    assert (len(known.outputs["embedding"]), known.outputs["age"]) == (NUM_LEADING, (31.5,))
    assert breach(known, outputs) is None
    assert breach(known, {**outputs, "age": np.array([31.5009])}) is None
    for age in (31.502, np.nan, np.inf):
        assert "age differs" in (breach(known, {**outputs, "age": np.array([age])}) or "")
    assert "embedding" in (breach(known, {"age": outputs["age"]}) or "")
    assert "embedding has 3" in (breach(known, {**outputs, "embedding": np.zeros((1, 3))}) or "")


@pytest.mark.parametrize("opsets", [[("", 17)], [("com.microsoft", 1), ("", 20)], [("ai.onnx", 13), ("ai.onnx.ml", 3)]])
def test_opset_is_read_from_the_file(tmp_path: Path, opsets: list[tuple[str, int]]) -> None:
    """The default domain's version is found among others, in a file that the onnx package wrote."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [value])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(*opset) for opset in opsets])
    onnx.save(model, tmp_path / "m.onnx")
    assert read_opset(tmp_path / "m.onnx") == next(version for domain, version in opsets if domain in ("", "ai.onnx"))


@pytest.mark.parametrize("data", [b"", b"no model", b"\x42\xff\xff\xff\xff\x0f", b"\xff" * 40, b"\x42\x02\x10"])
def test_what_is_no_model_is_refused(tmp_path: Path, data: bytes) -> None:
    """Bytes that are no model, or end in the middle of a field, are refused in one line."""
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(PackError, match=r"m\.onnx"):
        read_opset(tmp_path / "m.onnx")
    with pytest.raises(PackError):
        read_opset(tmp_path / "none.onnx")
