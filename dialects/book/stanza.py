"""A stanza: one op and all that follows from its text: types, values, derivatives, spelling out, loops."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..errors import DTypeError, LaminaError, ShapeError
from ..graph import Graph
from ..sizes import Real, Size, is_symbolic
from ..types import DTYPES, DType, Shape, Type, bfloat16, bool_, dtype_of, float16, float32, part_of, show_type
from . import numerics, readings
from .expr import Binding, Build, Call, Evaluator, Expr, Name, walk
from .readings import Contraction, Fold, Place

CLASSES = {  # word in a signature: kinds it admits, words for errors
    "float": ("f", "a floating-point"),
    "int": ("iu", "an integer"),
    "real": ("fiu", "a numeric"),
    "bits": ("iub", "an integer or bool"),
    "complex": ("c", "a complex"),
    "any": ("fiub", "a real"),
}
ATTRIBUTE_KINDS = {
    "int": (int, Size), "ints": tuple, "axes": tuple, "shape": tuple, "perm": tuple, "number": (int, float, Size, Real),
    "dtype": DType, "flag": (bool, int, np.bool_), "text": str, "graph": Graph,
}  # fmt: skip
_HALVES = (float16, bfloat16)
_MEMO_LIMIT = 1 << 16


@dataclass(frozen=True, slots=True)
class Dim:
    """One dimension of a signature: an expression, or (`..`) any number of them."""

    expr: Expr
    rest: bool

    def __str__(self) -> str:
        return f"..{self.expr}" if self.rest else str(self.expr)


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter or result.

    Tensors: `dtype` is the word of the signature ("T", "float", "int64"), `dims` its dimensions.
    """

    name: str
    kind: str
    dtype: str = ""
    dims: tuple[Dim, ...] = ()
    many: bool = False  # any number of operands (the op's class says how they fit together)

    def __str__(self) -> str:
        if not self.is_tensor:
            return f"{self.name}: {self.kind}"
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.dims))}]{'...' if self.many else ''}"

    @property
    def is_tensor(self) -> bool:
        return self.kind == "tensor"


@dataclass(frozen=True, slots=True)
class Need:
    """A condition on attributes and sizes, and what is said when it fails (`{expression}` is filled in)."""

    condition: Expr
    sentence: tuple[str | Expr, ...]


