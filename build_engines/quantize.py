"""W8A8: puts QuantizeLinear and DequantizeLinear (Q/DQ) around the operators that calibration/policy.py chooses.

Quantisation is symmetric, with one step for each activation and for each output channel of a weight. ONNX Runtime and
TensorRT get the same steps, but ONNX Runtime's activations are uint8: after a ReLU, whose zero point is 0, they reach
twice as far before they clip.
"""

from __future__ import annotations

from collections.abc import Container

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from faceinsight.calibration.policy import integer_operators
from faceinsight.calibration.ranges import Ranges
from faceinsight.runtime.errors import InputError


def quantize_w8a8(
    graph: onnx.ModelProto, ranges: Ranges, engine: str = "onnxruntime", keep: Container[str] = ()
) -> onnx.ModelProto:
    """Makes a copy of a float graph with Q/DQ pairs.

    ranges: of the graph's activations, see `activation_ranges`. engine: the kind of engine that will run it, see
    `Target.engine`. keep: names of nodes that stay in float. Raises InputError if a range is missing.
    """
    return _Quantizer(graph, ranges, engine).run(keep)


class _Quantizer:
    """Edits one graph. An activation that is read in several places is quantised once."""

    def __init__(self, graph: onnx.ModelProto, ranges: Ranges, engine: str):
        self.source = graph
        self.graph = gs.import_onnx(graph)
        self.nodes = {node.name: node for node in self.graph.nodes}
        self.tensors = self.graph.tensors()
        self.ranges = ranges
        self.engine = engine
        self.done: dict[str, gs.Variable] = {}

    def run(self, keep: Container[str]) -> onnx.ModelProto:
        chosen = integer_operators(self.source, self.engine, keep)
        originals = {name: self.tensors[name] for item in chosen for name in (*item.inputs, item.output) if name}
        # outputs first: a Conv is integer only if Q follows it, and every reader of the tensor then reads its DQ
        for item in chosen:
            if item.output and item.output not in self.done:
                self._after(originals[item.output])
        for item in chosen:
            node = self.nodes[item.node]
            for place, name in enumerate(item.inputs):
                node.inputs[place] = self._activation(originals[name])
            if node.op != "Add":
                self._unshare(node)
                node.inputs[1] = self._weight(node.inputs[1], axis=0 if node.op == "Conv" else 1)
        self.graph.cleanup().toposort()
        result = gs.export_onnx(self.graph)
        result.ir_version = self.source.ir_version
        result.producer_name = self.source.producer_name
        onnx.checker.check_model(result, full_check=True)
        return result

    def _unshare(self, node: gs.Node) -> None:
        """Gives an operator constants of its own: ONNX Runtime replaces those of integer operators on a CPU without
        VNNI, and fails at the second operator that has the same."""
        for place, given in enumerate(node.inputs[1:], 1):
            if isinstance(given, gs.Constant) and len(given.outputs) > 1:
                node.inputs[place] = gs.Constant(f"{given.name} of {node.name}", given.values)

    def _after(self, tensor: gs.Variable) -> None:
        """Makes every reader of `tensor` read its quantised form."""
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
        """Returns the step (float32) and the zero point of an activation: int8 for TensorRT, else uint8.

        uint8 keeps ONNX Runtime's CPU kernels fast, where int8 activations are slower than float. An activation that is
        never negative has its zero point at 0, which lets ONNX Runtime fuse the ReLU into the convolution.
        """
        if name not in self.ranges:
            raise InputError(f"tensor {name!r} has no range: these scales are of another graph; calibrate this model")
        low, high = self.ranges[name]
        # an all-zero activation still needs a step
        step = np.float32(max(-low, high, 1e-6) / 127)
        if self.engine == "onnxruntime":
            return step, np.uint8(0 if low >= 0 else 128)
        return step, np.int8(0)

    def _weight(self, weight: gs.Constant, axis: int) -> gs.Variable:
        """Quantises a weight to int8 with one step (float32) for each output channel.

        axis: that of the output channels, 0 for Conv's [out, in, ...], 1 for MatMul's [in, out]. The bias stays float:
        TensorRT wants it so, and ONNX Runtime makes it int32 when it loads the graph.
        """
        rows = np.moveaxis(weight.values, axis, 0)
        steps = np.maximum(np.abs(rows).reshape(len(rows), -1).max(1), 1e-6).astype(np.float32) / np.float32(127)
        values = np.rint(rows / steps.reshape(-1, *[1] * (rows.ndim - 1))).clip(-127, 127).astype(np.int8)
        integer = gs.Constant(weight.name + ".q", np.ascontiguousarray(np.moveaxis(values, 0, axis)))
        return self._dequantize(weight.name, integer, steps, np.zeros(len(steps), np.int8), axis)

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
