"""A graph in half precision: weights and activations float16, inputs and outputs as the contract has them.

Means, norms, softmax and sigmoids stay in float32: their sums or their ends are where half precision loses answers.
Never touches a pack: what it gives is measured, not served.
"""

from typing import Final

import numpy as np
import onnx
from onnx import numpy_helper

KEPT: Final = ("Clip", "Div", "Expand", "LayerNormalization", "ReduceL2", "ReduceMean", "Sigmoid", "Softmax")


def halved(graph: bytes) -> bytes:
    """The graph, converted.

    Raises:
        ImportError: if onnxruntime's own conversion tools are not installed.
    """
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    model = onnx.load_from_string(graph)
    _unfold(model.graph)
    made = convert_float_to_float16(model, keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *KEPT])
    _drop_repeated(made.graph)
    return bytes(made.SerializeToString())


def _unfold(graph: onnx.GraphProto) -> None:
    """Casts stored weights to float32 for good, so that the conversion sees weights and not casts of them."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Cast" and node.input[0] in stored]:
        values = numpy_helper.to_array(stored[node.input[0]]).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
        graph.initializer.remove(stored[node.input[0]])
        graph.node.remove(node)


def _drop_repeated(graph: onnx.GraphProto) -> None:
    """Has each cast stand there once: some versions of the conversion write it anew for every reader of a tensor."""
    unique = {node.SerializeToString(deterministic=True): node for node in graph.node}
    nodes = [*unique.values()]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