@dataclass(eq=False)
class Stanza:
    """One op of the book. Fields are what the text says; methods are what follows from it."""

    in_code: ClassVar[bool] = False
    """Values and derivative are methods of the op's class, not lines of its text."""

    name: str
    dialect: str
    family: str
    params: tuple[Param, ...]
    results: tuple[Param, ...]
    commutes: bool
    partwise: bool
    unsaved: bool
    origin: str
    text: str
    needs: tuple[Need, ...]
    derivatives: dict[str, Expr]
    bindings: tuple[Binding, ...]
    numpy_line: str
    book: Mapping[str, Stanza]
    scalar: Expr | None = None
    fold: Fold | None = None
    places: tuple[Place, ...] = ()  # view and place: (written, read); contract: (written, left, right)
    fill: Expr | None = None
    meaning: tuple[Expr, ...] = ()
    meaning_bindings: tuple[Binding, ...] = ()
    reason: str = ""
    tensors: tuple[Param, ...] = field(init=False)
    attributes: tuple[Param, ...] = field(init=False)
    _types: dict = field(init=False, default_factory=dict, repr=False)
    _numpy: Any = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        self.tensors = tuple(p for p in self.params if p.is_tensor)
        self.attributes = tuple(p for p in self.params if not p.is_tensor)

    def __repr__(self) -> str:
        return f"<op {self.dialect}.{self.name} from {self.origin}>"

    @property
    def is_placement(self) -> bool:
        """True for a view the other way round: each source element says where it goes, the rest is fill."""
        return self.family == "view" and self.fill is not None

    # types

    def infer(self, types: tuple[Type, ...], attrs: tuple = ()) -> tuple[Type, ...]:
        """Result types. ShapeError or DTypeError where the operands do not fit."""
        try:
            return self._types[types, attrs]
        except KeyError:
            pass
        found = self._infer(types, attrs)
        if len(self._types) >= _MEMO_LIMIT:
            self._types.clear()
        self._types[types, attrs] = found
        return found

    def _infer(self, types: tuple[Type, ...], attrs: tuple) -> tuple[Type, ...]:
        self.check_arity(types, attrs)
        env = self.bind(types, attrs)
        evaluator = Evaluator(None, env)
        asking = Evaluator(None, {**{p.name: t[1] for p, t in zip(self.tensors, types)}, **env}) if self.needs else evaluator
        for need in self.needs:
            if not _holds(asking, need.condition):
                parts = (p if isinstance(p, str) else str(asking.value(p)) for p in need.sentence)
                raise self.complain(ShapeError, "".join(parts), types)
        return tuple((_shape(evaluator, p), self._result_dtype(p, env)) for p in self.results)

    def check_arity(self, types: Sequence[Type], attrs: tuple) -> None:
        """Counts of operands and attributes, and the Python type of each attribute."""
        if len(types) != len(self.tensors) or len(attrs) != len(self.attributes):
            raise LaminaError(
                f"{self.name} takes {len(self.tensors)} tensors and {len(self.attributes)} attributes, "
                f"got {len(types)} and {len(attrs)}",
                help=f"its signature is {self.signature}",
            )
        for param, value in zip(self.attributes, attrs):
            if not isinstance(value, ATTRIBUTE_KINDS[param.kind]):
                raise LaminaError(f"{self.name} needs {param.name} as {param.kind}, got {value!r}")
            if isinstance(value, tuple) and not all(isinstance(item, (int, Size)) for item in value):
                raise LaminaError(f"{self.name} needs {param.name} as a tuple of ints, got {value!r}")

    def result_count(self, operands: int, attrs: tuple) -> int:
        """How many results a step with so many operands and these attributes has."""
        return len(self.results)

    def on_batch(self, batch: Any, operands: Sequence, attrs: tuple) -> tuple:
        """The results on a batch of operands, for ops whose class says how (`batching.py`)."""
        raise NotImplementedError(self.name)

    def bind(self, types: Sequence[Type], attrs: tuple) -> dict[str, Any]:
        """Names of the signature: attributes, sizes and dtype variables (under their own word)."""
        env: dict[str, Any] = {p.name: value for p, value in zip(self.attributes, attrs)}
        for param, (shape, dtype) in zip(self.tensors, types):
            self._bind_dtype(param, dtype, env, types)
            self._bind_shape(param, shape, env, types)
        return env

    def _bind_dtype(self, param: Param, dtype: DType, env: dict, types: Sequence[Type]) -> None:
        word = param.dtype
        fixed = fixed_dtype(word)
        if fixed is not None:
            if dtype is not fixed:
                raise self.complain(
                    DTypeError, f"{self.name} needs {fixed.name} {param.name}, got {dtype.name}", types
                )
            return
        kinds, words = CLASSES.get(word, CLASSES["any"])
        if dtype.kind not in kinds and not (dtype.kind == "c" and self.takes_complex):
            raise self.complain(
                DTypeError, f"{self.name} needs {words} {param.name}, got {dtype.name}", types
            )
        if env.setdefault(f"dtype {word}", dtype) is not dtype:
            was = env[f"dtype {word}"].name
            raise self.complain(
                DTypeError, f"{self.name} needs operands of one dtype, got {was} and {dtype.name}", types
            )

    def _bind_shape(self, param: Param, shape: Shape, env: dict, types: Sequence[Type]) -> None:
        fixed = sum(not d.rest for d in param.dims)
        has_rest = fixed != len(param.dims)
        if len(shape) < fixed or (not has_rest and len(shape) != fixed):
            want = f"at least {fixed}" if has_rest else str(fixed)
            raise self.complain(
                ShapeError, f"{self.name} needs {param.name} with {want} dimensions, got {len(shape)}", types
            )
        at = 0
        for dim in param.dims:
            assert isinstance(dim.expr, Name), f"{self.origin}: dimensions of operands are names"
            size = shape[at : at + len(shape) - fixed] if dim.rest else shape[at]
            at += len(size) if isinstance(size, tuple) else 1
            if env.setdefault(dim.expr.name, size) != size:
                was = env[dim.expr.name]
                raise self.complain(
                    ShapeError, f"{self.name} needs equal {_axis_words(dim)}, got {was} and {size}", types
                )

    def _result_dtype(self, param: Param, env: dict) -> DType:
        fixed = fixed_dtype(param.dtype)
        if fixed is not None:
            return fixed
        dtype = env.get(f"dtype {param.dtype}") or env[param.dtype]
        return part_of(dtype) if dtype.kind == "c" and self.is_real_of_complex else dtype

    @property
    def on_parts(self) -> Stanza | None:
        """The stanza that says what the op does to the parts of complex operands."""
        return self.book.get(f"complex_{self.name}")

    @cached_property
    def takes_complex(self) -> bool:
        """Whether it is known what the op does to complex numbers, see `complex_parts.py`."""
        if self.partwise or self.family in ("view", "contract") or self.on_parts is not None:
            return True
        return self.family == "is" and self.multiplies and all(self.book[name].takes_complex for name in _called(self._meant) if name in self.book)

    @cached_property
    def reads_bits(self) -> bool:
        """Whether it is about bits, which must come as they are stored."""
        return self.scalar is not None and any(isinstance(e, Call) and e.fn == "bitcast" for e in walk(self.scalar))

    @cached_property
    def is_real_of_complex(self) -> bool:
        """Whether the result is real although operands are complex: their parts give one number."""
        return self.on_parts is not None and len(self.on_parts.results) == 1

    def complain(self, error: type[LaminaError], sentence: str, types: Sequence[Type]) -> LaminaError:
        """An error that lists the operands."""
        facts = [(p.name, show_type(t), "") for p, t in zip(self.tensors, types)]
        return error(sentence, facts, help=f"{self.name} is {self.signature}")

    @property
    def signature(self) -> str:
        """`matmul(a: T[..z, m, k], b: T[..z, k, n]) -> y: T[..z, m, n]`."""
        results = ", ".join(map(str, self.results))
        if len(self.results) > 1:
            results = f"({results})"
        return f"{self.name}({', '.join(map(str, self.params))}) -> {results}"

    # values

    def evaluate(self, arrays: Sequence[np.ndarray], attrs: tuple = ()) -> tuple[np.ndarray, ...]:
        """Results by the numpy line (an `is` op: by its meaning).

        Half precision is computed in float32 and rounded once.
        """
        arrays = [np.asarray(a) for a in arrays]
        types = tuple([(a.shape, dtype_of(a)) for a in arrays])
        wanted = self.infer(types, attrs)
        if self._numpy is None:
            self._numpy = numerics.compile_line(self)
        for i, (_, dtype) in enumerate(types):
            if dtype in _HALVES and not self.reads_bits:
                arrays[i] = arrays[i].astype(np.float32)
        with np.errstate(all="ignore"):
            results = self._numpy(*arrays, *[a.numpy if isinstance(a, DType) else a for a in attrs])
            if len(self.results) == 1:
                return (np.asarray(results, dtype=wanted[0][1].numpy),)
            return tuple([np.asarray(r, dtype=t[1].numpy) for r, t in zip(results, wanted)])

    # derivatives and spelling out

    @property
    def has_derivative(self) -> bool:
        """True if every tensor operand has a `d` line; False: a composite to be opened first."""
        return len(self.derivatives) == len(self.tensors)

    def derives(self, cotangent_present: Sequence[bool]) -> bool:
        """True if the `d` lines cover these cotangents: they speak of the first result only."""
        return self.has_derivative and not any(cotangent_present[1:])

    def gradients(
        self,
        build: Build,
        operands: Sequence,
        results: Sequence,
        cotangents: Sequence,
        attrs: tuple,
        wanted: Sequence[bool],
    ) -> list:
        """One cotangent per operand; None where it is `none`, not wanted, or nothing arrives at result 0.

        Of a composite, half precision is computed in float32 and rounded once, as `open` does, but for products.
        """
        if cotangents[0] is None:
            return [None] * len(operands)
        halves = [build.type(x)[1] in (float16, bfloat16) for x in operands]
        if self.family == "is" and any(halves) and not self.multiplies_back:
            wide = [[x if x is None else _widened(build, x) for x in values] for values in (operands, results, cotangents)]
            found = self._gradients(build, *wide, attrs, wanted)
            types = [build.type(x)[1] for x in operands]
            return [x if x is None or build.type(x)[1] == t else build("cast", (x,), (t,))[0] for x, t in zip(found, types)]
        return self._gradients(build, operands, results, cotangents, attrs, wanted)

    def _gradients(
        self, build: Build, operands: Sequence, results: Sequence, cotangents: Sequence, attrs: tuple, wanted: Sequence[bool]
    ) -> list:
        env = self._tensor_env(build, operands, attrs)
        env.update((p.name, r) for p, r in zip(self.results, results))
        env["g"], env["none"] = cotangents[0], None
        evaluator = Evaluator(build, env, self.bindings, self.book)
        return [
            self._gradient(evaluator, build, p, x) if want else None
            for p, x, want in zip(self.tensors, operands, wanted)
        ]

    def _gradient(self, evaluator: Evaluator, build: Build, param: Param, operand: Any) -> Any:
        expr = self.derivatives[param.name]
        if expr == Name("none"):
            return None
        value = evaluator.value(expr)
        if isinstance(value, (int, float)) or is_symbolic(value):
            shape, dtype = build.type(operand)
            (value,) = build("full", (), (shape, value, dtype))
        return value

    def open(self, build: Build, operands: Sequence, attrs: tuple = ()) -> tuple:
        """The results of an `is` op, spelled out with the ops of its meaning.

        Half precision is computed in float32 and rounded once, but for products: their factors stay narrow.
        """
        types = tuple(build.type(x) for x in operands)
        if any(t in (float16, bfloat16) for _, t in types) and not self.multiplies:
            wide = tuple(_widened(build, x) for x in operands)
            found = zip(self._opened(build, wide, attrs), self.infer(types, attrs))
            return tuple(value if build.type(value)[1] == t else build("cast", (value,), (t,))[0] for value, (_, t) in found)
        return self._opened(build, operands, attrs)

    @cached_property
    def multiplies(self) -> bool:
        """Whether there is a contraction among the ops a composite is made of."""
        return self._any_multiplies(self._meant)

    @cached_property
    def multiplies_back(self) -> bool:
        """Whether there is one among the ops its derivative is made of."""
        return self._any_multiplies((*self.derivatives.values(), *(expr for _, expr in self.bindings)))

    @property
    def _meant(self) -> tuple[Expr, ...]:
        """The expressions a composite means."""
        return (*self.meaning, *(expr for _, expr in self.meaning_bindings))

    def _any_multiplies(self, trees: Sequence[Expr]) -> bool:
        called = [self.book[name] for name in _called(trees) if name in self.book]
        return any(named.family == "contract" or named.meaning and named.multiplies for named in called)

    def _opened(self, build: Build, operands: Sequence, attrs: tuple) -> tuple:
        named = tuple(((p.name,), expr) for p, expr in zip(self.results, self.meaning))
        evaluator = Evaluator(
            build, self._tensor_env(build, operands, attrs), self.meaning_bindings + named, self.book
        )
        return tuple(evaluator.value(Name(p.name)) for p in self.results)

    def _tensor_env(self, build: Build, operands: Sequence, attrs: tuple) -> dict[str, Any]:
        env = {**DTYPES, **self.bind([build.type(x) for x in operands], attrs)}
        env.update((p.name, x) for p, x in zip(self.tensors, operands))
        return env

    # loops

    def index_map(
        self, in_shape: Shape, out_shape: Shape, attrs: tuple, out_index: Sequence
    ) -> tuple[list, Any]:
        """View: the source index of an output index, and the fill where that is outside (None: it never is).

        Indices may be ints or affine expressions. For a placement with gaps (interior padding) the source
        index is exact only where `placement` of it gives the output index back; elsewhere the fill is meant.
        """
        return readings.index_map(self, in_shape, out_shape, attrs, tuple(out_index))

    def placement(self, in_shape: Shape, attrs: tuple, in_index: Sequence) -> list:
        """Placement (`pad`): the output index of a source index; negative padding puts it outside."""
        return readings.placement(self, in_shape, attrs, tuple(in_index))

    def contraction(self, types: Sequence[Type], attrs: tuple = ()) -> Contraction:
        """Contract: iteration space and one linear index per dimension of each operand and of the result."""
        return readings.contraction(self, tuple(types), attrs)


