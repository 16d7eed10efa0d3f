"""RNN, LSTM and GRU layers and their cells."""

from __future__ import annotations

import math
import warnings
from typing import Any

from ..autocasting import regions
from ..creation import empty, zeros
from ..tensor import Tensor
from . import init
from .functions import recurrent
from .module import Module
from .parameter import Parameter
from .utils.rnn import PackedSequence

_GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}
_KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
State = tuple[Tensor, ...]


class _Recurrent(Module):
    """What layers and cells share: the scale of their first weights."""

    hidden_size: int

    def reset_parameters(self) -> None:
        """Uniform within 1 / sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)


class RecurrentLayer(_Recurrent):
    """A layer of several layers and directions, whatever its weights are: what it is called with, and what it gives.

    Subclasses have the fields of `RNNBase`'s arguments, and give the weights of each layer and direction.
    """

    mode: str
    input_size: int
    num_layers: int
    batch_first: bool
    bidirectional: bool
    dropout: float
    proj_size = 0

    def _weights_(self) -> list[recurrent.Weights]:
        """Of every layer and direction."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """The arguments that are not the defaults."""
        text = f"{self.input_size}, {self.hidden_size}"
        defaults = {
            "proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0, "bidirectional": False,
        }  # fmt: skip
        return text + "".join(f", {k}={getattr(self, k)}" for k, v in defaults.items() if getattr(self, k) != v)

    # -- forward ----------------------------------------------------------------------------------------------

    @property
    def _state_sizes_(self) -> tuple[int, ...]:
        """Width of each part of the state: (h,), or (h, c) for LSTM."""
        h = self.proj_size or self.hidden_size
        return (h, self.hidden_size) if self.mode == "LSTM" else (h,)

    def forward(self, input: Tensor | PackedSequence, hx: Any = None) -> tuple[Any, Any]:
        """float[steps, batch, inputs] (or batch first, or unbatched, or packed) and the first state.

        Gives every step's output and the last state; RuntimeError or ValueError when sizes do not fit.
        """
        given = None if hx is None else (hx if isinstance(hx, (tuple, list)) else (hx,))
        if isinstance(input, PackedSequence):
            return self._packed_(input, given)
        if input.dim() not in (2, 3):
            instead = "D instead" if self.mode == "LSTM" else "D tensor instead"
            raise ValueError(f"{type(self).__name__}: Expected input to be 2D or 3D, got {input.dim()}{instead}")
        batched, at = input.dim() == 3, 0 if self.batch_first else 1
        if given is not None:
            self._check_ranks_(given, batched)
            given = given if batched else tuple(s.unsqueeze(1) for s in given)
        x = input if batched else input.unsqueeze(at)
        self._check_input_(x)
        x = x.transpose(0, 1) if self.batch_first else x
        steps, batch = x.shape[:2]
        y, state = self._run_(x.reshape(steps * batch, x.shape[2]), [batch] * steps, self._start_(given, batch))
        y = y.reshape(steps, batch, y.shape[-1])
        y._label = "cat" if self.bidirectional else "stack"
        y = y.transpose(0, 1) if self.batch_first else y
        if not batched:
            return y.squeeze(at), self._as_given_(tuple(s.squeeze(1) for s in state))
        return y, self._as_given_(state)

    def _packed_(self, input: PackedSequence, given: State | None) -> tuple[PackedSequence, Any]:
        if input.data.dim() != 2:
            raise RuntimeError(f"input must have 2 dimensions, got {input.data.dim()}")
        self._check_width_(input.data)
        sizes = input.batch_sizes.tolist()
        start = self._start_(given, sizes[0])
        if start is not None and input.sorted_indices is not None:
            start = tuple(s.index_select(1, input.sorted_indices) for s in start)
        y, state = self._run_(input.data, sizes, start)
        if input.unsorted_indices is not None:
            state = tuple(s.index_select(1, input.unsorted_indices) for s in state)
        packed = PackedSequence(y, input.batch_sizes, input.sorted_indices, input.unsorted_indices)
        return packed, self._as_given_(state)

    def _run_(self, x: Tensor, sizes: list[int], state: State | None) -> tuple[Tensor, State]:
        y, state = recurrent.layers(
            self.mode, x, sizes, state, self._weights_(), widths=self._state_sizes_, directions=2 if self.bidirectional else 1,
            p=self.dropout if self.training else 0.0,
        )  # fmt: skip
        for part in state:
            part._label = "stack"
        return y, state

    def _as_given_(self, state: State) -> Any:
        return state if self.mode == "LSTM" else state[0]

    def _start_(self, given: State | None, batch: int) -> State | None:
        """The given state, checked; None for zeros."""
        if given is None:
            return None
        directions = self.num_layers * (2 if self.bidirectional else 1)
        expected = [(directions, batch, width) for width in self._state_sizes_]
        for i, (part, shape) in enumerate(zip(given, expected, strict=True)):
            if tuple(part.shape) != shape:
                which = f"hidden[{i}]" if self.mode == "LSTM" else "hidden"
                raise RuntimeError(f"Expected {which} size {shape}, got {list(part.shape)}")
        return tuple(given)

    def _check_ranks_(self, given: State, batched: bool) -> None:
        rank = 3 if batched else 2
        if all(s.dim() == rank for s in given):
            return
        kind = "batched 3-D" if batched else "unbatched 2-D"
        ranks = ", ".join(f"{s.dim()}-D" for s in given)
        if self.mode == "LSTM":
            raise RuntimeError(f"For {kind} input, hx and cx should also be {rank}-D but got ({ranks}) tensors")
        raise RuntimeError(f"For {kind} input, hx should also be {rank}-D but got {ranks} tensor")

    def _check_input_(self, x: Tensor) -> None:
        self._check_width_(x)

    def _check_width_(self, x: Tensor) -> None:
        if x.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {x.shape[-1]}"
            )


class RNNBase(RecurrentLayer):
    """Layers and directions of one mode: parameters ``weight_ih_l0``, ``weight_hh_l0``, ... as PyTorch names them."""

    def __init__(
        self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.mode, self.input_size, self.hidden_size = mode, input_size, hidden_size
        self.num_layers, self.bias, self.batch_first = num_layers, bias, batch_first
        self.dropout, self.bidirectional, self.proj_size = float(dropout), bidirectional, proj_size
        self._check_()
        factory = {"device": device, "dtype": dtype}
        self._all_weights = [
            self._add_direction_(layer, suffix, factory)
            for layer in range(num_layers)
            for suffix in ([f"_l{layer}", f"_l{layer}_reverse"] if bidirectional else [f"_l{layer}"])
        ]
        self.reset_parameters()

    def _check_(self) -> None:
        if not isinstance(self.dropout, (int, float)) or not 0 <= self.dropout <= 1:
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
            )
        if self.dropout > 0 and self.num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects num_layers "
                f"greater than 1, but got dropout={self.dropout} and num_layers={self.num_layers}", stacklevel=5,
            )  # fmt: skip
        for name, kind in (("bias", bool), ("batch_first", bool), ("input_size", int), ("hidden_size", int)):
            if not isinstance(getattr(self, name), kind):
                raise TypeError(
                    f"{name} should be of type {kind.__name__}, got: {type(getattr(self, name)).__name__}"
                )
        for name in ("input_size", "hidden_size", "num_layers"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be greater than zero")
        if self.proj_size < 0:
            raise ValueError("proj_size should be a positive integer or zero to disable projections")
        if self.proj_size >= self.hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")

    def _add_direction_(self, layer: int, suffix: str, factory: dict[str, Any]) -> list[str]:
        """Register one direction's parameters; their names."""
        gates, out = _GATES[self.mode] * self.hidden_size, self.proj_size or self.hidden_size
        inputs = self.input_size if layer == 0 else out * (2 if self.bidirectional else 1)
        shapes: dict[str, tuple[int, ...] | None] = {
            "weight_ih": (gates, inputs), "weight_hh": (gates, out),
            "bias_ih": (gates,) if self.bias else None, "bias_hh": (gates,) if self.bias else None,
            "weight_hr": (out, self.hidden_size) if self.proj_size else None,
        }  # fmt: skip
        for name, shape in shapes.items():
            if shape is not None:
                setattr(self, name + suffix, Parameter(empty(*shape, **factory)))
        return [name + suffix for name, shape in shapes.items() if shape is not None]

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def __getstate__(self) -> dict[str, Any]:
        """The attributes, with the two lists PyTorch's recurrent layers keep beside them."""
        names = [name for group in self._all_weights for name in group]
        return {**self.__dict__, "_flat_weights_names": names, "_flat_weights": [getattr(self, name) for name in names]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({k: v for k, v in state.items() if not k.startswith("_flat_weight")})

    def flatten_parameters(self) -> None:
        """Nothing to do: parameters need not lie together."""

    def _weights_(self) -> list[recurrent.Weights]:
        found = [{name.rpartition("_l")[0]: getattr(self, name) for name in names} for names in self._all_weights]
        return [recurrent.Weights.of(*[parts.get(kind) for kind in _KINDS]) for parts in found]

    def _check_input_(self, x: Tensor) -> None:
        self._check_width_(x)
        if x.shape[1 if self.batch_first and x.dim() == 3 else 0] == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        weight = getattr(self, self._all_weights[0][0])
        if x.dtype is not weight.dtype and not regions.on:
            raise ValueError(
                f"RNN input dtype ({x.dtype}) does not match weight dtype ({weight.dtype}). "
                f"Convert input: input.to({weight.dtype}), or convert model: model.to({x.dtype})"
            )


class RNN(RNNBase):
    """h' = tanh(W x + b + U h + c), or relu instead of tanh."""

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", *args: Any, **kwargs: Any
    ) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, *args, **kwargs)
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory; the state is (h, c)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)


