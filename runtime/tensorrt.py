"""Plans of TensorRT and TensorRT-RTX on a GPU. An engine knows nothing of faces: a context of it is bound to device
arrays, and then only enqueues.

A plan is native code: only bundles whose SHA-256 was checked get here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from . import disk_cache
from .bundle import Bundle
from .cuda import Device, DeviceArray, Stream
from .errors import BundleError, FaceInsightError, InputError
from .targets import Target

PREFILL, DECODE = 0, 1
"""The language model's optimisation profiles."""
_PORTABLE = 80
"""The first compute capability that a TensorRT-RTX engine for any GPU runs on."""


class Library:
    """TensorRT or TensorRT-RTX on one GPU."""

    def __init__(self, target: Target, device: Device):
        """target: TENSORRT or TENSORRT_RTX. Raises InputError where its library is not installed or does not start."""
        self.module = target.library()
        self.device, self.log = device, error_log(self.module)
        self._target, self._kernels = target, None
        try:
            with device.current():
                self._runtime = self.module.Runtime(self.log)
        except TypeError as error:  # what the binding makes of a null pointer
            raise InputError(f"{self} cannot start on {device}: {self.log.last}; {target.install}") from error

    def __str__(self) -> str:
        return f"{self._target.name} {self.module.__version__}"

    def check(self, bundle: Bundle) -> None:
        """Raises BundleError if it was built with another version or for another GPU."""
        manifest, name, here = bundle.manifest, self._target.name, self.module.__version__
        version = manifest.engine.version
        if version != here:
            raise BundleError(
                f"{bundle.directory} was built with {name} {version}, this is {here}; {self.rebuild(bundle)}"
            )
        built_for, sm = manifest.device, self.device.sm
        gpu, capabilities = (built_for.gpu, built_for.compute_capabilities) if built_for else (None, "any")
        if gpu and gpu.sm != sm:
            wanted = f"{gpu.name} (SM {gpu.sm})"
        elif capabilities != "any" and sm not in capabilities:
            wanted = "SM " + ", ".join(map(str, capabilities))
        elif capabilities == "any" and sm < _PORTABLE:
            wanted = f"SM {_PORTABLE} and newer"
        else:
            return
        raise BundleError(f"{bundle.directory} was built for {wanted}, this is {self.device}; {self.rebuild(bundle)}")

    def rebuild(self, bundle: Bundle) -> str:
        """The command that makes the bundle fit here."""
        sm = "" if self._target.tied else f" --sm {self.device.sm}"
        return f"rebuild it here: faceinsight build --target {self._target.name}{sm} --out {bundle.directory}"

    def load(self, stage: str, plan: bytes, mend: str = "rebuild it here") -> Executor:
        """Raises BundleError where the library refuses the plan, OutOfMemoryError where it does not fit."""
        with self.device.current():
            engine = self._runtime.deserialize_cuda_engine(plan)
            if engine is None:
                raise BundleError(f"{self} on {self.device} refuses the plan of {stage}: {self.log.last}; {mend}")
            return Executor(self, engine, stage)

    def new_context(self, engine, specialise: bool):
        """A context without scratch memory, or None. specialise: TensorRT-RTX compiles kernels for every shape when it
        first meets it."""
        user_managed = self.module.ExecutionContextAllocationStrategy.USER_MANAGED
        kinds = getattr(self.module, "DynamicShapesKernelSpecializationStrategy", None)
        if kinds is None:
            return engine.create_execution_context(user_managed)
        config = engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(user_managed)
        config.dynamic_shapes_kernel_specialization_strategy = kinds.EAGER if specialise else kinds.NONE
        if self._kernels is None:
            self._kernels = config.create_runtime_cache()
            if known := disk_cache.read(self._kernels_path):
                self._kernels.deserialize(known)  # False, and nothing changed, if it is of another environment
        config.set_runtime_cache(self._kernels)
        return engine.create_execution_context(config)

    def save_kernels(self) -> None:
        """Keeps what TensorRT-RTX compiled here for the next process."""
        if self._kernels is not None:
            with self.device.current():
                disk_cache.write(self._kernels_path, bytes(self._kernels.serialize()))

    @property
    def _kernels_path(self) -> Path:
        library = f"{self._target.name}-{self.module.__version__}"
        return disk_cache.of_gpu("kernels", library, self.device.name, self.device.sm)