def _called(trees: Sequence[Expr]) -> list[str]:
    """What expressions call: ops, and functions on attributes."""
    return [node.fn for tree in trees for node in walk(tree) if isinstance(node, Call)]


def _widened(build: Build, x: Any) -> Any:
    """A value of half precision in float32, others as they are."""
    return build("cast", (x,), (float32,))[0] if build.type(x)[1] in (float16, bfloat16) else x


def fixed_dtype(word: str) -> DType | None:
    """The DType a signature names ("int64", "bool"), or None for a variable or a class."""
    return bool_ if word == "bool" else DTYPES.get(word)


def _shape(evaluator: Evaluator, param: Param) -> Shape:
    shape: list[int] = []
    for dim in param.dims:
        size = evaluator.value(dim.expr)
        shape.extend(size) if dim.rest else shape.append(size if is_symbolic(size) else operator.index(size))
    return tuple(shape)


def _holds(evaluator: Evaluator, condition: Expr) -> bool:
    """A condition about tuples of unequal length, or places that are not there, does not hold."""
    try:
        return bool(evaluator.value(condition))
    except (ValueError, IndexError, ZeroDivisionError):
        return False


def _axis_words(dim: Dim) -> str:
    return "shapes" if dim.rest else f"sizes {dim.expr}"
