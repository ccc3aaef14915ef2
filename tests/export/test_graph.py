"""The exported graph: its contract, its storage, and the batch trap."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from timm.models import swin_transformer
from torch import Tensor

from export.check import TRACED_BATCH, predict_by
from export.errors import ExportError
from export.graph import OPSET, trace
from export.precision import embedding_space, rounded, stored_state
from model.analyzer import Analyzer
from model.config import SwinConfig
from model.network import MultiTaskNetwork
from model.runtime.session import open_session
from tests.export.conftest import TINY, tiny_network


def test_graph_has_the_packs_names_types_and_a_dynamic_batch(analyzer: Analyzer, graph_bytes: bytes) -> None:
    """The graph takes `images` uint8 (N, S, S, 3) and answers each task by name, N dynamic."""
    session = open_session(graph_bytes)
    assert [(spec.name, spec.dtype, spec.shape) for spec in session.inputs] == [
        ("images", "tensor(uint8)", (None, 112, 112, 3))
    ]
    shapes = {spec.name: spec.shape for spec in session.outputs}
    assert shapes == {
        "embedding": (None, 32),
        "expression": (None, 7),
        "age": (None,),
        "gender": (None, 2),
        "attributes": (None, 40),
        "race": (None, 5),
    }
    assert tuple(shapes) == analyzer.tasks
    assert {spec.dtype for spec in session.outputs} == {"tensor(float)"}
    assert onnx.load_from_string(graph_bytes).opset_import[0].version == OPSET


def test_graph_is_the_same_bytes_each_time(made_pack: Path, graph_bytes: bytes) -> None:
    """Tracing the same weights twice gives the same file, byte by byte: a pack's graph is what is traced anew."""
    assert (made_pack / "analyzer.onnx").read_bytes() == graph_bytes


def test_graph_holds_no_path_of_this_machine(graph_bytes: bytes) -> None:
    """The exporter's stack traces and this machine's paths are not in the file."""
    for trail in (b".py", str(Path(swin_transformer.__file__).parent).encode(), str(Path.cwd()).encode()):
        assert trail not in graph_bytes


def test_matrices_are_stored_in_half_precision_and_cast_back(graph_bytes: bytes) -> None:
    """Nearly every matrix is stored in half precision, and every one is cast to float32 before it is used."""
    graph = onnx.load_from_string(graph_bytes).graph
    half = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    wide = [tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT]
    half_numbers = sum(numpy_helper.to_array(t).size for t in graph.initializer if t.name in half)
    assert half_numbers > 5 * sum(numpy_helper.to_array(tensor).size for tensor in wide)
    readers = [node for node in graph.node if half & set(node.input)]
    assert {node.op_type for node in readers} == {"Cast"}
    assert all(attribute.i == TensorProto.FLOAT for node in readers for attribute in node.attribute)


def test_no_operator_does_nothing(graph_bytes: bytes) -> None:
    """Window padding that pads nothing, and constants that nothing reads, are gone from the graph."""
    graph = onnx.load_from_string(graph_bytes).graph
    assert "Pad" not in {node.op_type for node in graph.node}
    read = {name for node in graph.node for name in node.input}
    assert {tensor.name for tensor in graph.initializer} <= read


def test_padding_that_pads_stays() -> None:
    """A window that does not divide the grid is padded in the graph as in the network."""
    torch.manual_seed(1)
    assert isinstance(TINY.backbone, SwinConfig)
    config = replace(TINY, backbone=replace(TINY.backbone, window=5))
    twin = Analyzer(rounded(MultiTaskNetwork(config))).eval()
    graph = trace(twin)
    assert "Pad" in {node.op_type for node in onnx.load_from_string(graph).graph.node}
    images = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), np.uint8)
    answers = predict_by(open_session(graph))(images)
    with torch.no_grad():
        expected = twin(torch.from_numpy(images))
    np.testing.assert_allclose(answers["embedding"], expected["embedding"].numpy(), atol=1e-5)


