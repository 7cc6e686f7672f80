"""Converts a float32 graph to float16, and checks that the model's numbers fit into float16."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime as ort

from .errors import CompileError
from .large import readable

LARGEST = float(np.finfo(np.float16).max)
_UNBOUNDED = 3e38
"""From this magnitude on, a float32 number stands for "no limit", as in a mask or a bound of Clip. It is not checked,
because float16's largest number or infinity then means the same."""


def half_graph(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Makes a copy in float16, with its inputs and outputs; integers stay as they are."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    model = convert_float_to_float16(copy, op_block_list=[])
    model.ir_version, model.producer_name = graph.ir_version, graph.producer_name
    onnx.checker.check_model(model, full_check=True)
    return model


def for_tensorrt(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Makes the float16 copy that TensorRT takes.

    TensorRT reads a uint8 input into a Cast only and writes no uint8 output, so pixels are cast first and parse maps
    become int32.
    """
    copy = gs.import_onnx(graph)
    for value in copy.inputs:
        if value.dtype == np.uint8 and value.name == "parse_map":
            value.dtype = np.int32
        elif value.dtype == np.uint8:
            cast_first(copy, value)
    for value in copy.outputs:
        if value.dtype == np.uint8:
            value.inputs[0].attrs["to"] = onnx.TensorProto.INT32
            value.dtype = np.int32
    model = gs.export_onnx(copy.cleanup().toposort())
    model.ir_version, model.producer_name = graph.ir_version, graph.producer_name
    return half_graph(model)


def cast_first(graph: gs.Graph, value: gs.Variable) -> None:
    """Inserts a Cast to float32 behind the input `value`, and makes all of its readers read that."""
    cast = gs.Variable(f"{value.name}/float")
    for node in list(value.outputs):
        node.inputs[next(i for i, tensor in enumerate(node.inputs) if tensor is value)] = cast
    graph.nodes.insert(0, gs.Node("Cast", cast.name, {"to": onnx.TensorProto.FLOAT}, [value], [cast]))


def check_range(stage: str, graph: onnx.ModelProto, feeds: Iterable[dict[str, np.ndarray]]) -> None:
    """Raises CompileError if a weight or an activation of a float32 graph is too large for float16.

    Running the float16 graph would not show it, because ONNX Runtime computes it in float32 on the CPU.

    stage: its name, for the message. feeds: inputs of the graph, several batches; a cache that is not among them is
    empty.
    """
    for weight in graph.graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT:
            _check(stage, weight.name, onnx.numpy_helper.to_array(weight))
    layers = {name: node.name for node in graph.graph.node for name in node.output if name}
    session = _probe(graph, layers)
    kinds = {value.name: value.type for value in session.get_outputs()}
    floats = [name for name in layers if kinds[name] == "tensor(float)"]
    empty = {
        value.name: np.zeros([side if isinstance(side, int) else 1 for side in value.shape], np.float32)
        for value in session.get_inputs()
        if value.name.startswith("past_")
    }
    for feed in feeds:
        for name, values in zip(floats, session.run(floats, empty | feed), strict=True):
            _check(stage, layers[name], values)


def _probe(graph: onnx.ModelProto, names: Iterable[str]) -> ort.InferenceSession:
    """Opens a session on `graph` that also returns the tensors `names`."""
    outputs = graph.graph.output
    own = {value.name for value in outputs}
    outputs.extend(onnx.ValueInfoProto(name=name) for name in names if name not in own)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    try:
        with readable(graph) as model:
            return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    finally:
        del outputs[len(own) :]


def _check(stage: str, name: str, values: np.ndarray) -> None:
    """Raises CompileError if one of the values is too large. name: of their weight or layer, for the message."""
    sizes = np.abs(values)
    largest = float(sizes.max(initial=0, where=sizes < _UNBOUNDED))
    if largest > LARGEST:
        raise CompileError(
            f"{stage} cannot be built in float16: {name} reaches {largest:.3g} and float16 ends at {LARGEST:.0f}; "
            "build for the CPU, or with --target cuda --precision fp32"
        )
