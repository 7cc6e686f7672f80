"""Passes on graphs that may exceed 2 GiB, the most that protobuf can write in one piece."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx.external_data_helper import load_external_data_for_model

from .errors import CompileError

# protobuf's own limit, with room for all that is not weights
LIMIT = (1 << 31) - (1 << 24)


def is_large(graph: onnx.ModelProto) -> bool:
    """Whether the graph is too large for one piece."""
    return sum(weight.ByteSize() for weight in graph.graph.initializer) > LIMIT


def serialised(graph: onnx.ModelProto) -> bytes:
    """The content of the graph's file in a bundle. Raises CompileError if the graph is too large for one file."""
    if is_large(graph):
        raise CompileError(
            f"the graph of {graph.graph.name} exceeds 2 GiB, the most that an ONNX file holds; build it with --target "
            "tensorrt, or smaller with --language-weights int4"
        )
    return graph.SerializeToString(deterministic=True)


@contextlib.contextmanager
def readable(graph: onnx.ModelProto) -> Iterator[bytes | str]:
    """Gives what a parser or a session can read.

    It is the serialised graph, or the path of a temporary file if the graph is large; its weights are beside that file.
    """
    if not is_large(graph):
        yield graph.SerializeToString(deterministic=True)
        return
    with tempfile.TemporaryDirectory(prefix="faceinsight-") as folder:
        path = Path(folder) / "graph.onnx"
        onnx.save_model(graph, path, save_as_external_data=True, all_tensors_to_one_file=True, location="weights")
        # saving moved the weights out of the graph
        load_external_data_for_model(graph, folder)
        for weight in graph.graph.initializer:
            weight.ClearField("data_location")
        yield str(path)
