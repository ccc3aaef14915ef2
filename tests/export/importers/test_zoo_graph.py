"""Surgery on InsightFace's graphs: operator sets, fixed batches and inputs, each against the file as it is."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from export.check import in_batches, predict_by
from export.errors import ExportError
from export.graph import quiet
from export.importers.insightface import original, to_analyzer
from export.importers.model_zoo import open_model
from export.importers.zoo_graph import wrap
from model.runtime.known_answer import known_crops
from model.runtime.session import open_session
from tests.export.importers.zoo_models import (
    EMBEDDING_DIM,
    Scrambled,
    View,
    mxnet_file,
    torch_file,
    torch_model,
)

BATCH_SIZES = (1, 2, 3, 5, 16)


@pytest.mark.parametrize("opset", [9, 11, 12, 13, 17])
def test_old_operator_sets_are_brought_to_thirteen_and_newer_ones_kept(tmp_path: Path, opset: int) -> None:
    """A pack's graph is of set 13 or later and answers what the file answers, at every batch size."""
    model = open_model(torch_file(tmp_path / "r.onnx", opset=opset))
    analyzer = to_analyzer(model)
    made = onnx.load_from_string(analyzer.graph)
    assert made.opset_import[0].version == max(opset, 13)
    crops = known_crops(3, 112, 16)
    expected = in_batches(original(model), crops, 1)["embedding"]
    for size in BATCH_SIZES:
        found = in_batches(predict_by(open_session(analyzer.graph)), crops, size)["embedding"]
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("dynamic", [True, False])
def test_a_batch_that_the_file_fixes_is_opened(tmp_path: Path, dynamic: bool) -> None:
    """A reshape to one row, from a trace of one image, answers many faces in the pack; each as the file alone does."""
    model = open_model(torch_file(tmp_path / "r.onnx", flatten=View(), dynamic=dynamic))
    analyzer = to_analyzer(model)
    crops = known_crops(4, 112, 5)
    expected = in_batches(original(model), crops, 1)["embedding"]
    for size in (1, 2, 5):
        found = in_batches(predict_by(open_session(analyzer.graph)), crops, size)["embedding"]
        np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(Exception, match=r"onnxruntime|Reshape|INVALID|dimension"):
        open_session(wrap(model, EMBEDDING_DIM, open_batch=False), quiet=True).run({"images": crops})


@pytest.mark.parametrize("batch", ["None", 1])
def test_an_old_file_of_one_row_is_opened_and_its_weights_are_left_alone(tmp_path: Path, batch: int | str) -> None:
    """In an MXNet file the reshape of pixels to one row is opened, and that of a PReLU's slopes is not."""
    model = open_model(mxnet_file(tmp_path / "genderage.onnx", batch=batch, reshapes=True))
    analyzer = to_analyzer(model)
    crops = known_crops(6, 96, 5)
    expected = in_batches(original(model), crops, 1)
    for size in (1, 2, 5):
        found = in_batches(predict_by(open_session(analyzer.graph)), crops, size)
        np.testing.assert_allclose(found["gender"], expected["gender"], atol=1e-5)
        np.testing.assert_allclose(found["age"], expected["age"], atol=1e-3)


def test_a_batch_of_torchs_newer_exporter_is_opened(tmp_path: Path) -> None:
    """Its reshapes allow a zero as a size; a file that it wrote for one image answers many, weights beside it too."""
    network = torch_model(112, EMBEDDING_DIM, View())
    with quiet():
        torch.onnx.export(
            network, (torch.zeros(1, 3, 112, 112),), str(tmp_path / "r.onnx"), dynamo=True, external_data=True,
            verbose=False,
        )  # fmt: skip
    assert (tmp_path / "r.onnx.data").is_file()
    model = open_model(tmp_path / "r.onnx")
    crops = known_crops(4, 112, 5)
    expected = in_batches(original(model), crops, 1)["embedding"]
    found = in_batches(predict_by(open_session(to_analyzer(model).graph)), crops, 5)["embedding"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_batch_that_cannot_be_opened_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A graph that mixes its batch into other axes is refused by its file's name, and nothing else is said."""
    path = torch_file(tmp_path / "mixed.onnx", flatten=Scrambled(), dynamic=False)
    capfd.readouterr()
    with pytest.raises(ExportError, match=r"mixed.onnx: its graph answers one face at a time alone") as caught:
        to_analyzer(open_model(path))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_weights_of_half_precision_inputs_are_refused(tmp_path: Path) -> None:
    """A graph that takes half-precision pixels is none that InsightFace feeds."""
    model = open_model(torch_file(tmp_path / "r.onnx"))
    model.model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    with pytest.raises(ExportError, match=r"r\.onnx: its input is not float32"):
        wrap(SimpleNamespace(**{name: getattr(model, name) for name in model.__slots__}), EMBEDDING_DIM)  # type: ignore[arg-type]


def test_flatten_is_used_where_the_file_has_it(tmp_path: Path) -> None:
    """A graph that is open already is wrapped as it is: no reshape of it is touched."""
    model = open_model(torch_file(tmp_path / "r.onnx", flatten=nn.Flatten()))
    assert to_analyzer(model).graph == wrap(model, EMBEDDING_DIM) == wrap(model, EMBEDDING_DIM, open_batch=False)
