"""Recurrent layers and cells of quantized weights; input and state are numbers, quantized sequence by sequence and step by step."""

from __future__ import annotations

from typing import Any

from ...dialects.types import float16, float32
from ..autograd import no_grad
from ..creation import zeros
from ..nn import recurrent as floating
from ..nn.containers import ModuleList
from ..nn.functions.linear import linear
from ..nn.functions.recurrent import Product
from ..nn.functions.recurrent import Weights as Both
from ..nn.module import Module
from ..nn.recurrent import RecurrentCell, RecurrentLayer
from ..tensor import Tensor
from .dtypes import qint8
from .dynamic_weights import dynamic_weight, packed_weight, weight_dtype
from .packed import HalfWeights
from .products import DYNAMIC, Weights
from .quantizing import _empty_affine_quantized

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


def product_of(packed: Weights | HalfWeights) -> Product:
    """What rows of numbers are multiplied by."""
    if isinstance(packed, HalfWeights):
        return Product(linear, (packed.weight,) if packed.bias is None else (packed.weight, packed.bias.detach()))
    return Product(DYNAMIC[127], tuple(packed.operands()))


def _pair(packed: Weights | HalfWeights) -> tuple[Any, Tensor | None]:
    return packed.weight, packed.bias


def _empty(gates: int, inputs: int, bias: bool, dtype: Any) -> Weights | HalfWeights:
    weight = _empty_affine_quantized([gates, inputs], scale=1.0, zero_point=0, dtype=qint8) if dtype is qint8 else zeros(gates, inputs)
    return packed_weight(weight, zeros(gates, dtype=float32) if bias else None, dtype)


def _check_dtype(dtype: Any) -> None:
    if dtype not in (qint8, float16):
        raise RuntimeError("Unsupported dtype specified for dynamic quantized recurrent layers!")


class PackedParameter(Module):
    """The weights of one layer and direction. param: those of input and state; in a state_dict ((weight, bias), (weight, bias))."""

    def __init__(self, param: tuple[Any, Any]) -> None:
        super().__init__()
        self.param = param

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "param"] = tuple(map(_pair, self.param))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *more: Any) -> None:
        pairs = state_dict.pop(prefix + "param")
        dtype = float16 if isinstance(self.param[0], HalfWeights) else qint8
        self.param = tuple(packed_weight(weight, bias, dtype) for weight, bias in pairs)
        super()._load_from_state_dict(state_dict, prefix, *more)


class RNNBase(RecurrentLayer):
    """Layers and directions of one mode. dtype: of the weights, ``torch.qint8`` or ``torch.float16``."""

    _version = 2

    def __init__(
        self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, dtype: Any = qint8,
    ) -> None:  # fmt: skip
        super().__init__()
        _check_dtype(dtype)
        self.mode, self.input_size, self.hidden_size, self.num_layers, self.bias = mode, input_size, hidden_size, num_layers, bias
        self.batch_first, self.dropout, self.bidirectional, self.dtype, self.training = batch_first, float(dropout), bidirectional, dtype, False
        directions, gates = 2 if bidirectional else 1, _GATES[mode] * hidden_size
        sizes = [input_size if layer == 0 else hidden_size * directions for layer in range(num_layers) for _ in range(directions)]
        pairs = [(_empty(gates, n, bias, dtype), _empty(gates, hidden_size, bias, dtype)) for n in sizes]
        self._all_weight_values = ModuleList([PackedParameter(pair) for pair in pairs])

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """As the float layer's; no gradients."""
        with no_grad():
            return super().forward(input, hx)

    def _weights_(self) -> list[Both]:
        return [Both(*map(product_of, held.param)) for held in self._all_weight_values]

    def _get_name(self) -> str:
        return f"DynamicQuantized{type(self).__name__}"

    def __repr__(self) -> str:
        return f"{self._get_name()}({self.extra_repr()})"

    def _weight_bias(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {"weight": {}, "bias": {}}
        directions = 2 if self.bidirectional else 1
        for k, held in enumerate(self._all_weight_values):
            end = f"l{k // directions}{'_reverse' if k % directions else ''}"
            for of, packed in zip(("ih", "hh"), held.param, strict=True):
                found["weight"][f"weight_{of}_{end}"], found["bias"][f"bias_{of}_{end}"] = _pair(packed)
        return found

    def get_weight(self) -> dict[str, Any]:
        """The weights by the float layer's names."""
        return self._weight_bias()["weight"]

    def get_bias(self) -> dict[str, Any]:
        """The biases by the float layer's names."""
        return self._weight_bias()["bias"]

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> RNNBase:
        """The layer of a float one that has a ``qconfig``. NotImplementedError for projections."""
        if mod.proj_size:
            raise NotImplementedError("dynamic quantization of an LSTM with proj_size is not there")
        dtype = weight_dtype(mod, mod.mode)
        made = cls(mod.input_size, mod.hidden_size, mod.num_layers, mod.bias, mod.batch_first, mod.dropout, mod.bidirectional, dtype)
        for held, names in zip(made._all_weight_values, mod._all_weights, strict=True):
            parts = {name.rpartition("_l")[0]: getattr(mod, name) for name in names}
            held.param = tuple(packed_weight(dynamic_weight(mod, parts[f"weight_{of}"]), parts.get(f"bias_{of}"), dtype) for of in ("ih", "hh"))
        return made


class LSTM(RNNBase):
    """Long short-term memory; the state is (h, c)."""

    _FLOAT_MODULE = floating.LSTM

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)


