"""gradcheck and gradgradcheck: derivatives against finite differences, with PyTorch's tolerances and sentences."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...dialects.types import float64
from .. import recorder
from ..func.forward import jvp
from ..random import Generator
from ..random_tensors import rand
from ..tensor import Tensor, wrap
from .backward import grad


class GradcheckError(RuntimeError):
    """A derivative that is not what finite differences say."""


def _tuple(given: Any) -> tuple:
    return given if isinstance(given, tuple) else tuple(given) if isinstance(given, list) else (given,)


def _tracked(outputs: Any) -> tuple[Tensor, ...]:
    return tuple([o for o in _tuple(outputs) if o.requires_grad])


class _Check:
    """One run: the function, its inputs, and which of them are differentiated by."""

    def __init__(self, func: Callable, inputs: Any, eps: float, atol: float, rtol: float) -> None:
        self.func, self.inputs = func, _tuple(inputs)
        self.eps, self.atol, self.rtol = eps, atol, rtol
        self.places = [i for i, t in enumerate(self.inputs) if isinstance(t, Tensor) and t.requires_grad]
        self._check_inputs()
        self.results = _tuple(func(*self.inputs))
        self.outputs = _tracked(self.results)

    def _check_inputs(self) -> None:
        for i in self.places:
            t = self.inputs[i]
            if t.dtype is not float64:
                warnings.warn(
                    f"Input #{i} requires gradient and is not a double precision floating point or complex. This check will "
                    "likely fail if all the inputs are not of double precision floating point or complex. ",
                    stacklevel=5,
                )
            if not all(s > 0 or n <= 1 for s, n in zip(t.stride(), t.shape, strict=True)):
                raise RuntimeError(
                    f"The {i}th input has a dimension with stride 0. gradcheck only supports inputs that are non-overlapping "
                    "to be able to compute the numerical gradients correctly. You should call .contiguous on the input "
                    "before passing it to gradcheck."
                )
        if not self.places:
            raise ValueError(
                "gradcheck expects at least one input tensor to require gradient, but none of them have requires_grad=True."
            )

    @property
    def wrt(self) -> list[Tensor]:
        """What is differentiated by."""
        return [self.inputs[i] for i in self.places]

    # -- finite differences

    def _values(self, place: int, moved: np.ndarray) -> list[np.ndarray]:
        """Every result with one input's values replaced."""
        given = list(self.inputs)
        given[place] = wrap(recorder.leaf(moved, self.inputs[place]._type)).requires_grad_()
        found = [r for r in _tuple(self.func(*given)) if isinstance(r, Tensor)]
        for before, after in zip(self.results, found, strict=True):
            for what in ("shape", "dtype"):
                if getattr(before, what) != getattr(after, what):
                    raise AssertionError(
                        f"Expected `func` to return outputs with the same {what} when inputs are perturbed by {self.eps}, but "
                        f"got: {what}s {getattr(before, what)} and {getattr(after, what)}."
                    )
        return [np.array(r.detach()._value()) for r in found]

    def slope(self, place: int, direction: np.ndarray) -> list[np.ndarray]:
        """The derivative of every result along a direction of one input."""
        at = np.array(self.inputs[place].detach()._value())
        step = (direction * self.eps).astype(at.dtype)
        high, low = self._values(place, at + step), self._values(place, at - step)
        return [np.asarray((a - b) / (2 * self.eps)) for a, b in zip(high, low, strict=True)]

    def numerical(self, place: int) -> list[np.ndarray]:
        """The Jacobian ``[input, output]`` of every result by one input."""
        shape = tuple(self.inputs[place].shape)
        columns = []
        for at in np.ndindex(*shape):
            direction = np.zeros(shape)
            direction[at] = 1
            columns.append([s.reshape(-1) for s in self.slope(place, direction)])
        if not columns:
            return [np.zeros((0, r.numel())) for r in self.results]
        return [np.stack(parts) for parts in zip(*columns, strict=True)]

    # -- what autograd says

    def gradients(self, output: Tensor, seed: np.ndarray) -> list[Tensor | None]:
        """Gradients by everything, for one seed."""
        weight = wrap(recorder.leaf(np.asarray(seed, output.dtype.numpy), output._type))
        return list(grad(output, self.wrt, weight, retain_graph=True, allow_unused=True))

    def analytical(self, output: Tensor, check_dtypes: bool) -> list[np.ndarray]:
        """The Jacobians ``[input, output]`` of one result by everything. GradcheckError for gradients of another size."""
        shape, wrt = tuple(output.shape), self.wrt
        columns: list[list[np.ndarray]] = [[] for _ in wrt]
        for at in np.ndindex(*shape):
            seed = np.zeros(shape)
            seed[at] = 1
            for column, input, found in zip(columns, wrt, self.gradients(output, seed), strict=True):
                if found is not None and check_dtypes and found.dtype is not input.dtype:
                    raise GradcheckError("Gradient has dtype mismatch")
                if found is not None and found.shape != input.shape:
                    raise GradcheckError("Analytical gradient has incorrect size")
                column.append(np.zeros(input.numel()) if found is None else np.array(found._value()).reshape(-1))
        return [np.stack(c, 1) if c else np.zeros((i.numel(), 0)) for c, i in zip(columns, wrt, strict=True)]

    def forward(self, place: int, direction: np.ndarray) -> list[np.ndarray]:
        """The derivative of every result along a direction, by forward mode."""

        def of_one(t: Tensor) -> tuple[Tensor, ...]:
            given = list(self.inputs)
            given[place] = t
            return _tuple(self.func(*given))

        input = self.inputs[place].detach()
        tangent = wrap(recorder.leaf(np.asarray(direction, input.dtype.numpy), input._type))
        return [np.array(t.detach()._value()) for t in jvp(of_one, (input,), (tangent,))[1]]

    # -- comparing

    def close(self, a: np.ndarray, n: np.ndarray, scale: float = 1.0) -> bool:
        """``allclose`` with PyTorch's meaning of the tolerances."""
        return bool(np.allclose(a, n, self.rtol, self.atol * scale, equal_nan=False))


