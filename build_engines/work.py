"""What one run of a graph has to compute and to move: the two sides of a roofline."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

Type = tuple[int, tuple[int, ...]]  # of onnx.TensorProto, and shape

HEAVY = ("Conv", "MatMul", "Gemm", "Attention")
"""Operators that are counted. What stands between them is taken as fused into them."""
_LAYOUT = ("DequantizeLinear", "Transpose", "Reshape")
_INTEGERS = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8, onnx.TensorProto.INT4, onnx.TensorProto.UINT4)
_KEPT_BYTES = 1024
"""Constants up to this size may hold shapes, which inference reads."""


def work(graph: onnx.ModelProto, sizes: Mapping[str, int]) -> dict[str, int]:
    """sizes: dynamic dimension -> its size, such as {"batch": 1, "tokens": 1, "visual": 64}.

    Returns
      operations: twice the multiplications of HEAVY operators, which come with an addition each.
      integer_operations: those of them whose both inputs are quantised.
      weight_bytes: constants, each once, as they are stored (INT8 and INT4 as such); of a table that is only looked up,
        the rows that are.
      activation_bytes: what HEAVY operators read and write, and the graph's inputs and outputs. A tensor that is
        quantised counts as what it is quantised to.
      cache_bytes: the inputs past_*, read whole as `Attention` does, and the new tokens written into them.
      kernels: the HEAVY operators.
    Raises ValueError for a dimension without a size, and where a shape does not follow from the sizes.
    """
    return _Counter(graph, sizes).count()


class _Counter:
    """Shapes, types, makers and readers of one graph's tensors."""

    def __init__(self, graph: onnx.ModelProto, sizes: Mapping[str, int]):
        self.body, self.sizes = graph.graph, sizes
        self.constants = {tensor.name: tensor for tensor in self.body.initializer}
        for node in self.body.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = node.attribute[0].t
        self.types = _inferred(graph, sizes)
        self.makers = {name: node for node in self.body.node for name in node.output if name}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.body.node:
            for name in filter(None, node.input):
                self.readers.setdefault(name, []).append(node)

    def count(self) -> dict[str, int]:
        heavy = [node for node in self.body.node if node.op_type in HEAVY]
        # a tensor that several read is read several times, and written once
        moved = [self.stored(name) for node in heavy for name in node.input[:3] if name and self.is_activation(name)]
        moved += [self.as_quantised(node.output[0]) for node in heavy]
        caches = [value.name for value in self.body.input if value.name.startswith("past_")]
        ends = [value.name for value in (*self.body.input, *self.body.output)]
        moved += [name for name in ends if not name.startswith(("past_", "present_"))]
        return {
            "operations": sum(self.operations(node) for node in heavy),
            "integer_operations": sum(self.operations(node) for node in heavy if self.is_integer(node)),
            "weight_bytes": sum(self.constant_bytes(name) for name in self.constants),
            "activation_bytes": sum(map(self.bytes, moved)),
            "cache_bytes": sum(self.bytes(name) + self.written(name) for name in caches),
            "kernels": len(heavy),
        }

    def operations(self, node: onnx.NodeProto) -> int:
        first, second = (self.shape(name) for name in node.input[:2])
        made = math.prod(self.shape(node.output[0]))
        if node.op_type == "Conv":
            return 2 * made * math.prod(second[1:])
        if node.op_type == "Attention":  # [B, heads, tokens, D] or [B, tokens, heads * D]; scores, then the mixture
            return 2 * second[-2] * (math.prod(first) + made)
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return 2 * made * first[0 if transposed else -1]

    def is_integer(self, node: onnx.NodeProto) -> bool:
        return all(self.type(self.source(name))[0] in _INTEGERS for name in node.input[:2])

    def is_activation(self, name: str) -> bool:
        """Neither a constant nor a cache."""
        source = self.source(name)
        cached = source in self.makers and self.makers[source].op_type in ("TensorScatter", "ScatterND")
        return not cached and source not in self.constants

    def source(self, name: str) -> str:
        """What a tensor was before it was dequantised and laid out in another way."""
        while (maker := self.makers.get(name)) is not None and maker.op_type in _LAYOUT:
            name = maker.input[0]
        return name

    def constant_bytes(self, name: str) -> int:
        """Of what is read of a constant in one run."""
        readers = self.readers.get(name, [])
        looked_up = [node for node in readers if node.op_type == "Gather" and node.input[0] == name]
        if readers and len(looked_up) == len(readers):
            return sum(_bytes(self.type(name)[0], self.shape(node.output[0])) for node in looked_up)
        return self.bytes(name) if readers else 0

    def written(self, cache: str) -> int:
        """cache: [B, N_kv, S, D], of which the new tokens are written."""
        return self.bytes(cache) * self.sizes["tokens"] // self.shape(cache)[2]

    def stored(self, name: str) -> str:
        """The integers that a dequantised tensor comes from; else the tensor itself."""
        maker = self.makers.get(name)
        return maker.input[0] if maker is not None and maker.op_type == "DequantizeLinear" else name

    def as_quantised(self, name: str) -> str:
        """What a result is stored as: the integers, if that is all that is read of it, behind its activation or not."""
        last = name
        while len(readers := self.readers.get(last, [])) == 1 and readers[0].op_type in ("Relu", "QuantizeLinear"):
            last = readers[0].output[0]
            if readers[0].op_type == "QuantizeLinear":
                return last
        return name

    def bytes(self, name: str) -> int:
        return _bytes(*self.type(name))

    def shape(self, name: str) -> tuple[int, ...]:
        return self.type(name)[1]

    def type(self, name: str) -> Type:
        if name in self.constants:
            return self.constants[name].data_type, tuple(self.constants[name].dims)
        found = self.types.get(name)
        if found is None:
            raise ValueError(f"the shape of {name} does not follow from the sizes {dict(self.sizes)}")
        return found


