"""The inputs and outputs of a stage, as the manifest lists them."""

from __future__ import annotations

import onnx

from faceinsight.runtime.manifest import Tensor


def interface(graph: onnx.ModelProto) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Describes a graph's inputs and its outputs, by name. A dynamic dimension has a name in the place of a number."""
    return _described(graph.graph.input), _described(graph.graph.output)


def _described(values) -> dict[str, Tensor]:
    return {
        value.name: Tensor(
            tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim),
            onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower(),
        )
        for value in values
    }