def _shown(array: np.ndarray) -> str:
    from ..creation import of_array

    return repr(of_array(np.ascontiguousarray(array)))


def _mismatch(a: np.ndarray, n: np.ndarray, output: int, input: int, forward: bool = False) -> str:
    mode = "computed with forward mode " if forward else ""
    return (
        f"Jacobian {mode}mismatch for output {output:d} with respect to input {input:d},\n"
        f"numerical:{_shown(n)}\nanalytical:{_shown(a)}\n"
    )


def _check_reverse(check: _Check, nondet_tol: float, check_dtypes: bool) -> None:
    numerical = [check.numerical(place) for place in check.places]
    tracked = [k for k, r in enumerate(check.results) if r.requires_grad]
    if not tracked:
        for found in numerical:
            for n in found:
                if np.any(n != 0):
                    raise GradcheckError("Numerical gradient for function expected to be zero")
        return
    for i, k in enumerate(tracked):
        found = check.analytical(check.results[k], check_dtypes)
        again = check.analytical(check.results[k], check_dtypes)
        if any(np.any(np.abs(a - b) > nondet_tol) for a, b in zip(found, again, strict=True)):
            raise GradcheckError(
                "Backward is not reentrant, i.e., running backward with same input and grad_output multiple times gives "
                f"different values, although analytical gradient matches numerical gradient.The tolerance for nondeterminism "
                f"was {nondet_tol}."
            )
        for j, a in enumerate(found):
            if not check.close(a, numerical[j][k]):
                raise GradcheckError(_mismatch(a, numerical[j][k], i, j))


