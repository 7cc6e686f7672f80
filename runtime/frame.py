"""Takes frames that are in device memory already, from a camera or another library, without a copy to the host.

Such a frame is an array with `__cuda_array_interface__` or DLPack.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field

from .cuda import LEGACY_STREAM
from .errors import InputError

LAYOUTS = {"rgb": (3, 0), "bgr": (3, 2), "rgba": (4, 0), "bgra": (4, 2), "nv12": (1, 0)}
"""Layout -> bytes of a pixel, and the index of red in it. An "nv12" frame has H rows of Y and then H / 2 rows of pairs
of U and V."""
_CUDA, _CUDA_MANAGED = 2, 13  # DLPack's device types
_UNSIGNED = 1  # DLPack's type code of unsigned integers


@dataclass(frozen=True, eq=False)
class DeviceFrame:
    """A frame in device memory."""

    shape: tuple[int, int, int]
    """(height, width, 3), whatever the layout is."""
    pointer: int
    """Address of the first row."""
    chroma: int
    """Address of the second plane of NV12, which holds U and V; 0 for other layouts."""
    pitch: int
    """Bytes from one row to the next."""
    layout: str
    """A key of LAYOUTS."""
    stream: int | None
    """The CUDA stream (CUstream) that fills the frame; None if it is filled already."""
    source: object = field(repr=False)
    """The array that the frame was made from."""
    owner: object = field(repr=False)
    """The object that keeps the memory alive."""


def on_device(source) -> bool:
    """Tells whether an object is an array in CUDA memory."""
    return hasattr(source, "__cuda_array_interface__") or (hasattr(source, "__dlpack__") and _in_cuda(source))


def _in_cuda(source) -> bool:
    """Tells whether an array with DLPack is in CUDA memory."""
    return int(source.__dlpack_device__()[0]) in (_CUDA, _CUDA_MANAGED)


def device_frame(source, layout: str | None = None) -> DeviceFrame:
    """Makes a frame from an array in CUDA memory, without a copy.

    source: uint8, HxWx3, HxWx4, or (1.5 H)xW for "nv12"; its rows may have gaps between them. layout: a key of LAYOUTS;
    by default "rgb" for three channels and "rgba" for four. Raises InputError for an array that cannot be used.
    """
    if hasattr(source, "__dlpack__") and _in_cuda(source):
        owner = _Dlpack(source)
        shape, kind, strides, pointer, stream = owner.shape, owner.kind, owner.strides, owner.pointer, LEGACY_STREAM
    elif hasattr(source, "__cuda_array_interface__"):
        owner, interface = source, source.__cuda_array_interface__
        shape, kind = tuple(interface["shape"]), interface["typestr"][1:]
        strides, pointer = interface.get("strides"), interface["data"][0]
        # Before version 3 the interface does not name the stream that fills the array. From then on None means that
        # it is filled, and 0 is not defined. A wait for the default stream is safe where the stream is not known.
        stream = interface.get("stream") if interface["version"] >= 3 else LEGACY_STREAM
        stream = LEGACY_STREAM if stream == 0 else stream
    else:
        raise InputError(
            f"{type(source).__name__} is not in CUDA memory; give an array with __cuda_array_interface__ or DLPack"
        )
    if kind != "u1":
        raise InputError(f"a frame must be of uint8 values (0-255), not {kind}")
    layout = layout or {3: "rgb", 4: "rgba"}.get(shape[-1] if len(shape) == 3 else 0)
    if layout not in LAYOUTS:
        raise InputError(f"a frame of shape {shape} needs its layout: {', '.join(LAYOUTS)}, not {layout!r}")
    height, width, pitch = _rows(shape, strides, layout)
    chroma = pointer + height * pitch if layout == "nv12" else 0
    return DeviceFrame((height, width, 3), pointer, chroma, pitch, layout, stream, source, owner)


def _rows(shape: tuple[int, ...], strides: Sequence[int] | None, layout: str) -> tuple[int, int, int]:
    """Checks that the pixels of a row are side by side, and returns height, width and pitch of the frame."""
    size, _ = LAYOUTS[layout]
    if len(shape) != (2 if size == 1 else 3) or 0 in shape or (size > 1 and shape[2] != size):
        wanted = "(1.5 H)xW" if size == 1 else f"HxWx{size}"
        raise InputError(f"a frame of layout {layout} is {wanted}, not of shape {shape}")
    height, width = shape[:2]
    if size == 1:
        if height % 3 or width % 2:
            raise InputError(f"an nv12 frame has 1.5 H rows of an even width, not the shape {shape}")
        height = height * 2 // 3
    packed = (size,) if size == 1 else (size, 1)
    if strides is None:
        return height, width, width * size
    if tuple(strides[1:]) != packed or strides[0] < width * size:
        raise InputError(f"a frame's pixels must lie side by side in rows, not with the strides {tuple(strides)}")
    return height, width, strides[0]


class _Tensor(ctypes.Structure):
    """DLPack's struct DLTensor."""

    _fields_ = (
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )  # fmt: skip


class _Managed(ctypes.Structure):
    """DLPack's struct DLManagedTensor."""

    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


class _Dlpack:
    """Holds a tensor of another library and gives it back to that library when it is deleted."""

    def __init__(self, source):
        # the library makes this stream wait for its own work on the tensor
        capsule = source.__dlpack__(stream=LEGACY_STREAM)
        get, rename = ctypes.pythonapi.PyCapsule_GetPointer, ctypes.pythonapi.PyCapsule_SetName
        get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        rename.restype, rename.argtypes = ctypes.c_int, [ctypes.py_object, ctypes.c_char_p]
        self._managed = ctypes.cast(get(capsule, b"dltensor"), ctypes.POINTER(_Managed)).contents
        rename(capsule, b"used_dltensor")  # by DLPack's rules: now we have to give the tensor back, not the capsule
        tensor = self._managed.tensor
        self.shape = tuple(tensor.shape[: tensor.ndim])
        self.strides = tuple(tensor.strides[: tensor.ndim]) if tensor.strides else None  # in values of one byte each
        self.pointer = (tensor.data or 0) + tensor.byte_offset
        whole = tensor.code == _UNSIGNED and tensor.bits == 8 and tensor.lanes == 1
        self.kind = "u1" if whole else f"DLPack type {tensor.code} of {tensor.bits} bits"

    def __del__(self):
        managed = getattr(self, "_managed", None)
        if managed is not None and managed.deleter:
            with contextlib.suppress(Exception):
                ctypes.CFUNCTYPE(None, ctypes.c_void_p)(managed.deleter)(ctypes.addressof(managed))