class GRU(RNNBase):
    """Gated recurrent units."""

    _FLOAT_MODULE = floating.GRU

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("GRU", *args, **kwargs)


class RNNCellBase(RecurrentCell):
    """One step of quantized weights."""

    def __init__(self, mode: str, input_size: int, hidden_size: int, bias: bool = True, dtype: Any = qint8) -> None:
        super().__init__()
        _check_dtype(dtype)
        self._mode_, self.input_size, self.hidden_size, self.bias, self.weight_dtype = mode, input_size, hidden_size, bias, dtype
        gates = _GATES[mode] * hidden_size
        self._packed_weight_ih, self._packed_weight_hh = (_empty(gates, n, bias, dtype) for n in (input_size, hidden_size))

    def _weights_(self) -> Both:
        return Both(product_of(self._packed_weight_ih), product_of(self._packed_weight_hh))

    def _step_(self, input: Tensor, given: Any) -> Any:
        with no_grad():
            return super()._step_(input, given)

    def _get_name(self) -> str:
        return f"DynamicQuantized{type(self).__name__}"

    def get_weight(self) -> dict[str, Any]:
        """The weights by the float cell's names."""
        return {"weight_ih": self._packed_weight_ih.weight, "weight_hh": self._packed_weight_hh.weight}

    def get_bias(self) -> dict[str, Any]:
        """The biases by the float cell's names."""
        return {"bias_ih": self._packed_weight_ih.bias, "bias_hh": self._packed_weight_hh.bias}

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name in ("_packed_weight_ih", "_packed_weight_hh"):
            destination[prefix + name] = _pair(getattr(self, name))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *more: Any) -> None:
        for name in ("_packed_weight_ih", "_packed_weight_hh"):
            setattr(self, name, packed_weight(*state_dict.pop(prefix + name), self.weight_dtype))
        super()._load_from_state_dict(state_dict, prefix, *more)

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> RNNCellBase:
        """The cell of a float one that has a ``qconfig``."""
        dtype = weight_dtype(mod, mod._mode_)
        more = {"nonlinearity": mod.nonlinearity} if hasattr(mod, "nonlinearity") else {}
        made = cls(mod.input_size, mod.hidden_size, bias=mod.bias, dtype=dtype, **more)
        made._packed_weight_ih = packed_weight(dynamic_weight(mod, mod.weight_ih), mod.bias_ih, dtype)
        made._packed_weight_hh = packed_weight(dynamic_weight(mod, mod.weight_hh), mod.bias_hh, dtype)
        return made


class RNNCell(RNNCellBase):
    """One step of RNN."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", dtype: Any = qint8) -> None:
        super().__init__(f"RNN_{nonlinearity.upper()}", input_size, hidden_size, bias, dtype)
        self.nonlinearity = nonlinearity

    def extra_repr(self) -> str:
        """The arguments that are not the defaults."""
        return super().extra_repr() + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}")

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """float32[batch, inputs] and h give the next h."""
        return self._step_(input, None if hx is None else (hx,))[0]


class LSTMCell(RNNCellBase):
    """One step of LSTM."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """float32[batch, inputs] and (h, c) give the next (h, c)."""
        return self._step_(input, hx)


class GRUCell(RNNCellBase):
    """One step of GRU."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("GRU", *args, **kwargs)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """float32[batch, inputs] and h give the next h."""
        return self._step_(input, None if hx is None else (hx,))[0]
