"""Files in the formats of InsightFace's model zoo, real and small: weights drawn from a seed, layouts as published.

`torch` files are what PyTorch's older exporter writes (`w600k_r50.onnx`, `glintr100.onnx`); `mxnet` files are what
MXNet's wrote (`genderage.onnx`, older `arcface_r100_v1`): operator set 8, weights among the inputs, pixels normalised
inside by nodes named `_minusscalar0` and `_mulscalar0`, batch norm before the first convolution.
"""

import importlib
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from model.runtime.pack import DEFAULT_PACK, PACKS_DIR

EMBEDDING_DIM: Final = 24


def theirs(module: str, name: str) -> Any:
    """A class or module of insightface's, imported without the warnings of its own imports."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(importlib.import_module(module), name)


class View(nn.Module):
    """Flattens by a fixed batch, as code written for one image does."""

    def forward(self, maps_BCHW: Tensor) -> Tensor:
        return maps_BCHW.reshape(1, -1)


class Scrambled(nn.Module):
    """Mixes the batch into the channels: nothing can open it again."""

    def forward(self, maps_BCHW: Tensor) -> Tensor:
        return maps_BCHW.reshape(4, -1).t().reshape(1, -1)


def torch_model(side_px: int, num_columns: int, flatten: nn.Module, seed: int = 0) -> nn.Sequential:
    """Stem, batch norm, PReLU, stride, linear, batch norm, with statistics of a trained network's kind."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.PReLU(4), nn.Conv2d(4, 8, 3, 4, 1), nn.BatchNorm2d(8),
        flatten, nn.Linear(8 * (side_px // 8) ** 2, num_columns), nn.BatchNorm1d(num_columns),
    ).eval()  # fmt: skip
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.3, 1.5)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            module.weight.data *= 2
    return network


def torch_file(
    path: Path,
    side_px: int = 112,
    num_columns: int = EMBEDDING_DIM,
    *,
    opset: int = 11,
    flatten: nn.Module | None = None,
    dynamic: bool = True,
    seed: int = 0,
) -> Path:
    """A network as PyTorch's older exporter writes it; its batch open, or fixed at one."""
    network = torch_model(side_px, num_columns, flatten or nn.Flatten(), seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter is an old one, as the files are
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, side_px, side_px),),
            path,
            dynamo=False,
            opset_version=opset,
            input_names=["input.1"],
            dynamic_axes={"input.1": {0: "None"}} if dynamic else None,
        )
    return path


