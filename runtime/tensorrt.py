"""Runs plans of TensorRT and TensorRT-RTX on a GPU.

An `Executor` is a loaded plan. A `Context` of it is first bound to device arrays, and then each run only enqueues work.
This module knows nothing of faces.

A plan is native code. Load only plans of a bundle whose SHA-256 was checked.
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
"""Numbers of the language model's optimisation profiles: many tokens at once, or one."""
_PORTABLE = 80
"""The lowest compute capability on which a TensorRT-RTX plan for any GPU runs."""


class Library:
    """TensorRT or TensorRT-RTX on one GPU."""

    def __init__(self, target: Target, device: Device):
        """Starts the library.

        target: TENSORRT or TENSORRT_RTX. Raises InputError where the library is not installed or does not start.
        """
        self.module = target.library()
        self.device, self.log = device, error_log(self.module)
        self._target, self._kernels = target, None
        try:
            with device.current():
                self._runtime = self.module.Runtime(self.log)
        except TypeError as error:  # the Python binding raises it for a null pointer
            raise InputError(f"{self} cannot start on {device}: {self.log.last}; {target.install}") from error

    def __str__(self) -> str:
        return f"{self._target.name} {self.module.__version__}"

    def check(self, bundle: Bundle) -> None:
        """Raises BundleError if a bundle was built with another version of the library or for another GPU."""
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
        """Returns the advice, with the command, to rebuild a bundle for this library and GPU."""
        sm = "" if self._target.tied else f" --sm {self.device.sm}"
        return f"rebuild it here: faceinsight build --target {self._target.name}{sm} --out {bundle.directory}"

    def load(self, stage: str, plan: bytes, advice: str = "rebuild it here") -> Executor:
        """Loads the plan of a stage.

        advice: what to do about a refused plan, for the message. Raises BundleError if the library refuses the plan,
        OutOfMemoryError if it does not fit on the GPU.
        """
        with self.device.current():
            engine = self._runtime.deserialize_cuda_engine(plan)
            if engine is None:
                raise BundleError(f"{self} on {self.device} refuses the plan of {stage}: {self.log.last}; {advice}")
            return Executor(self, engine, stage)

    def new_context(self, engine, specialise: bool):
        """Makes a context without working memory. Returns None if the library fails.

        engine: the library's own object. specialise: whether TensorRT-RTX compiles kernels for each shape when the
        shape is first used.
        """
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
                self._kernels.deserialize(known)  # returns False and changes nothing if the environment is another
        config.set_runtime_cache(self._kernels)
        return engine.create_execution_context(config)

    def save_kernels(self) -> None:
        """Saves the kernels that TensorRT-RTX compiled on this machine, for the next process."""
        if self._kernels is not None:
            with self.device.current():
                disk_cache.write(self._kernels_path, bytes(self._kernels.serialize()))

    @property
    def _kernels_path(self) -> Path:
        library = f"{self._target.name}-{self.module.__version__}"
        return disk_cache.of_gpu("kernels", library, self.device.name, self.device.sm)


class Executor:
    """A loaded plan. Its contexts share one working memory, so only one of them may run at a time."""

    def __init__(self, library: Library, engine, name: str):
        """Use `Library.load`. engine: the library's own object. name: of the stage."""
        self._library, self._engine, self.name = library, engine, name
        names, module = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)], library.module
        self.dtypes = {tensor: np.dtype(module.nptype(engine.get_tensor_dtype(tensor))) for tensor in names}
        self.inputs = {n for n in names if engine.get_tensor_mode(n) == module.TensorIOMode.INPUT}
        self._scratch = library.device.empty((engine.device_memory_size_v2,), np.uint8)

    def context(self, stream: Stream, profile: int = 0) -> Context:
        """Makes a context.

        A CUDA graph needs a context of its own, because TensorRT does not define what a graph does after its context
        was bound to other arrays. stream: the context will run on it. profile: number of the optimisation profile.
        Raises BundleError if the plan has no such profile, FaceInsightError if the library fails.
        """
        # kernels for one shape are of no use for a prompt, whose length is nearly always new
        specialise = profile == DECODE or self._engine.num_optimization_profiles == 1
        context, log = self._library.new_context(self._engine, specialise), self._library.log
        if context is None:
            raise FaceInsightError(f"no context for the engine of {self.name}: {log.last}")
        try:
            chosen = not profile or context.set_optimization_profile_async(profile, stream.handle)
        except RuntimeError:  # the Python binding of some releases raises it instead of returning False
            chosen = False
        if not chosen:
            raise BundleError(f"the engine of {self.name} has no profile {profile}: {log.last}; rebuild the bundle")
        if hasattr(context, "set_device_memory"):
            context.set_device_memory(self._scratch.pointer, self._scratch.nbytes)
        else:  # the first releases of TensorRT 10
            context.device_memory = self._scratch.pointer
        return Context(self, context, log)


class Context:
    """A plan that is bound to arrays: `prepare` binds it, and then `execute` only enqueues its work."""

    def __init__(self, executor: Executor, context, log):
        """Use `Executor.context`. context: the library's own object. log: keeps the library's last error."""
        self._executor, self._context, self._log = executor, context, log

    def prepare(self, arrays: Mapping[str, DeviceArray]) -> Context:
        """Binds arrays to all inputs and outputs, and returns this context.

        arrays: name -> array of the shape to run with. Raises FaceInsightError for an array that the plan does not
        take and for one that is missing.
        """
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
        """Tells whether the work of `execute` can be part of a CUDA graph. Only TensorRT-RTX says no."""
        ask = getattr(self._context, "is_stream_capturable", None)
        return ask is None or ask(stream.handle)

    def execute(self, stream: Stream) -> None:
        """Enqueues one run on a stream. Raises FaceInsightError if the library refuses it."""
        if not self._context.execute_async_v3(stream.handle):
            raise FaceInsightError(f"the engine of {self._executor.name} failed: {self._log.last}")


def error_log(module, ignored: str | None = None):
    """Makes a logger for the library that keeps the last error as its attribute `last`, for our message.

    module: tensorrt or tensorrt_rtx. ignored: part of the message of an error that is not kept.
    """

    class Log(module.ILogger):
        last = "no reason given"

        def __init__(self):
            module.ILogger.__init__(self)

        def log(self, severity, message):
            if severity <= module.ILogger.ERROR and not (ignored and ignored in message):
                self.last = " ".join(message.split())[:300]

    return Log()