class Executor:
    """One plan. Its contexts share the memory that they work in, so its work belongs on one stream at a time."""

    def __init__(self, library: Library, engine, name: str):
        """engine: the library's own."""
        self._library, self._engine, self.name = library, engine, name
        names, module = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)], library.module
        self.dtypes = {tensor: np.dtype(module.nptype(engine.get_tensor_dtype(tensor))) for tensor in names}
        self.inputs = {n for n in names if engine.get_tensor_mode(n) == module.TensorIOMode.INPUT}
        self._scratch = library.device.empty((engine.device_memory_size_v2,), np.uint8)

    def context(self, stream: Stream, profile: int = 0) -> Context:
        """A new one. A CUDA graph needs one for itself: TensorRT does not say what a graph does whose context was bound
        to something else since."""
        # a prompt's length is new each time, a decode step's and a batch's come again
        specialise = profile == DECODE or self._engine.num_optimization_profiles == 1
        context, log = self._library.new_context(self._engine, specialise), self._library.log
        if context is None:
            raise FaceInsightError(f"no context for the engine of {self.name}: {log.last}")
        try:
            chosen = not profile or context.set_optimization_profile_async(profile, stream.handle)
        except RuntimeError:  # what some releases' binding makes of False
            chosen = False
        if not chosen:
            raise BundleError(f"the engine of {self.name} has no profile {profile}: {log.last}; rebuild the bundle")
        if hasattr(context, "set_device_memory"):
            context.set_device_memory(self._scratch.pointer, self._scratch.nbytes)
        else:  # TensorRT 10's first releases
            context.device_memory = self._scratch.pointer
        return Context(self, context, log)


class Context:
    """Bind with `prepare`; `execute` then only enqueues."""

    def __init__(self, executor: Executor, context, log):
        """context: the library's own."""
        self._executor, self._context, self._log = executor, context, log

    def prepare(self, arrays: Mapping[str, DeviceArray]) -> Context:
        """Binds every input and output; their shapes are those that the engine will work on. Returns itself."""
        name = self._executor.name
        for tensor, array in arrays.items():
            if tensor in self._executor.inputs and not self._context.set_input_shape(tensor, array.shape):
                raise FaceInsightError(
                    f"the engine of {name} does not take {tensor} of shape {array.shape}: {self._log.last}; rebuild "
                    "the bundle with a larger --max-faces"
                )
            if not self._context.set_tensor_address(tensor, array.pointer):
                raise FaceInsightError(f"the engine of {name} has no {tensor} to bind: {self._log.last}")
        if missing := set(self._executor.dtypes) - set(arrays):
            raise FaceInsightError(f"the engine of {name} was given no {', '.join(sorted(missing))}")
        return self

    def capturable(self, stream: Stream) -> bool:
        """Whether what it enqueues can be part of a CUDA graph; TensorRT-RTX tells."""
        ask = getattr(self._context, "is_stream_capturable", None)
        return ask is None or ask(stream.handle)

    def execute(self, stream: Stream) -> None:
        if not self._context.execute_async_v3(stream.handle):
            raise FaceInsightError(f"the engine of {self._executor.name} failed: {self._log.last}")


def error_log(module, passing: str | None = None):
    """A logger of the library that keeps its `last` error for our message. passing: words of what is no error here."""

    class Log(module.ILogger):
        last = "no reason given"

        def __init__(self):
            module.ILogger.__init__(self)

        def log(self, severity, message):
            if severity <= module.ILogger.ERROR and not (passing and passing in message):
                self.last = " ".join(message.split())[:300]

    return Log()