def _check_forward(check: _Check) -> None:
    tracked = [k for k, r in enumerate(check.results) if r.requires_grad]
    for j, place in enumerate(check.places):
        shape = tuple(check.inputs[place].shape)
        numerical, columns = check.numerical(place), []
        for at in np.ndindex(*shape):
            direction = np.zeros(shape)
            direction[at] = 1
            columns.append([t.reshape(-1) for t in check.forward(place, direction)])
        for i, k in enumerate(tracked):
            a = np.stack([c[k] for c in columns]) if columns else numerical[k]
            if not check.close(a, numerical[k]):
                raise GradcheckError(_mismatch(a, numerical[k], i, j, True))


def _direction(tensor: Tensor, generator: Generator) -> np.ndarray:
    values = np.array(rand(tensor.numel(), generator=generator)._value()).astype(np.float64)
    return (values / (np.linalg.norm(values) or 1)).reshape(tuple(tensor.shape))


def _check_fast(check: _Check, forward: bool) -> None:
    """One number per pair of result and input: a random combination of rows against one of columns."""
    generator = Generator()
    u = {place: _direction(check.inputs[place], generator) for place in check.places}
    tracked = [k for k, r in enumerate(check.results) if r.requires_grad]
    v = {k: _direction(check.results[k], generator) for k in tracked}
    for i, k in enumerate(tracked):
        found = None if forward else check.gradients(check.results[k], v[k])
        for j, place in enumerate(check.places):
            numerical = np.sum(v[k] * check.slope(place, u[place])[k])
            if forward:
                analytical = np.sum(v[k] * check.forward(place, u[place])[k])
            else:
                gradient = found[j]
                analytical = np.float64(0) if gradient is None else np.sum(np.array(gradient._value()) * u[place])
            if not check.close(analytical, numerical, float(u[place].sum() * v[k].sum())):
                raise GradcheckError(
                    _mismatch(analytical, numerical, i, j, forward)
                    + "\nThe above quantities relating the numerical and analytical jacobians are computed \nin fast mode. "
                    "Run with fast_mode=False for the jacobians themselves.\n"
                )


def _check_zero_seeds(check: _Check) -> None:
    """Gradients of zero are zero."""
    if not check.outputs:
        return
    zeros = [wrap(recorder.leaf(np.zeros(tuple(o.shape), o.dtype.numpy), o._type)) for o in check.outputs]
    for input, found in zip(check.wrt, grad(check.outputs, check.wrt, zeros, retain_graph=True, allow_unused=True), strict=True):
        if found is None:
            continue
        if not bool((found == 0).all()):
            raise GradcheckError("backward not multiplied by grad_output")
        if found.dtype is not input.dtype:
            raise GradcheckError("grad is incorrect type")
        if found.shape != input.shape:
            raise GradcheckError("grad is incorrect size")


def _check_batched(check: _Check) -> None:
    """Several seeds at once give what they give one by one."""
    from ..creation import of_array

    for i, output in enumerate(check.outputs):
        rng = np.random.default_rng(i)
        seeds = rng.normal(size=(10, *output.shape)).astype(output.dtype.numpy)
        each = [check.gradients(output, seed) for seed in seeds]
        try:
            found = grad(output, check.wrt, of_array(seeds), True, False, True, True, True)
        except RuntimeError as error:
            raise GradcheckError(f"While computing batched gradients, got: {error}") from error
        for j, batch in enumerate(found):
            if batch is None:
                continue
            wanted = np.stack([np.array(row[j]._value()) for row in each])
            if not np.allclose(np.array(batch._value()), wanted, 1e-5, 1e-8):
                raise GradcheckError(
                    f"For output {i} and input {j}, the gradients computed with a batch of grad_outputs are not those computed "
                    f"one by one.\nGot:\n{_shown(np.array(batch._value()))}\n\nExpected:\n{_shown(wanted)}"
                )