def test_fused_attention_is_exported_as_plain_attention(analyzer: Analyzer, graph_bytes: bytes) -> None:
    """A network that computes attention in one fused operation exports to the same graph as one that does not."""
    fused = Analyzer(rounded(analyzer.network)).eval()
    switched = [module for module in fused.modules() if hasattr(module, "fused_attn")]
    assert len(switched) == 3
    for module in switched:
        setattr(module, "fused_attn", True)  # noqa: B010  # nn.Module types every attribute as a tensor
    assert trace(fused) == graph_bytes


def _divides(windows: Tensor, window_size: tuple[int, int], height: int, width: int) -> Tensor:
    # Microsoft's published window_reverse (Swin-Transformer, MIT), the trap: the batch comes out of a division.
    batch = int(windows.shape[0] / (height * width / window_size[0] / window_size[1]))
    x = windows.view(batch, height // window_size[0], width // window_size[1], window_size[0], window_size[1], -1)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(batch, height, width, -1)


def _states(windows: Tensor, window_size: tuple[int, int], height: int, width: int) -> Tensor:
    return windows.reshape(TRACED_BATCH, height, width, -1)


@pytest.mark.parametrize("window_reverse", [_divides, _states])
def test_a_batch_baked_into_the_graph_is_refused(
    analyzer: Analyzer,
    monkeypatch: pytest.MonkeyPatch,
    window_reverse: Callable[[Tensor, tuple[int, int], int, int], Tensor],
) -> None:
    """A window reverse that fixes the batch while it is traced is refused in one line."""
    monkeypatch.setattr(swin_transformer, "window_reverse", window_reverse)
    with pytest.raises(ExportError, match="batch") as caught:
        trace(analyzer)
    assert "\n" not in str(caught.value)


def test_a_network_that_cannot_be_traced_is_refused_in_one_line(
    analyzer: Analyzer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network whose path depends on its pixels is refused with one line."""

    def depends(windows: Tensor, window_size: tuple[int, int], height: int, width: int) -> Tensor:
        return windows.reshape(-1, height, width, windows.shape[-1]) if windows.sum() > 0 else windows

    monkeypatch.setattr(swin_transformer, "window_reverse", depends)
    with pytest.raises(ExportError, match="cannot be traced with a dynamic batch: ") as caught:
        trace(analyzer)
    assert "\n" not in str(caught.value)


def test_rounding_touches_matrices_alone(network: MultiTaskNetwork) -> None:
    """Matrices are stored in half precision, vectors as they are; the rounded network is made of those numbers."""
    state = stored_state(network)
    assert {tensor.dtype for tensor in state.values() if tensor.ndim >= 2} == {torch.float16}
    assert torch.float16 not in {tensor.dtype for tensor in state.values() if tensor.ndim < 2}
    twin = rounded(network).state_dict()
    for name, tensor in state.items():
        assert torch.equal(twin[name], tensor.to(twin[name].dtype)), name
        assert twin[name].dtype == network.state_dict()[name].dtype


def test_numbers_too_large_for_half_precision_stay_float32() -> None:
    """A matrix with a number over 65504 is stored in float32, and not as infinity."""
    network = tiny_network()
    name = "recognition.feature.2.weight"
    with torch.no_grad():
        network.get_parameter(name)[0, 0] = 70000.0
    assert stored_state(network)[name].dtype == torch.float32


def test_embedding_space_names_numbers_and_not_their_storage(network: MultiTaskNetwork) -> None:
    """Half-precision storage and its widening name one space; another weight, name or shape names another."""
    state = stored_state(network)
    space = embedding_space(state)
    assert len(space) == 32
    assert embedding_space(rounded(network).state_dict()) == space
    assert embedding_space({name: state[name] for name in reversed(state)}) == space
    assert embedding_space(network.state_dict()) != space
    name = "recognition.feature.2.weight"
    assert embedding_space({**state, name: state[name].T.contiguous()}) != space
    assert embedding_space({**state, name: state[name] + 1}) != space
    assert embedding_space({"other" if key == name else key: value for key, value in state.items()}) != space
