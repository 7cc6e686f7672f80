"""Writes the decoder for TensorRT before 10.15.

Its parser reads ONNX up to opset 20, which has no operator for attention, rotary embedding, RMS norm or KV cache.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from torch import nn

from .decoder import DecoderWriter, KeysValues, Rope

# the score of a slot that is not seen: it is finite, and far below every real score
_UNSEEN = np.array(-1e9, np.float32)


class PrimitiveWriter(DecoderWriter):
    """Writes the same decoder with primitive operators.

    Its outputs present_* cannot be bound to the memory of past_*, because TensorRT copies the cache before it scatters
    into it. In a float16 graph the mean of squares and the softmax are computed in float32, as the single operators do.
    """

    opset = 20

    def rope(self, positions: gs.Tensor) -> Rope:
        """Looks up every token's rotation in the form that `rotate` takes: cosines and sines [B, 1, T, D] each."""
        return tuple(self.node("Unsqueeze", f"{x.name}_heads", x, np.array([1])) for x in super().rope(positions))

    def rotations(self) -> tuple[np.ndarray, np.ndarray]:
        """The cosines and the sines of every place, [S, D] each.

        The sines of the first half are negative, because `rotate` subtracts the second half from the first.
        """
        cos, sin = super().rotations()
        return np.concatenate([cos, cos], 1), np.concatenate([-sin, sin], 1)

    def mask(self, positions: gs.Tensor) -> gs.Tensor:
        """Computes what is added to a token's scores, 0 or _UNSEEN: [B, 1, T, S] float32."""
        return self.node("Where", "mask/added", super().mask(positions), np.array(0, np.float32), _UNSEEN)

    def slots(self, position: gs.Tensor, positions: gs.Tensor) -> gs.Tensor:
        """Computes the slot of every new element: [B, N_kv, T, D] int64."""
        places = self.node("Unsqueeze", "slots/places", positions, np.array([1, 3]))
        return self.node("Mul", "slots", places, np.ones((1, self.kv_heads, 1, self.head_dim), np.int64))

    def norm(self, name: str, x: gs.Tensor, norm: nn.Module) -> gs.Tensor:
        wide = self.cast(f"{name}/wide", x, np.float32)
        squares = self.node("Mul", f"{name}/squares", wide, wide)
        mean = self.node("ReduceMean", f"{name}/mean", squares, np.array([-1]))
        root = self.node("Sqrt", f"{name}/root", self.node("Add", f"{name}/raised", mean, np.float32([self.epsilon])))
        scaled = self.cast(f"{name}/narrow", self.node("Div", f"{name}/scaled", wide, root), self.dtype)
        return self.node("Mul", name, scaled, self.values(norm.weight))

    def rotate(self, name: str, x: gs.Tensor, rope: Rope) -> gs.Tensor:
        cos, sin = rope
        half = self.head_dim // 2
        first = self.slice(f"{name}/first", x, 0, half, axis=-1)
        second = self.slice(f"{name}/second", x, half, self.head_dim, axis=-1)
        swapped = self.node("Concat", f"{name}/swapped", second, first, axis=-1)
        straight = self.node("Mul", f"{name}/straight", x, cos)
        return self.node("Add", name, straight, self.node("Mul", f"{name}/crossed", swapped, sin))

    def store(self, name: str, past: gs.Tensor, new: gs.Tensor, slots: gs.Tensor) -> gs.Tensor:
        return self.node("ScatterElements", name, past, slots, new, axis=2)

    def mix(self, name: str, q: gs.Tensor, cache: KeysValues, mask: gs.Tensor) -> gs.Tensor:
        """Computes what each query q [B, N, T, D] takes from the cache: [B, N, T, D].

        The query heads that share a key head are treated as further tokens of it, so keys and values are not repeated.
        """
        k, v = cache
        # q is scaled before the product, so that the product stays within float16; TensorRT's fusion needs that too
        q = self.node("Mul", f"{name}/scaled", q, np.array(self.head_dim**-0.5, self.dtype))
        q = self.node("Reshape", f"{name}/grouped", q, np.array([0, self.kv_heads, -1, self.head_dim]))
        k = self.node("Transpose", f"{name}/keys", k, perm=[0, 1, 3, 2])
        scores = self.cast(f"{name}/wide", self.node("MatMul", f"{name}/scores", q, k), np.float32)
        seen = self.node("Add", f"{name}/seen", scores, self.grouped(mask))
        shares = self.cast(f"{name}/narrow", self.node("Softmax", f"{name}/shares", seen, axis=-1), self.dtype)
        mixed = self.node("MatMul", f"{name}/mixed", shares, v)
        return self.node("Reshape", name, mixed, np.array([0, self.heads, -1, self.head_dim]))

    def grouped(self, mask: gs.Tensor) -> gs.Tensor:
        """Repeats the mask [B, 1, T, S] for the query heads of a key head: [B, 1, N / N_kv * T, S].

        The layers that share a mask share the result.
        """
        name = f"{mask.name}/grouped"
        made = [node.outputs[0] for node in mask.outputs if node.name == name]
        return made[0] if made else self.node("Concat", name, *[mask] * (self.heads // self.kv_heads), axis=2)

    def cast(self, name: str, x: gs.Tensor, dtype: type) -> gs.Tensor:
        """Converts x from or to float32, if the graph is float16."""
        return x if self.dtype == np.float32 else self.node("Cast", name, x, to=dtype)
