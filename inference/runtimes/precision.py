"""In what numbers a loaded network computes: float32, bfloat16, float16 on a GPU, or int8 on a processor.

int8 is dynamic quantisation of linear layers. Weights are rounded to 8 bits with one scale for each output. The numbers that
come in are rounded with one scale for each row, that is for each token, unlike in torch's own dynamic quantisation, which has
one for the whole batch: there the company that an input is computed in would move its answer by several hundredths.
"""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from inference.runtimes.protocol import LoadError, RuntimeSpec
from inference.types import Acceleration, Precision

_DTYPES: Final[Mapping[str, torch.dtype]] = {
    Precision.FLOAT32: torch.float32,
    Precision.BFLOAT16: torch.bfloat16,
    Precision.FLOAT16: torch.float16,
}
# Seven bits for what comes in: the fastest kernel of processors without VNNI adds two products in 16 bits, where two of eight
# bits each could overflow.
_MIDDLE: Final = 64
_REACH: Final = 63
_WEIGHT_REACH: Final = 127
_LEAST: Final = 1e-12


def check(spec: RuntimeSpec) -> None:
    """Raises LoadError for a precision that the device cannot compute in."""
    on_gpu = spec.device.startswith("cuda")
    if spec.precision == Precision.FLOAT16 and not on_gpu:
        raise LoadError("float16 runs on a GPU only; on a processor choose bfloat16, int8 or float32.")
    if spec.precision == Precision.INT8:
        if on_gpu:
            raise LoadError("int8 runs on a processor only; on a GPU choose bfloat16 or float16.")
        if spec.acceleration != Acceleration.NONE:
            raise LoadError("int8 layers cannot be compiled; leave acceleration at none.")
    if spec.precision != Precision.INT8 and spec.precision not in _DTYPES:
        raise LoadError(f"Unknown precision {spec.precision!r}.")


def dtype_of(spec: RuntimeSpec) -> torch.dtype:
    """The type of weights and activations outside of int8 layers."""
    return _DTYPES.get(spec.precision, torch.float32)


def lower(module: nn.Module, spec: RuntimeSpec) -> nn.Module:
    """Bring a loaded module to the precision of `spec`, in place, and return it. Raises LoadError."""
    check(spec)
    if spec.precision == Precision.INT8:
        quantise(module)
        return module
    return module.to(dtype_of(spec))


def quantise(module: nn.Module) -> None:
    """Put int8 layers in the place of every linear layer below `module`."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, Int8Linear(child))
        else:
            quantise(child)


class Int8Linear(nn.Module):
    """A linear layer with int8 weights: [n, in] → [n, out]. Row i depends on row i alone, to the last bit."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        scales = weight.abs().amax(dim=1).clamp_min(_LEAST) / _WEIGHT_REACH
        zeros = torch.zeros(len(scales), dtype=torch.int64)
        rounded = torch.quantize_per_channel(weight, scales.double(), zeros, 0, torch.qint8)
        self._packed = torch.ops.quantized.linear_prepack(rounded, None)
        bias = linear.bias
        self.bias: Tensor
        self.register_buffer("bias", torch.zeros(len(scales)) if bias is None else bias.detach().float().clone())

    def forward(self, rows: Tensor) -> Tensor:
        """Each row is brought to the reach of -1 to 1, multiplied as whole numbers, and brought back."""
        reach = rows.abs().amax(dim=-1, keepdim=True).clamp_min_(_LEAST)
        product: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            rows / reach, 1 / _REACH, _MIDDLE, self._packed
        )
        return torch.addcmul(self.bias, product, reach, out=product)

    def get_extra_state(self) -> Tensor:
        """The int8 weights, so that who weighs a network by its state finds them."""
        weight: Tensor = torch.ops.quantized.linear_unpack(self._packed)[0].int_repr()
        return weight
