"""Engines run one stage each: they take named arrays and return named arrays. An engine knows nothing of faces."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from .errors import BundleError, FaceInsightError, InputError, reason

CUDA_PROVIDER = "CUDAExecutionProvider"
_SMALL_BYTES = 4096
_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class Engine(ABC):
    """A stage that takes and returns arrays in host memory. Its constructor loads it; `run` only computes."""

    @abstractmethod
    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs the stage.

        feeds: input name -> array of the shape and dtype that the stage takes. Returns output name -> array, which
        belongs to the caller. Raises FaceInsightError if the engine fails.
        """


class CacheEngine(ABC):
    """A stage with a state that stays on its device between runs, such as a KV cache."""

    @abstractmethod
    def allocate(self, shapes: Mapping[str, tuple[int, ...]]) -> object:
        """Allocates a zeroed buffer for each of the given inputs, of the input's dtype.

        shapes: input name -> shape. Returns the buffers in a form that only `run_in_place` of this engine reads.
        """

    @abstractmethod
    def run_in_place(
        self, feeds: Mapping[str, np.ndarray], buffers: object, outputs: tuple[str, ...]
    ) -> dict[str, np.ndarray]:
        """Runs the stage and updates the buffers in place: output `present_x` is written to the buffer of `past_x`.

        feeds: input name -> array, for the inputs without a buffer. buffers: what `allocate` returned. outputs: names
        of the outputs to return. Returns output name -> array, which belongs to the caller. Raises FaceInsightError if
        the engine fails.
        """


class OnnxEngine(Engine, CacheEngine):
    """A stage that ONNX Runtime runs on the CPU or on CUDA."""

    def __init__(self, model: bytes, threads: int, w8a8: bool = True, gpu: int | None = None):
        """Loads a stage.

        model: the serialised ONNX graph. threads: CPU threads of one run. w8a8: whether the graph may have quantised
        activations. With True, a CPU without VNNI uses integer sums that cannot overflow; ONNX Runtime 1.32 fails to do
        so for a graph in which only weights are quantised. gpu: number of the GPU; None for the CPU. Raises BundleError
        if the graph cannot be loaded, InputError where ONNX Runtime cannot use CUDA.
        """
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # idle threads that spin would take the cores from the next stage (first token's p90: 52 ms instead of 34)
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if w8a8:
            options.add_session_config_entry("session.x64quantprecision", "1")
        providers = ["CPUExecutionProvider"]
        if gpu is not None:
            if CUDA_PROVIDER not in ort.get_available_providers():
                raise InputError(
                    f"ONNX Runtime {ort.__version__} is installed without CUDA; pip uninstall onnxruntime, then pip "
                    "install onnxruntime-gpu, or use a bundle for the cpu"
                )
            # the default measures every algorithm of a convolution for each new number of faces
            providers.insert(0, (CUDA_PROVIDER, {"device_id": gpu, "cudnn_conv_algo_search": "HEURISTIC"}))
        try:
            self._session = ort.InferenceSession(model, options, providers=providers)
        except Exception as error:
            raise BundleError(
                f"ONNX Runtime {ort.__version__} cannot load this stage ({_line(error)}); bundles need 1.28 or "
                "newer (`pip install -U onnxruntime`), and a damaged one must be rebuilt with `faceinsight build`"
            ) from error
        if gpu is not None and self._session.get_providers()[0] != CUDA_PROVIDER:
            # ONNX Runtime only logs a warning and goes on with the CPU, where float16 is slow
            raise InputError(
                f"ONNX Runtime {ort.__version__} cannot start CUDA on GPU {gpu}: it needs an NVIDIA GPU, its driver, "
                "CUDA and cuDNN of the versions that this release names; or use a bundle for the cpu"
            )
        self._ort, self._gpu = ort, gpu
        self._resident: tuple = (None, None)
        self._dtypes = {i.name: _DTYPES.get(i.type) for i in self._session.get_inputs()}
        self.outputs = [o.name for o in self._session.get_outputs()]

    def run(self, feeds):
        try:
            values = self._session.run(None, dict(feeds))
        except Exception as error:
            raise FaceInsightError(f"ONNX Runtime failed: {_line(error)}") from error
        return dict(zip(self.outputs, values, strict=True))

    def allocate(self, shapes):
        place = ("cpu", 0) if self._gpu is None else ("cuda", self._gpu)
        make = self._ort.OrtValue.ortvalue_from_numpy
        return {
            name: make(np.zeros(shape, self._dtypes.get(name, np.float32)), *place) for name, shape in shapes.items()
        }

    def run_in_place(self, feeds, buffers, outputs):
        binding = self._session.io_binding()
        try:
            for name, array in feeds.items():
                if self._gpu is not None and array.nbytes > _SMALL_BYTES:
                    binding.bind_ortvalue_input(name, self._on_gpu(array))
                else:
                    binding.bind_cpu_input(name, array)
            for name, buffer in buffers.items():
                binding.bind_ortvalue_input(name, buffer)
                binding.bind_ortvalue_output(name.replace("past_", "present_", 1), buffer)
            for name in outputs:
                binding.bind_output(name)
            self._session.run_with_iobinding(binding)
        except Exception as error:
            raise FaceInsightError(f"ONNX Runtime failed: {_line(error)}") from error
        values = binding.get_outputs()[-len(outputs) :]
        return {name: value.numpy() for name, value in zip(outputs, values, strict=True)}

    def _on_gpu(self, array: np.ndarray):
        """Returns a copy of the array on the GPU. The latest copy is kept: every token of an answer needs it."""
        resident = self._resident
        if resident[0] is not array:
            resident = array, self._ort.OrtValue.ortvalue_from_numpy(array, "cuda", self._gpu)
            self._resident = resident
        return resident[1]


def _line(error: Exception) -> str:
    return reason(error)[:300]