class GRU(RNNBase):
    """Gated recurrent units."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)


class RecurrentCell(_Recurrent):
    """One step, whatever its weights are."""

    _mode_: str
    input_size: int

    def _weights_(self) -> recurrent.Weights:
        raise NotImplementedError

    def extra_repr(self) -> str:
        """The arguments that are not the defaults."""
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias is True else f", bias={self.bias}")

    def _step_(self, input: Tensor, given: State | None) -> State:
        name = type(self).__name__
        if input.dim() not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {input.dim()}D instead")
        for i, part in enumerate(given or ()):
            if part.dim() not in (1, 2):
                which = f"hx[{i}]" if self._mode_ == "LSTM" else "hidden"
                raise ValueError(f"{name}: Expected {which} to be 1D or 2D, got {part.dim()}D instead")
        batched = input.dim() == 2
        x = input if batched else input.unsqueeze(0)
        if given is None:
            state: State = (zeros(x.shape[0], self.hidden_size, dtype=x.dtype, device=x.device),) * (2 if self._mode_ == "LSTM" else 1)
        else:
            state = tuple(given) if batched else tuple(s.unsqueeze(0) for s in given)
        after = recurrent.cell(self._mode_, x, state, self._weights_())
        return after if batched else tuple(s.squeeze(0) for s in after)


class RNNCellBase(RecurrentCell):
    """One step: weight_ih[gates, inputs], weight_hh[gates, hidden], bias_ih, bias_hh."""

    def __init__(
        self, mode: str, input_size: int, hidden_size: int, bias: bool, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self._mode_ = mode
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        gates, factory = _GATES[mode] * hidden_size, {"device": device, "dtype": dtype}
        self.weight_ih = Parameter(empty(gates, input_size, **factory))
        self.weight_hh = Parameter(empty(gates, hidden_size, **factory))
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, Parameter(empty(gates, **factory)) if bias else None)
        self.reset_parameters()

    def _weights_(self) -> recurrent.Weights:
        return recurrent.Weights.of(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)


class RNNCell(RNNCellBase):
    """One step of RNN."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        if nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {nonlinearity}")
        super().__init__(f"RNN_{nonlinearity.upper()}", input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """float[batch, inputs] (or float[inputs]) and h give the next h."""
        return self._step_(input, None if hx is None else (hx,))[0]

    def extra_repr(self) -> str:
        """The arguments that are not the defaults."""
        return super().extra_repr() + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}")


class LSTMCell(RNNCellBase):
    """One step of LSTM."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__("LSTM", input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Tensor, hx: State | None = None) -> State:
        """float[batch, inputs] (or float[inputs]) and (h, c) give the next (h, c)."""
        return self._step_(input, hx)


class GRUCell(RNNCellBase):
    """One step of GRU."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__("GRU", input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """float[batch, inputs] (or float[inputs]) and h give the next h."""
        return self._step_(input, None if hx is None else (hx,))[0]