@dataclass
class _Old:
    """Nodes and weights of a graph in ONNX's early form."""

    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)

    def weight(self, name: str, values: NDArray[np.floating]) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def shape(self, name: str, axes: Sequence[int]) -> str:
        self.weights.append(numpy_helper.from_array(np.array(axes, np.int64), name))
        return name

    def node(self, op: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def norm(self, source: str, name: str, width: int) -> str:
        parts = [
            self.weight(f"{name}_gamma", self.rng.uniform(0.5, 1.5, width)),
            self.weight(f"{name}_beta", self.rng.normal(0, 0.2, width)),
            self.weight(f"{name}_moving_mean", self.rng.normal(0, 0.2, width)),
            self.weight(f"{name}_moving_var", self.rng.uniform(0.5, 1.5, width)),
        ]
        return self.node("BatchNormalization", [source, *parts], name, epsilon=2e-5, momentum=0.9)


def mxnet_file(
    path: Path,
    side_px: int = 96,
    num_columns: int = 3,
    *,
    inside: str = "scalars",
    batch: int | str = "None",
    reshapes: bool = False,
    seed: int = 1,
) -> Path:
    """A network as MXNet's exporter wrote it.

    Args:
        path: where.
        side_px: of its input.
        num_columns: numbers it answers.
        inside: `scalars` normalises pixels by the nodes that InsightFace looks for, `bn_data` by a batch norm of that
            name, `nothing` leaves it to the caller.
        batch: what the file states of its batch.
        reshapes: flatten by a reshape to one row, and reshape the slopes of the PReLU, too.
        seed: of its weights.
    """
    made = _Old(np.random.default_rng(seed))
    source = "data"
    if inside == "scalars":
        made.weight("minus", np.array([127.5]))
        made.weight("times", np.array([0.0078125]))
        source = made.node("Sub", [source, "minus"], "_minusscalar0")
        source = made.node("Mul", [source, "times"], "_mulscalar0")
    elif inside == "bn_data":
        names = [made.weight(f"bn_data_{kind}", np.full(3, value)) for kind, value in _BN_DATA.items()]
        source = made.node("BatchNormalization", [source, *names], "bn_data", epsilon=2e-5)
    source = made.node(
        "Conv", [source, made.weight("conv0_weight", made.rng.normal(0, 0.4, (6, 3, 3, 3)))], "conv0",
        kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1],
    )  # fmt: skip
    source = made.norm(source, "bn0", 6)
    slopes = made.weight("relu0_gamma", np.linspace(0.1, 0.4, 6).reshape((6,) if reshapes else (6, 1, 1)))
    if reshapes:
        slopes = made.node("Reshape", [slopes, made.shape("slopes_shape", (1, 6, 1, 1))], "slopes")
    source = made.node("PRelu", [source, slopes], "relu0")
    source = made.node("AveragePool", [source], "pool0", kernel_shape=[8, 8], strides=[8, 8])
    source = made.node("Dropout", [source], "dropout0", ratio=0.4)
    if reshapes:
        source = made.node("Reshape", [source, made.shape("flat_shape", (1, -1))], "flatten0")
    else:
        source = made.node("Flatten", [source], "flatten0", axis=1)
    num_flat = 6 * (side_px // 16) ** 2
    weight = made.weight("fc1_weight", made.rng.normal(0, 0.15, (num_columns, num_flat)))
    bias = made.weight("fc1_bias", np.linspace(0.1, 0.4, num_columns))
    made.node("Gemm", [source, weight, bias], "fc1", transB=1, alpha=1.0, beta=1.0)
    pixels = helper.make_tensor_value_info("data", TensorProto.FLOAT, [batch, 3, side_px, side_px])
    listed = [helper.make_tensor_value_info(each.name, each.data_type, list(each.dims)) for each in made.weights]
    answer = helper.make_tensor_value_info("fc1", TensorProto.FLOAT, [1, num_columns])
    graph = helper.make_graph(made.nodes, "mxnet_converted_model", [pixels, *listed], [answer], made.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 8)], ir_version=3)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def swapper_file(path: Path) -> Path:
    """Two inputs, a 128-pixel crop and an embedding: `inswapper_128.onnx`."""
    inputs = [
        helper.make_tensor_value_info("target", TensorProto.FLOAT, [1, 3, 128, 128]),
        helper.make_tensor_value_info("source", TensorProto.FLOAT, [1, 512]),
    ]
    nodes = [
        helper.make_node("ReduceMean", ["source"], ["mean"], keepdims=0),
        helper.make_node("Add", ["target", "mean"], ["output"]),
    ]
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3, 128, 128])
    map_ = numpy_helper.from_array(np.eye(512, dtype=np.float32), "emap")
    graph = helper.make_graph(nodes, "swapper", inputs, [output], [map_])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    path.write_bytes(model.SerializeToString())
    return path


def buffalo(folder: Path) -> Path:
    """A folder as `buffalo_l` is laid out: detector, recognition, gender and age, 106 and 3D landmarks."""
    folder.mkdir(parents=True, exist_ok=True)
    mxnet_file(folder / "2d106det.onnx", 192, 212, seed=4)
    mxnet_file(folder / "1k3d68.onnx", 192, 309, inside="nothing", seed=5)
    shutil.copyfile(PACKS_DIR / DEFAULT_PACK / "detector.onnx", folder / "det_10g.onnx")
    mxnet_file(folder / "genderage.onnx")
    torch_file(folder / "w600k_r50.onnx")
    return folder


_BN_DATA: Final = {"gamma": 1.0, "beta": 0.0, "moving_mean": 127.5, "moving_var": 128.0**2}
