"""The inputs and outputs of a stage, as the manifest lists them."""

from __future__ import annotations

import onnx


def interface(graph: onnx.ModelProto) -> dict[str, dict]:
    """Describes a graph's inputs and outputs.

    Returns {"inputs": {name: {"shape": [a number, or the name of a dynamic dimension], "dtype"}}, "outputs": likewise}.
    """

    def described(values) -> dict[str, dict]:
        return {
            value.name: {
                "shape": [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim],
                "dtype": onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower(),
            }
            for value in values
        }

    return {"inputs": described(graph.graph.input), "outputs": described(graph.graph.output)}
