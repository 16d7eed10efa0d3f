"""torch.autograd.functional: Jacobians, Hessians and their products with vectors.

Rows of a Jacobian are always computed together: several seeds of one gradient. ``vectorize`` changes nothing but what may
be asked for, as in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import recorder
from ..func.forward import jacfwd
from ..func.reverse import identity
from ..grad_mode import enable_grad, set_grad_enabled
from ..promote import full
from ..tensor import Tensor, wrap
from .backward import grad

Tensors = Tensor | tuple[Tensor, ...]


def _tuple(given: Any, what: str, name: str) -> tuple[bool, tuple[Tensor, ...]]:
    """Whether it is a tuple, and it as one. TypeError for anything but Tensors."""
    several = isinstance(given, tuple)
    tensors = given if several else (given,)
    for i, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            where = f"value at index {i} has type {type(t)}." if several else f"given {what} has type {type(t)}."
            raise TypeError(f"The {what} given to {name} must be either a Tensor or a tuple of Tensors but the {where}")
    return several, tensors


def _fresh(inputs: Sequence[Tensor], create_graph: bool, tracked: bool = True) -> tuple[Tensor, ...]:
    """Each tensor as one of its own, so that the same tensor captured by the function is another."""
    return tuple(
        [t.view_as(t) if create_graph and t.requires_grad else t.detach().requires_grad_(tracked) for t in inputs]
    )


def _finished(found: Any, create_graph: bool) -> Any:
    """Without history, unless it was asked for."""
    if create_graph:
        return found
    return tuple([_finished(t, False) if isinstance(t, tuple) else t.detach() for t in found])


def _untupled(found: tuple, several: bool) -> Any:
    return found if several else found[0]


def _zeros(tensor: Tensor, tracked: bool = False) -> Tensor:
    made = wrap(full(0.0, *tensor._type))
    return made.requires_grad_() if tracked else made


def _grad(
    outputs: Sequence[Tensor | None], inputs: Sequence[Tensor], seeds: Sequence[Tensor] | None, create_graph: bool,
    retain_graph: bool | None = None, batched: bool = False,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """``grad`` that leaves out outputs without history."""
    given = seeds if seeds is not None else [None] * len(outputs)
    pairs = [(o, s) for o, s in zip(outputs, given, strict=True) if o is not None and o.requires_grad]
    if not pairs:
        return (None,) * len(inputs)
    roots, weights = zip(*pairs, strict=True)
    return grad(roots, inputs, weights, retain_graph, create_graph, True, True, batched)


def _check_history(tensors: Sequence[Tensor | None], strict: bool, sentence: str) -> None:
    """RuntimeError, in strict mode, for a tensor that does not depend on anything."""
    if not strict:
        return
    for i, t in enumerate(tensors):
        if t is None:
            raise RuntimeError(
                f"The output of the user-provided function is independent of input {i}. This is not allowed in strict mode."
            )
        if not t.requires_grad:
            raise RuntimeError(sentence.format(i=i))


_OUTPUT = (
    "Output {i} of the user-provided function does not require gradients. The outputs must be computed in a differentiable "
    "manner from the input when running in strict mode."
)
_GRADIENT = (
    "The gradient with respect to input {i} is independent of the inputs of the user-provided function. This is not allowed "
    "in strict mode."
)
_JACOBIAN = (
    "While computing the hessian, found that the jacobian of the user-provided function with respect to input {i} is "
    "independent of the input. This is not allowed in strict mode. You should ensure that your function is twice "
    "differentiable and that the jacobian depends on the inputs (this would be violated by a linear function for example)."
)
_HESSIAN = (
    "The hessian of the user-provided function with respect to input {i} is independent of the input. This is not allowed in "
    "strict mode. You should ensure that your function is thrice differentiable and that the hessian depends on the inputs."
)
_MISSING = {
    "back": "The output of the user-provided function is independent of input {i}. This is not allowed in strict mode.",
    "back_trick": (
        "The gradient with respect to the input is independent of entry {i} in the grad_outputs when using the double "
        "backward trick to compute forward mode gradients. This is not allowed in strict mode."
    ),
    "double_back": (
        "The jacobian of the user-provided function is independent of input {i}. This is not allowed in strict mode."
    ),
    "double_back_trick": (
        "The hessian of the user-provided function is independent of entry {i} in the grad_jacobian. This is not allowed in "
        "strict mode as it prevents from using the double backward trick to replace forward mode AD."
    ),
}


def _filled(
    found: Sequence[Tensor | None], like: Sequence[Tensor], strict: bool, create_graph: bool, stage: str
) -> tuple[Tensor, ...]:
    """Zeros where nothing arrived. RuntimeError for those in strict mode."""
    what = "hessian" if "double" in stage else "jacobian"
    for i, t in enumerate(found):
        if strict and t is None:
            raise RuntimeError(_MISSING[stage].format(i=i))
        if strict and create_graph and not t.requires_grad:
            raise RuntimeError(
                f"The {what} of the user-provided function is independent of input {i}. This is not allowed in strict mode "
                "when create_graph=True."
            )
    return tuple([_zeros(r) if t is None else t for t, r in zip(found, like, strict=True)])


def _checked_vector(v: Any, like: Sequence[Tensor], several: bool, name: str, create_graph: bool, what: str) -> Any:
    """The vector of a product, fitting ``like``. RuntimeError where it does not, or where it had to be given."""
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise RuntimeError(f"The vector v can only be None if the {what}")
        return None
    _, given = _tuple(v, "v", name)
    vector = _fresh(given, create_graph, False)
    if len(like) != len(vector):
        if several:
            raise RuntimeError(f"v is a tuple of invalid length: should be {len(like)} but got {len(vector)}.")
        raise RuntimeError("The given v should contain a single Tensor.")
    for i, (entry, other) in enumerate(zip(vector, like, strict=True)):
        if entry.shape != other.shape:
            start = f"Entry {i} in " if several else ""
            raise RuntimeError(f"{start}v has invalid size: should be {other.shape} but got {entry.shape}.")
    return vector


class _Call:
    """A function at a point: its fresh inputs and its outputs."""

    def __init__(self, func: Callable, inputs: Any, name: str, create_graph: bool, strict: bool) -> None:
        self.several, given = _tuple(inputs, "inputs", name)
        self.inputs = _fresh(given, create_graph)
        self.func, self.name, self.create_graph, self.strict = func, name, create_graph, strict

    def run(self) -> None:
        """Call it."""
        self.gives_tuple, self.outputs = _tuple(
            self.func(*self.inputs), "outputs of the user-provided function", self.name
        )
        _check_history(self.outputs, self.strict, _OUTPUT)

    def check_scalar(self) -> None:
        """RuntimeError unless it gave one number."""
        if self.gives_tuple:
            raise RuntimeError(f"The function given to {self.name} should return a single Tensor")
        if self.outputs[0].numel() != 1:
            raise RuntimeError(f"The Tensor returned by the function given to {self.name} should contain a single element")

    def result(self, product: tuple[Tensor, ...], several: bool) -> tuple[Any, Any]:
        """``(outputs, product)`` as the caller gets them."""
        outputs, product = _finished(self.outputs, self.create_graph), _finished(product, self.create_graph)
        return _untupled(outputs, self.gives_tuple), _untupled(product, several)

    def mode(self) -> set_grad_enabled:
        """The grad mode of the last derivative."""
        return set_grad_enabled(True if self.create_graph else recorder.state.grad)


def vjp(
    func: Callable[..., Any], inputs: Tensors, v: Tensors | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """``(outputs, v . J)``: a vector times the Jacobian of ``func`` at ``inputs``."""
    with enable_grad():
        call = _Call(func, inputs, "vjp", create_graph, strict)
        call.run()
        needed = "user-provided function returns a single Tensor with a single element."
        vector = _checked_vector(v, call.outputs, call.gives_tuple, "vjp", create_graph, needed)
    with call.mode():
        found = _grad(call.outputs, call.inputs, vector, create_graph)
        product = _filled(found, call.inputs, strict, create_graph, "back")
    return call.result(product, call.several)


def jvp(
    func: Callable[..., Any], inputs: Tensors, v: Tensors | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """``(outputs, J . v)``: the Jacobian of ``func`` at ``inputs`` times a vector."""
    with enable_grad():
        call = _Call(func, inputs, "jvp", create_graph, strict)
        needed = "input to the user-provided function is a single Tensor with a single element."
        vector = _checked_vector(v, call.inputs, call.several, "jvp", create_graph, needed)
        call.run()
        seeds = tuple([_zeros(o, True) for o in call.outputs])
        pulled = _grad(call.outputs, call.inputs, seeds, True)
        _check_history(pulled, strict, _GRADIENT)
    with call.mode():
        found = _grad(pulled, seeds, vector, create_graph)
        product = _filled(found, call.outputs, strict, create_graph, "back_trick")
    return call.result(product, call.gives_tuple)


def vhp(
    func: Callable[..., Any], inputs: Tensors, v: Tensors | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """``(output, v . H)``: a vector times the Hessian of a scalar function."""
    with enable_grad():
        call = _Call(func, inputs, "vhp", create_graph, strict)
        needed = "input to the user-provided function is a single Tensor with a single element."
        vector = _checked_vector(v, call.inputs, call.several, "vhp", create_graph, needed)
        call.run()
        call.check_scalar()
        jacobians = _grad(call.outputs, call.inputs, None, True)
        _check_history(jacobians, strict, _JACOBIAN)
    with call.mode():
        found = _grad(jacobians, call.inputs, vector, create_graph)
        product = _filled(found, call.inputs, strict, create_graph, "double_back")
    return call.result(product, call.several)


def hvp(
    func: Callable[..., Any], inputs: Tensors, v: Tensors | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """``(output, H . v)``: the Hessian of a scalar function times a vector."""
    with enable_grad():
        call = _Call(func, inputs, "hvp", create_graph, strict)
        needed = "input to the user-provided function is a single Tensor with a single element."
        vector = _checked_vector(v, call.inputs, call.several, "hvp", create_graph, needed)
        call.run()
        call.check_scalar()
        jacobians = _grad(call.outputs, call.inputs, None, True)
        _check_history(jacobians, strict, _JACOBIAN)
        seeds = tuple([_zeros(t, True) for t in call.inputs])
        back = _grad(jacobians, call.inputs, seeds, True)
        _check_history(jacobians, strict, _HESSIAN)
    with call.mode():
        found = _grad(back, seeds, vector, create_graph)
        product = _filled(found, call.inputs, strict, create_graph, "double_back_trick")
    return call.result(product, call.several)


def jacobian(
    func: Callable[..., Any], inputs: Tensors, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """The Jacobian: ``[*output, *input]`` for one output and one input, a tuple for several outputs, of tuples for several
    inputs.

    create_graph: the result can be differentiated. strict: RuntimeError where an output does not depend on an input.
    strategy: "reverse-mode", or "forward-mode" with ``vectorize``.
    """
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError(
            'Expected strategy to be either "forward-mode" or "reverse-mode". Hint: If your function has more outputs than '
            'inputs, "forward-mode" tends to be more performant. Otherwise, prefer to use "reverse-mode".'
        )
    if strategy == "forward-mode":
        return _forward_jacobian(func, inputs, create_graph, strict, vectorize)
    with enable_grad():
        call = _Call(func, inputs, "jacobian", create_graph, strict)
        call.run()
        if vectorize and strict:
            raise RuntimeError(
                "torch.autograd.functional.jacobian: `strict=True` and `vectorized=True` are not supported together. Please "
                "either set `strict=False` or `vectorize=False`."
            )
        rows = tuple([_rows(call, i, output) for i, output in enumerate(call.outputs)])
    found = _finished(rows, create_graph)
    return _untupled(tuple([_untupled(row, call.several) for row in found]), call.gives_tuple)


def _rows(call: _Call, i: int, output: Tensor) -> tuple[Tensor, ...]:
    """The Jacobian of one output by every input."""
    (seeds,) = identity([output._type], 0, output.numel())
    found = _grad([output], call.inputs, [seeds], call.create_graph, True, True)
    rows = []
    for k, (gradient, input) in enumerate(zip(found, call.inputs, strict=True)):
        shape = (*output.shape, *input.shape)
        if gradient is None:
            if call.strict:
                raise RuntimeError(
                    f"Output {i} of the user-provided function is independent of input {k}. This is not allowed in strict "
                    "mode."
                )
            rows.append(wrap(full(0.0, shape, input.dtype)))
            continue
        if call.strict and call.create_graph and not gradient.requires_grad:
            raise RuntimeError(
                f"The jacobian of the user-provided function is independent of input {i}. This is not allowed in strict mode "
                "when create_graph=True."
            )
        rows.append(gradient.reshape(shape))
    return tuple(rows)


def _forward_jacobian(func: Callable, inputs: Any, create_graph: bool, strict: bool, vectorize: bool) -> Any:
    start = "torch.autograd.functional.jacobian: "
    if create_graph:
        raise NotImplementedError(
            f'{start}`create_graph=True` and `strategy="forward-mode"` are not supported together (yet). Please either set '
            '`create_graph=False` or `strategy="reverse-mode"`.'
        )
    if strict:
        raise RuntimeError(
            f'{start}`strict=True` and `strategy="forward-mode"` are not supported together (yet). Please either set '
            '`strict=False` or `strategy="reverse-mode"`.'
        )
    several, given = _tuple(inputs, "inputs", "jacobian")
    if not vectorize:
        raise NotImplementedError(
            "Computing Jacobian using forward-AD or forward-over-reverse Hessian isonly implemented for `vectorize=True`."
        )
    found = jacfwd(func, tuple(range(len(given))))(*[t.detach() for t in given])
    return found if several else tuple([part[0] for part in found]) if isinstance(found[0], tuple) else found[0]


def hessian(
    func: Callable[..., Any], inputs: Tensors, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """The Hessian of a scalar function: the Jacobian of its gradient, ``[*input, *input]``, nested tuples for several."""
    several, _ = _tuple(inputs, "inputs", "hessian")
    if outer_jacobian_strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode".')

    def gradient(*given: Tensor) -> tuple[Tensor, ...]:
        if outer_jacobian_strategy == "forward-mode":
            given = tuple([t if t.requires_grad else t.requires_grad_() for t in given])
        call = _Call(func, given, "hessian", True, False)
        call.inputs = given
        call.run()
        _check_history(call.outputs, strict, _OUTPUT)
        if call.gives_tuple:
            raise RuntimeError("The function given to hessian should return a single Tensor")
        if call.outputs[0].numel() != 1:
            raise RuntimeError("The Tensor returned by the function given to hessian should contain a single element")
        found = _grad([call.outputs[0].reshape(())], given, None, True, True)
        if strict:
            for i, t in enumerate(found):
                if t is None:
                    raise RuntimeError(
                        f"Output 0 of the user-provided function is independent of input {i}. This is not allowed in strict "
                        "mode."
                    )
        filled = tuple([_zeros(r) if t is None else t for t, r in zip(found, given, strict=True)])
        _check_history(filled, strict, _JACOBIAN)
        return filled

    found = jacobian(gradient, inputs, create_graph, strict, vectorize, outer_jacobian_strategy)
    return found if several else found[0]


__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]
