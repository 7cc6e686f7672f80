"""Rounds the language model's matrices to integers: INT8 with a step for each row, INT4 with a step for each block."""

from __future__ import annotations

import ml_dtypes
import numpy as np

BLOCK = 64
"""The number of inputs that share a step in INT4. TensorRT takes 64 or 128."""
# the shares of a block's largest weight that are tried as its range: clipping it makes the step finer for the others
_CLIPS = np.linspace(1, 0.7, 7, dtype=np.float32)


def int8_rows(matrix: np.ndarray, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Rounds a matrix [out, in] float32. Returns integers [out, in] int8 and their steps [out] of `dtype`."""
    steps = _steps(np.abs(matrix).max(1), 127, dtype)
    return np.rint(matrix / steps[:, None].astype(np.float32)).clip(-127, 127).astype(np.int8), steps


def int4_blocks(matrix: np.ndarray, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Rounds a matrix [out, in] float32, where `in` is a multiple of BLOCK.

    Each block tries several steps and takes the one with the least squared error. Returns integers [in, out] int4 and
    their steps [in / BLOCK, out] of `dtype`.
    """
    starts = range(0, matrix.shape[1], BLOCK)
    pairs = [_int4_block(np.ascontiguousarray(matrix[:, start : start + BLOCK].T), dtype) for start in starts]
    return np.concatenate([whole for whole, _ in pairs]), np.stack([steps for _, steps in pairs])


def _int4_block(block: np.ndarray, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Rounds a block [BLOCK, out] float32. Returns integers of that shape and their steps [out]."""
    largest = np.abs(block).max(0)
    tried = np.stack([_steps(largest * clip, 7, dtype) for clip in _CLIPS])
    errors = [np.square(_int4(block, steps) * steps.astype(np.float32) - block).sum(0) for steps in tried]
    steps = np.take_along_axis(tried, np.argmin(errors, 0)[None], 0)[0]
    return _int4(block, steps).astype(ml_dtypes.int4), steps


def _int4(block: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """The whole numbers that a block is rounded to, as float32."""
    return np.rint(block / steps.astype(np.float32)).clip(-8, 7)


def _steps(largest: np.ndarray, levels: int, dtype: type) -> np.ndarray:
    """The steps with which the largest magnitudes become `levels`; they are positive, also where all weights are 0."""
    steps = np.maximum(largest, 1e-6).astype(np.float32) / np.float32(levels)
    return np.maximum(steps.astype(dtype), np.finfo(dtype).smallest_subnormal)
