"""The policy of INT8: which operators of a stage become integer, and how far their activations are clipped.

It is decided here alone. `ranges.py` measures what the policy needs, and build_engines/quantize.py carries it out.
"""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass

import onnx

PERCENTILE = 99.99
"""The percentage of an activation's values, smallest magnitudes first, that its range has to cover. Clipping the few
larger ones makes the step finer for all others. This value measured well on RegNet, SegFormer and ViT alike."""


@dataclass(frozen=True)
class Policy:
    """The sizes from which on an operator is faster in INT8 than in float.

    The defaults were measured with ONNX Runtime on x86 with VNNI. A dense convolution runs up to 3 times as fast. A
    depthwise one, and the first one of a network (which reads pixels), run 1.3 to 1.7 times slower; they are also the
    ones that lose most by rounding.
    """

    dense_channels: int = 5
    """Input channels of a convolution without groups."""
    grouped_channels: int = 2
    """Input channels in each group of a grouped convolution; a depthwise one has 1."""
    product_weights: int = 4096
    """Weights of a matrix product; below that, most of the time goes into quantising its input."""
    beside_depthwise: bool = True
    """Whether a convolution that reads what a depthwise one gives, or gives what one reads, becomes integer. On a CPU
    the depthwise ones stay in float, and the two conversions cost more than the product gains: a detector of such
    blocks took 8.6 ms in INT8 and 3.7 ms in float."""

    def takes_conv(self, weight: tuple[int, ...] | None, groups: int) -> bool:
        """Whether a convolution becomes integer. weight: its shape [out, in / groups, ...], None if not constant."""
        return bool(weight) and weight[1] >= (self.grouped_channels if groups > 1 else self.dense_channels)

    def takes_product(self, weight: tuple[int, ...] | None) -> bool:
        """Whether a matrix product becomes integer. weight: shape of its second operand, None if not constant."""
        return weight is not None and len(weight) == 2 and math.prod(weight) >= self.product_weights


POLICIES = {"onnxruntime": Policy(beside_depthwise=False), "tensorrt": Policy(), "tensorrt-rtx": Policy()}
"""Kind of engine (`Target.engine`) -> its policy."""


_ACTIVATIONS = ("Relu", "Clip", "Add", "Pad")
"""Operators between two convolutions of a block."""


@dataclass(frozen=True)
class IntegerOperator:
    """An operator that becomes integer.

    node: its name. inputs: the activations that it reads. output: the tensor that is quantised after it, or None if
    its result stays in float.
    """

    node: str
    inputs: tuple[str, ...]
    output: str | None


def integer_operators(
    graph: onnx.ModelProto, engine: str = "onnxruntime", keep: Container[str] = ()
) -> list[IntegerOperator]:
    """Chooses the operators of a float graph that become integer.

    engine: a key of POLICIES. keep: names of nodes that stay in float. Returns them in topological order.

    Conv: integer in and out, after its ReLU if it has one. MatMul with constant weights: integer in, float out, because
    bias, GELU or LayerNorm follow. Add and its ReLU: if both inputs come from integer operators and an integer operator
    reads the result, as in a residual between convolutions. Gemm never: the exporter writes it for 2-D inputs, one row
    an image, where INT8 gains nothing and the answer itself is computed.
    """
    policy = POLICIES[engine]
    body = graph.graph
    weights = {weight.name: tuple(weight.dims) for weight in body.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in body.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    results = {value.name for value in body.output}
    beside = set() if policy.beside_depthwise else _beside_depthwise(body.node, readers, weights)

    def after_relu(name: str) -> str:
        following = readers.get(name, [])
        alone = len(following) == 1 and following[0].op_type == "Relu" and name not in results
        return following[0].output[0] if alone else name

    found: list[IntegerOperator] = []
    integer: set[str] = set()
    for node in body.node:
        if node.name in keep or node.name in beside:
            continue
        if node.op_type == "Conv" and policy.takes_conv(weights.get(node.input[1]), _groups(node)):
            found.append(IntegerOperator(node.name, (node.input[0],), after_relu(node.output[0])))
            integer.add(found[-1].output)
        elif node.op_type == "MatMul" and policy.takes_product(weights.get(node.input[1])):
            found.append(IntegerOperator(node.name, (node.input[0],), None))
        elif node.op_type == "Add" and integer.issuperset(node.input):
            found.append(IntegerOperator(node.name, tuple(node.input), after_relu(node.output[0])))
            integer.add(found[-1].output)
    read = {name for operator in found for name in operator.inputs}
    return [operator for operator in found if len(operator.inputs) == 1 or operator.output in read]


def first_and_last(graph: onnx.ModelProto, engine: str = "onnxruntime") -> set[str]:
    """Names of the first and the last operator that would become integer.

    They stand next to the pixels and next to the answer, so a stage that errs too much in INT8 keeps them in float.
    """
    nodes = [operator.node for operator in integer_operators(graph, engine)]
    return {*nodes[:1], *nodes[-1:]}


def observed_tensors(graph: onnx.ModelProto) -> list[str]:
    """Names of the activations whose range a policy needs, each once. One scales file thus serves every target."""
    operators = (operator for engine in POLICIES for operator in integer_operators(graph, engine))
    return list(dict.fromkeys(name for operator in operators for name in (*operator.inputs, operator.output) if name))


def _beside_depthwise(nodes, readers: dict[str, list[onnx.NodeProto]], weights: dict[str, tuple[int, ...]]) -> set[str]:
    """Names of the convolutions whose input comes from a depthwise one or whose output goes to one, activations between
    them not counted."""
    depthwise = {node.name for node in nodes if _is_depthwise(node, weights)}
    beside = set()
    for node in nodes:
        if node.op_type != "Conv":
            continue
        following, met = list(readers.get(node.output[0], [])), []
        while following:
            reader = following.pop()
            if reader.op_type == "Conv":
                met.append(reader.name)
            elif reader.op_type in _ACTIVATIONS:
                following += readers.get(reader.output[0], [])
        if node.name in depthwise:
            beside.update(met)
        elif depthwise.intersection(met):
            beside.add(node.name)
    return beside - depthwise


def _is_depthwise(node: onnx.NodeProto, weights: dict[str, tuple[int, ...]]) -> bool:
    weight = weights.get(node.input[1]) if node.op_type == "Conv" else None
    return bool(weight) and _groups(node) > 1 and weight[1] == 1


def _groups(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
