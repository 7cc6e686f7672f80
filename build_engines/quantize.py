"""W8A8: puts QuantizeLinear / DequantizeLinear around the operators that pay in INT8.

Symmetric: activations per tensor, weights per output channel. Both encodings take the same steps from one calibration;
they differ in one thing: after a ReLU ONNX Runtime's uint8 with zero point 0 reaches twice as far before it clips.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Literal

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from faceinsight.calibration.ranges import Ranges, sites
from faceinsight.runtime.errors import InputError

Encoding = Literal["onnxruntime", "tensorrt"]


def quantize_w8a8(
    graph: onnx.ModelProto, ranges: Ranges, encoding: Encoding = "onnxruntime", keep: Container[str] = ()
) -> onnx.ModelProto:
    """A copy of `graph` with Q/DQ pairs. ranges: see `activation_ranges`. keep: nodes to leave in float."""
    return _Quantizer(graph, ranges, encoding).run(keep)


def ends(graph: onnx.ModelProto) -> set[str]:
    """The first and the last of the nodes that `quantize_w8a8` makes INT8: those next to pixels and to the answer."""
    nodes = [site.node for site in sites(graph)]
    return {*nodes[:1], *nodes[-1:]}


class _Quantizer:
    """Edits one graph; a tensor or weight read in several places is quantised once."""

    def __init__(self, graph: onnx.ModelProto, ranges: Ranges, encoding: Encoding):
        self.source = graph
        self.graph = gs.import_onnx(graph)
        self.nodes = {node.name: node for node in self.graph.nodes}
        self.tensors = self.graph.tensors()
        self.ranges = ranges
        self.encoding = encoding
        self.done: dict[str, gs.Variable] = {}

    def run(self, keep: Container[str]) -> onnx.ModelProto:
        chosen = sites(self.source, keep)
        originals = {name: self.tensors[name] for site in chosen for name in (*site.inputs, site.output) if name}
        # outputs first: a Conv is integer only when Q follows it, and all that reads the tensor then reads its DQ
        for site in chosen:
            if site.output and site.output not in self.done:
                self._after(originals[site.output])
        for site in chosen:
            node = self.nodes[site.node]
            for place, name in enumerate(site.inputs):
                node.inputs[place] = self._activation(originals[name])
            if node.op != "Add":
                node.inputs[1] = self._weight(node.inputs[1], axis=0 if node.op == "Conv" else 1)
        self.graph.cleanup().toposort()
        result = gs.export_onnx(self.graph)
        result.ir_version = self.source.ir_version
        result.producer_name = self.source.producer_name
        onnx.checker.check_model(result, full_check=True)
        return result

    def _after(self, tensor: gs.Variable) -> None:
        """Every reader of `tensor` reads its quantised form."""
        readers = list(tensor.outputs)
        quantised = self._activation(tensor)
        for node in readers:
            node.inputs = [quantised if given is tensor else given for given in node.inputs]

    def _activation(self, tensor: gs.Variable) -> gs.Variable:
        if tensor.name not in self.done:
            scale, zero = self.scale(tensor.name)
            integer = gs.Variable(tensor.name + ".q", dtype=zero.dtype)
            self._node("QuantizeLinear", tensor, scale, zero, integer, {})
            self.done[tensor.name] = self._dequantize(tensor.name, integer, scale, zero)
        return self.done[tensor.name]

    def scale(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Step (float32) and zero point (int8 or uint8) of an activation.

        uint8 keeps ONNX Runtime's CPU kernels fast (int8 activations are slower than float there). An activation
        that is never negative has its zero point at 0, which lets it fuse the ReLU into the convolution.
        """
        if name not in self.ranges:
            raise InputError(f"tensor {name!r} has no range: these scales are of another graph; calibrate this model")
        low, high = self.ranges[name]
        # an all-zero activation still needs a step
        step = np.float32(max(-low, high, 1e-6) / 127)
        if self.encoding == "tensorrt":
            return step, np.int8(0)
        return step, np.uint8(0 if low >= 0 else 128)

    def _weight(self, weight: gs.Constant, axis: int) -> gs.Variable:
        """int8, one step (float32) per output channel. axis: 0 for Conv's [out, in, ...], 1 for MatMul's [in, out].

        The bias stays float: TensorRT wants it so, and ONNX Runtime turns it into int32 when it loads the graph.
        """
        key = f"{weight.name} by {axis}"
        if key not in self.done:
            rows = np.moveaxis(weight.values, axis, 0)
            steps = np.maximum(np.abs(rows).reshape(len(rows), -1).max(1), 1e-6).astype(np.float32) / np.float32(127)
            values = np.rint(rows / steps.reshape(-1, *[1] * (rows.ndim - 1))).clip(-127, 127).astype(np.int8)
            integer = gs.Constant(weight.name + ".q", np.ascontiguousarray(np.moveaxis(values, 0, axis)))
            self.done[key] = self._dequantize(weight.name, integer, steps, np.zeros(len(steps), np.int8), axis)
        return self.done[key]

    def _dequantize(
        self, name: str, integer: gs.Tensor, scale: np.ndarray, zero: np.ndarray, axis: int | None = None
    ) -> gs.Variable:
        result = gs.Variable(name + ".dq", dtype=np.float32)
        self._node("DequantizeLinear", integer, scale, zero, result, {} if axis is None else {"axis": axis})
        return result

    def _node(
        self, op: str, given: gs.Tensor, scale: np.ndarray, zero: np.ndarray, result: gs.Variable, attrs: dict
    ) -> None:
        parts = {"scale": scale, "zero": zero}
        constants = [gs.Constant(f"{result.name}.{part}", np.asarray(value)) for part, value in parts.items()]
        self.graph.nodes.append(gs.Node(op, f"{result.name}.{op}", attrs, [given, *constants], [result]))
