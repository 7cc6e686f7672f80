"""Engines: named arrays in, named arrays out. An engine knows nothing of faces."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from .errors import BundleError, FaceInsightError


class Engine(ABC):
    """One compiled stage. The constructor loads and allocates; `run` only computes."""

    @abstractmethod
    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """feeds: input name -> array of the stage's shape and dtype. Returns output name -> array (the caller's)."""

    @abstractmethod
    def allocate(self, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, object]:
        """Zeroed float32 buffers on the engine's device, for `run_in_place`."""

    @abstractmethod
    def run_in_place(
        self, feeds: Mapping[str, np.ndarray], buffers: Mapping[str, object], outputs: tuple[str, ...]
    ) -> dict[str, np.ndarray]:
        """Like `run`, with `buffers` (input name -> allocated buffer) updated in place.

        An input `past_x` is written back by the output `present_x`. Returns only `outputs`.
        """


class OnnxEngine(Engine):
    """A stage on ONNX Runtime's CPU provider."""

    def __init__(self, model: bytes, threads: int, w8a8: bool = True):
        """model: the serialised ONNX graph. threads: intra-op threads. w8a8: activations may be quantised; a CPU
        without VNNI then uses sums that cannot overflow (ONNX Runtime 1.32 cannot do so for weights quantised alone).

        Raises BundleError if it cannot be loaded.
        """
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # idle threads of one stage must not burn the cores that the next one needs (first token's p90: 52 ms, not 34)
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if w8a8:
            options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BundleError(
                f"ONNX Runtime {ort.__version__} cannot load this stage ({_first_line(error)}); bundles need 1.28 or "
                "newer (`pip install -U onnxruntime`), and a damaged one must be rebuilt with `faceinsight build`"
            ) from error
        self._ort = ort
        self.outputs = [o.name for o in self._session.get_outputs()]

    def run(self, feeds):
        try:
            values = self._session.run(None, dict(feeds))
        except Exception as error:
            raise FaceInsightError(f"ONNX Runtime failed: {_first_line(error)}") from error
        return dict(zip(self.outputs, values, strict=True))

    def allocate(self, shapes):
        return {
            name: self._ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32)) for name, shape in shapes.items()
        }

    def run_in_place(self, feeds, buffers, outputs):
        binding = self._session.io_binding()
        try:
            for name, array in feeds.items():
                binding.bind_cpu_input(name, array)
            for name, buffer in buffers.items():
                binding.bind_ortvalue_input(name, buffer)
                binding.bind_ortvalue_output(name.replace("past_", "present_", 1), buffer)
            for name in outputs:
                binding.bind_output(name)
            self._session.run_with_iobinding(binding)
        except Exception as error:
            raise FaceInsightError(f"ONNX Runtime failed: {_first_line(error)}") from error
        values = binding.get_outputs()[-len(outputs) :]
        return {name: value.numpy() for name, value in zip(outputs, values, strict=True)}


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:300]
