"""Matrix products of a transformer's layers on a CPU: x · weights + bias, and the two of a feed-forward block with GELU between them.

In bfloat16 and int8 they are oneDNN's on weights that are packed once, with the activation and the change of format in the same call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Product = Callable[["Tensor"], "Tensor"]
# How much of the differences between an input's channels goes over into the weights (alpha of SmoothQuant; Xiao et al. 2023).
SMOOTHED = 0.5
# Behind GELU one or two channels have values five times as great as all others, and would make the steps coarse for all: so many are
# multiplied in float32 (Dettmers et al. 2022).
APART = 2


class Products(Protocol):
    """Makes products of weights; `dtype` is what goes into them and comes out."""

    dtype: torch.dtype

    def linear(self, weight: Tensor, bias: Tensor) -> Product:
        """x (tokens, inputs) → x · weightᵀ + bias."""

    def feed_forward(self, wide: tuple[Tensor, Tensor], narrow: tuple[Tensor, Tensor]) -> Product:
        """x → the product with `narrow` of GELU of the product with `wide`; each is (weight, bias)."""


class Float32:
    """Torch's own, what the others are measured against."""

    def __init__(self) -> None:
        import torch

        self.dtype = torch.float32

    def linear(self, weight: Tensor, bias: Tensor) -> Product:
        import torch

        return lambda x: torch.nn.functional.linear(x, weight, bias)

    def feed_forward(self, wide: tuple[Tensor, Tensor], narrow: tuple[Tensor, Tensor]) -> Product:
        import torch

        first, second = self.linear(*wide), self.linear(*narrow)
        return lambda x: second(torch.nn.functional.gelu(first(x)))


class Bfloat16:
    """In bfloat16, with sums in float32, for inputs of `size` rows: where the processor multiplies it natively."""

    def __init__(self, size: int) -> None:
        import torch

        self.dtype, self._size = torch.bfloat16, size

    def linear(self, weight: Tensor, bias: Tensor, activation: str = "none") -> Product:
        import torch

        ops = torch.ops.mkldnn
        packed, held = ops._reorder_linear_weight(weight.bfloat16(), self._size), bias.bfloat16()
        return lambda x: ops._linear_pointwise(x, packed, held, activation, [], "none")

    def feed_forward(self, wide: tuple[Tensor, Tensor], narrow: tuple[Tensor, Tensor]) -> Product:
        first, second = self.linear(*wide, activation="gelu"), self.linear(*narrow)
        return lambda x: second(first(x))


class Ranges(Float32):
    """As Float32, and notes in `found`, product by product, the least and the greatest value of each input channel."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[list[Tensor]] = []

    def linear(self, weight: Tensor, bias: Tensor) -> Product:
        import torch

        inner, mine = super().linear(weight, bias), [torch.zeros(weight.shape[1])] * 2
        self.found.append(mine)

        def watched(x: Tensor) -> Tensor:
            mine[:] = torch.minimum(mine[0], x.amin(0)), torch.maximum(mine[1], x.amax(0))
            return inner(x)

        return watched


class Int8:
    """Eight bits in, sums of integers: scales are fixed beforehand, from the ranges that `Ranges` found on samples, product by product.

    A weight has a scale for each output, an input one for all of it, after its channels were brought nearer to each other. So a token's
    products depend on the token alone.
    """

    def __init__(self, ranges: list[list[Tensor]], size: int) -> None:
        import torch

        self.dtype, self._size = torch.float32, size
        self._ranges: Iterator[list[Tensor]] = iter(ranges)

    def linear(self, weight: Tensor, bias: Tensor) -> Product:
        smooth, scale, zero = self._input(weight)
        product = self._product(weight * smooth, bias, scale, zero)
        return lambda x: product(_quantised(x, 1 / (smooth * scale), zero))

    def feed_forward(self, wide: tuple[Tensor, Tensor], narrow: tuple[Tensor, Tensor]) -> Product:
        import torch

        smooth, scale, zero = self._input(wide[0])
        low, high = next(self._ranges)
        apart = high.topk(APART).indices
        own, back = (wide[0][apart], wide[1][apart]), narrow[0][:, apart].T.contiguous()
        kept = torch.ones(len(high)).index_fill_(0, apart, 0)
        between = _scale(float(low.min()), float((high * kept).max()))
        first = self._product(wide[0] * kept[:, None] * smooth, wide[1] * kept, scale, zero, between)
        second = self._product(narrow[0] * kept, narrow[1], *between)

        def product(x: Tensor) -> Tensor:
            alone = torch.nn.functional.gelu(torch.nn.functional.linear(x, *own))
            return second(first(_quantised(x, 1 / (smooth * scale), zero))).addmm_(alone, back)

        return product

    def _input(self, weight: Tensor) -> tuple[Tensor, float, int]:
        """(what each channel of the next product's input is divided by, then scale and zero of all of it)."""
        import torch

        low, high = next(self._ranges)
        most = torch.maximum(-low, high).clamp(min=1e-6)
        smooth = most**SMOOTHED / weight.abs().amax(0).clamp(min=1e-6) ** (1 - SMOOTHED)
        return smooth, *_scale(float((low / smooth).min()), float((high / smooth).max()))

    def _product(self, weight: Tensor, bias: Tensor, scale: float, zero: int, out: tuple[float, int] | None = None) -> Product:
        """Eight bits (`scale`, `zero`) → float32, or GELU of it in eight bits (scale and zero in `out`)."""
        import torch

        ops = torch.ops.onednn
        scales = weight.abs().amax(1).clamp(min=1e-9) / 127
        packed = ops.qlinear_prepack((weight / scales[:, None]).round().to(torch.int8), [self._size, weight.shape[1]])
        zeros = torch.zeros(len(weight), dtype=torch.int32)
        to = (*out, torch.uint8, "gelu") if out else (1.0, 0, torch.float32, "none")
        return lambda x: ops.qlinear_pointwise(x, scale, zero, packed, scales, zeros, bias, *to, [], "none")


def _scale(low: float, high: float) -> tuple[float, int]:
    """(what one of 255 steps from low to high is, the step that stands for 0)."""
    scale = (high - low) / 255 or 1.0
    return scale, round(-low / scale)


def _quantised(x: Tensor, steps: Tensor, zero: int) -> Tensor:
    import torch

    # What is cut off behind the point after a half was added is rounded.
    return torch.addcmul(torch.tensor(zero + 0.5), x, steps).clamp_(0, 255).to(torch.uint8)