def gradcheck(
    func: Callable[..., Any], inputs: Tensor | Sequence[Any], *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
    raise_exception: bool = True, nondet_tol: float = 0.0, check_undefined_grad: bool = True, check_grad_dtypes: bool = False,
    check_batched_grad: bool = False, check_batched_forward_grad: bool = False, check_forward_ad: bool = False,
    check_backward_ad: bool = True, fast_mode: bool = False, masked: bool | None = None,
) -> bool:  # fmt: skip
    """True when the derivatives of ``func`` at ``inputs``, by those that require grad, are what central differences say.

    GradcheckError where they are not (False with ``raise_exception=False``); ValueError when no input requires grad.
    Inputs should be float64. fast_mode: one random combination instead of whole Jacobians.
    """
    if not (check_forward_ad or check_backward_ad):
        raise AssertionError("Expected at least one of check_forward_ad or check_backward_ad to be True")
    if check_batched_grad and not check_backward_ad:
        raise AssertionError("Setting check_batched_grad=True requires check_backward_ad to be True")
    if check_batched_forward_grad and not check_forward_ad:
        raise AssertionError("Setting check_batched_forward_grad=True requires check_forward_ad to be True")
    try:
        check = _Check(func, inputs, eps, atol, rtol)
        if check_backward_ad and fast_mode and check.outputs:
            _check_fast(check, False)
        elif check_backward_ad:
            _check_reverse(check, nondet_tol, check_grad_dtypes)
        if check_forward_ad:
            _check_fast(check, True) if fast_mode else _check_forward(check)
        if check_backward_ad:
            if check_batched_grad:
                _check_batched(check)
            _check_zero_seeds(check)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Callable[..., Any], inputs: Tensor | Sequence[Any], grad_outputs: Any = None, *, eps: float = 1e-6,
    atol: float = 1e-5, rtol: float = 1e-3, gen_non_contig_grad_outputs: bool = False, raise_exception: bool = True,
    nondet_tol: float = 0.0, check_undefined_grad: bool = True, check_grad_dtypes: bool = False,
    check_batched_grad: bool = False, check_fwd_over_rev: bool = False, check_rev_over_rev: bool = True,
    fast_mode: bool = False, masked: bool = False,
) -> bool:  # fmt: skip
    """``gradcheck`` of the gradient of ``func``, by its inputs and by ``grad_outputs`` (random ones when not given)."""
    if not (check_fwd_over_rev or check_rev_over_rev):
        raise AssertionError("Expected at least one of check_fwd_over_rev or check_rev_over_rev to be True")
    if check_undefined_grad and not check_rev_over_rev:
        raise AssertionError("Setting check_undefined_grad=True requires check_rev_over_rev to be True")
    given = _tuple(inputs)
    if grad_outputs is None:
        outputs = _tracked(func(*given))
        seeds = tuple([(rand(o.shape, dtype=o.dtype) * 2 - 1).requires_grad_() for o in outputs])
    else:
        seeds = _tuple(grad_outputs)
    places = [i for i, t in enumerate(given) if isinstance(t, Tensor) and t.requires_grad]
    count = len(seeds)

    def gradient(*args: Any) -> tuple[Tensor, ...]:
        own = [t if i not in places or t.requires_grad else t.requires_grad_() for i, t in enumerate(args[: len(args) - count])]
        found = grad(
            _tracked(func(*own)), [own[i] for i in places], list(args[len(args) - count :]), create_graph=True, allow_unused=True
        )
        return tuple([g for g in found if g is not None])

    return gradcheck(
        gradient, (*given, *seeds), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception, nondet_tol=nondet_tol,
        check_undefined_grad=check_undefined_grad, check_grad_dtypes=check_grad_dtypes, check_batched_grad=check_batched_grad,
        fast_mode=fast_mode, check_forward_ad=check_fwd_over_rev, check_backward_ad=check_rev_over_rev, masked=masked,
    )  # fmt: skip