def _bytes(kind: int, shape: tuple[int, ...]) -> int:
    """kind: of onnx.TensorProto; INT4 has two in a byte."""
    half = kind in (onnx.TensorProto.INT4, onnx.TensorProto.UINT4)
    bits = 4 if half else 8 * onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize
    return (math.prod(shape) * bits + 7) // 8


def _inferred(graph: onnx.ModelProto, sizes: Mapping[str, int]) -> dict[str, Type]:
    """Tensor -> its type and shape with these sizes; what cannot be inferred is left out."""
    copy = onnx.ModelProto(ir_version=graph.ir_version, opset_import=graph.opset_import)
    body = copy.graph
    body.name = graph.graph.name
    body.node.extend(graph.graph.node)
    body.input.extend(graph.graph.input)
    for output in graph.graph.output:  # their dimensions follow from the inputs'
        body.output.append(onnx.helper.make_tensor_value_info(output.name, output.type.tensor_type.elem_type, None))
    for value in body.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                if dim.dim_param not in sizes:
                    raise ValueError(f"{value.name} has a dimension {dim.dim_param}, which has no size")
                dim.dim_value = sizes[dim.dim_param]
    for tensor in graph.graph.initializer:  # the weights' values say nothing of shapes, and may be gigabytes
        if tensor.ByteSize() <= _KEPT_BYTES:
            body.initializer.append(tensor)
        else:
            body.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    _fold(body, _types(copy))
    return _types(copy)


def _types(graph: onnx.ModelProto) -> dict[str, Type]:
    found = onnx.shape_inference.infer_shapes(graph, data_prop=True).graph
    types = {}
    for value in (*found.input, *found.value_info, *found.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            types[value.name] = tensor.elem_type, tuple(dim.dim_value for dim in tensor.shape.dim)
    return types


def _fold(body: onnx.GraphProto, types: Mapping[str, Type]) -> None:
    """Computes what follows from known shapes: inference does not see how long a `Range` of one is."""
    known = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in body.initializer}
    for node in body.node:
        if node.op_type == "Shape" and node.input[0] in types:
            ends = {attribute.name: attribute.i for attribute in node.attribute}
            found = np.array(types[node.input[0]][1][ends.get("start", 0) : ends.get("end")], np.int64)
        elif node.op_type in ("Squeeze", "Gather", "Range") and known.keys() >= set(node.input):
            found = ReferenceEvaluator(node).run(None, {name: known[name] for name in node.input})[0]
        else:
            continue
        known[node.output[0]] = found
        folded = onnx.helper.make_node("Constant", [], node.output, value=onnx.numpy_helper.from_array(found))
        node.CopyFrom(folded)
