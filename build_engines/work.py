"""Counts what one run of a graph has to compute and to move, which are the two sides of a roofline."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

Type = tuple[int, tuple[int, ...]]
"""The type of a tensor, as a number of onnx.TensorProto, and its shape."""

HEAVY = ("Conv", "MatMul", "Gemm", "Attention")
"""The operators that are counted. All others are taken to be fused into them."""
_LAYOUT = ("DequantizeLinear", "Transpose", "Reshape")
_INTEGERS = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8, onnx.TensorProto.INT4, onnx.TensorProto.UINT4)
_KEPT_BYTES = 1024
"""Constants up to this size may hold shapes, which shape inference reads."""


def work(graph: onnx.ModelProto, sizes: Mapping[str, int]) -> dict[str, int]:
    """Counts the work of one run.

    sizes: dynamic dimension -> its size, such as {"batch": 1, "tokens": 1, "visual": 64}. Returns
      operations: multiplications and additions of the HEAVY operators, which do as many of the one as of the other.
      integer_operations: those of the operators whose two inputs are both quantised.
      weight_bytes: all constants, each once, in the size that they are stored in. Of a table that is only looked up,
        the rows that are looked up.
      activation_bytes: what the HEAVY operators read and write, and the graph's inputs and outputs. A tensor that is
        quantised counts in its integer type.
      cache_bytes: the inputs past_*, which `Attention` reads whole, and the new tokens that are written into them.
      kernels: the number of HEAVY operators.
    Raises ValueError if a dimension has no size, or if a shape does not follow from the sizes.
    """
    return _Counter(graph, sizes).count()


class _Counter:
    """Knows the shape, the type, the maker and the readers of every tensor of one graph."""

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
        """Counts, see `work`."""
        heavy = [node for node in self.body.node if node.op_type in HEAVY]
        # a tensor with several readers is read several times, but written once
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
        """Counts the operations of a HEAVY operator."""
        first, second = (self.shape(name) for name in node.input[:2])
        made = math.prod(self.shape(node.output[0]))
        if node.op_type == "Conv":
            return 2 * made * math.prod(second[1:])
        if node.op_type == "Attention":  # [B, heads, tokens, D] or [B, tokens, heads * D]; scores, then their use
            return 2 * second[-2] * (math.prod(first) + made)
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return 2 * made * first[0 if transposed else -1]

    def is_integer(self, node: onnx.NodeProto) -> bool:
        """Whether both inputs of a HEAVY operator are quantised."""
        return all(self.type(self.source(name))[0] in _INTEGERS for name in node.input[:2])

    def is_activation(self, name: str) -> bool:
        """Whether a tensor is neither a constant nor a cache."""
        source = self.source(name)
        cached = source in self.makers and self.makers[source].op_type in ("TensorScatter", "ScatterND")
        return not cached and source not in self.constants

    def source(self, name: str) -> str:
        """The tensor that this one is made from by dequantising and by changing the layout."""
        while (maker := self.makers.get(name)) is not None and maker.op_type in _LAYOUT:
            name = maker.input[0]
        return name

    def constant_bytes(self, name: str) -> int:
        """Counts the bytes of a constant that one run reads: of a table that is only looked up, the rows."""
        readers = self.readers.get(name, [])
        looked_up = [node for node in readers if node.op_type == "Gather" and node.input[0] == name]
        if readers and len(looked_up) == len(readers):
            return sum(_bytes(self.type(name)[0], self.shape(node.output[0])) for node in looked_up)
        return self.bytes(name) if readers else 0

    def written(self, cache: str) -> int:
        """Counts the bytes of the new tokens that are written into a cache [B, N_kv, S, D]."""
        return self.bytes(cache) * self.sizes["tokens"] // self.shape(cache)[2]

    def stored(self, name: str) -> str:
        """The integers that a tensor is dequantised from, or the tensor itself if it is not dequantised."""
        maker = self.makers.get(name)
        return maker.input[0] if maker is not None and maker.op_type == "DequantizeLinear" else name

    def as_quantised(self, name: str) -> str:
        """The tensor that a result is stored as: its integers if only they are read, directly or after a ReLU."""
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
    """Counts the bytes of a tensor. kind: its type, of onnx.TensorProto; a byte holds two numbers of INT4."""
    half = kind in (onnx.TensorProto.INT4, onnx.TensorProto.UINT4)
    bits = 4 if half else 8 * onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize
    return (math.prod(shape) * bits + 7) // 8


def _inferred(graph: onnx.ModelProto, sizes: Mapping[str, int]) -> dict[str, Type]:
    """Infers the types with these sizes: tensor -> type and shape, without the tensors that cannot be inferred."""
    copy = onnx.ModelProto(ir_version=graph.ir_version, opset_import=graph.opset_import)
    body = copy.graph
    body.name = graph.graph.name
    body.node.extend(graph.graph.node)
    body.input.extend(graph.graph.input)
    for output in graph.graph.output:  # without dimensions, because these follow from those of the inputs
        body.output.append(onnx.helper.make_tensor_value_info(output.name, output.type.tensor_type.elem_type, None))
    for value in body.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                if dim.dim_param not in sizes:
                    raise ValueError(f"{value.name} has a dimension {dim.dim_param}, which has no size")
                dim.dim_value = sizes[dim.dim_param]
    for tensor in graph.graph.initializer:  # large values say nothing about shapes, and may be gigabytes
        if tensor.ByteSize() <= _KEPT_BYTES:
            body.initializer.append(tensor)
        else:
            body.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    _fold(body, _types(copy))
    return _types(copy)


def _types(graph: onnx.ModelProto) -> dict[str, Type]:
    """Tensor -> its type and shape, as far as ONNX can infer them."""
    found = onnx.shape_inference.infer_shapes(graph, data_prop=True).graph
    types = {}
    for value in (*found.input, *found.value_info, *found.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            types[value.name] = tensor.elem_type, tuple(dim.dim_value for dim in tensor.shape.dim)
    return types


def _fold(body: onnx.GraphProto, types: Mapping[str, Type]) -> None:
    """Replaces nodes that compute with known shapes by constants, because inference cannot tell how long a Range is."""
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
