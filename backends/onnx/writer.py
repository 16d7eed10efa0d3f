"""The ONNX writer: a build that turns every op of the book it is given into ONNX nodes.

Rules (one file per family) say what an op is in ONNX; a composite without one is opened against the writer itself, so its parts
meet their rules. Some ops make no node until somebody reads their value (`LAZY`): what reads an expanded value broadcasts the
narrow one instead, a reshape of a reshape is one reshape, a pad becomes an attribute of the convolution behind it. What depends
on weights alone is computed here. Nodes nobody reads are dropped at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from ...dialects.book import OPS
from ...dialects.errors import UnsupportedError
from ...dialects.graph import Graph
from ...dialects.sizes import Size, is_symbolic, same
from ...dialects.types import DType, Type, bfloat16, dtype_of, float32, size_of
from .sizes import Sizes

LAZY = frozenset(("full", "expand", "reshape", "pad"))
"""Ops whose rule runs when their value is read."""

_FOLDED = 4096
"""Results of constants up to so many elements are computed here whatever their operands' size is."""


class Value:
    """A value of the model. step: (op, operands, attributes) of the book that made it; array: its contents, of a constant.
    name: what nodes call it; None until it is read.
    """

    __slots__ = ("type", "step", "array", "name", "label", "owner")

    def __init__(self, type_: Type, owner: Writer, *, step: tuple | None = None, array: np.ndarray | None = None, name: str | None = None) -> None:
        self.type, self.owner, self.step, self.array, self.name = type_, owner, step, array, name
        self.label = name

    @property
    def shape(self) -> tuple:
        return self.type[0]

    @property
    def dtype(self) -> DType:
        return self.type[1]

    def made_by(self, op: str) -> bool:
        """Whether it is the result of this op of the book."""
        return self.step is not None and self.step[0] == op


class Use:
    """One op as a rule sees it: operands, attributes by name, types of the results."""

    __slots__ = ("op", "operands", "attrs", "types")

    def __init__(self, op: str, operands: tuple[Value, ...], attrs: dict[str, Any], types: tuple[Type, ...]) -> None:
        self.op, self.operands, self.attrs, self.types = op, operands, attrs, types

    def __getitem__(self, name: str) -> Any:
        return self.attrs[name]


Rule = Callable[["Writer", Use], "Value | tuple[Value, ...] | None"]
RULES: dict[str, Rule] = {}
FAMILIES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Enter a rule for ops of the book. It gives the results, or None where ONNX has no such op and the composite is opened."""

    def enter(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return enter


class Writer:
    """Nodes of one graph: the model's, or (with a parent) the body of a loop."""

    def __init__(self, opset: int, parent: Writer | None = None) -> None:
        self.opset = opset
        self.parent = parent
        self.root: Writer = parent.root if parent else self
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self.known: dict[tuple, tuple[str, np.ndarray]] = {}
        self.taken: set[str] = set()
        self.origin = ""
        self.sizes = Sizes(self)

    # a build

    def type(self, value: Value) -> Type:
        """(shape, dtype) of a value."""
        return value.type

    def __call__(self, op: str, operands: Sequence[Value], attrs: tuple = ()) -> tuple[Value, ...]:
        stanza = OPS.get(op)
        if stanza is None:
            raise UnsupportedError(f"ONNX has no {op}", at=self.origin, help="export what the model computes, not its gradients")
        operands = tuple(operands)
        types = stanza.infer(tuple(v.type for v in operands), attrs)
        if op == "reshape" or op == "expand":
            if same_shape(operands[0].shape, types[0][0]):
                return operands
            if op == "reshape" and operands[0].made_by("reshape") and operands[0].name is None:
                return self("reshape", operands[0].step[1], attrs)
        if self._is_folded(operands, attrs, types) and op not in ("full", "expand") and not stanza.in_code:
            arrays = stanza.evaluate([v.array for v in operands], attrs)
            values = tuple(Value(t, self, array=a) for a, t in zip(arrays, types, strict=True))
            values[0].label = operands[0].label
            return values
        step = (op, operands, attrs)
        if op in LAZY:
            return (Value(types[0], self, step=step),)
        made = self._apply(Use(op, operands, dict(zip((p.name for p in stanza.attributes), attrs, strict=True)), types))
        if made is None:
            if stanza.family != "is":
                raise UnsupportedError(f"ONNX has no {op} of {', '.join(v.dtype.name for v in operands)}", at=self.origin)
            return tuple(stanza.open(self, operands, attrs))
        for value, t in zip(made, types, strict=True):
            assert same_shape(value.shape, t[0]) and value.dtype is t[1], f"{op} gives {value.type}, not {t}"
            value.step = value.step or step
        return made

    def _apply(self, use: Use) -> tuple[Value, ...] | None:
        found = RULES.get(use.op) or FAMILIES.get(OPS[use.op].family)
        if found is not None and use.op not in _OF_ANY_TYPE and any(dtype is bfloat16 for _, dtype in (*(v.type for v in use.operands), *use.types)):
            return self._in_float32(found, use)
        made = found(self, use) if found else None
        return (made,) if isinstance(made, Value) else made

    def _in_float32(self, found: Rule, use: Use) -> tuple[Value, ...] | None:
        """What is computed of bfloat16 is computed in float32 and rounded once: runtimes have few kernels for it, and that is its meaning."""
        operands = tuple(self.cast(v, float32) if v.dtype is bfloat16 else v for v in use.operands)
        types = tuple((shape, float32 if dtype is bfloat16 else dtype) for shape, dtype in use.types)
        attrs = {name: float32 if value is bfloat16 else value for name, value in use.attrs.items()}
        made = found(self, Use(use.op, operands, attrs, types))
        if made is None:
            return None
        values = (made,) if isinstance(made, Value) else made
        return tuple(self.cast(v, dtype) for v, (_, dtype) in zip(values, use.types, strict=True))

    @staticmethod
    def _is_folded(operands: Sequence[Value], attrs: tuple, types: Sequence[Type]) -> bool:
        if not operands or any(v.array is None for v in operands):
            return False
        if any(is_symbolic(a) or isinstance(a, tuple) and any(map(is_symbolic, a)) for a in attrs):
            return False
        return sum(size_of(shape) for shape, _ in types) <= max(_FOLDED, 2 * sum(v.array.size for v in operands))

    def op(self, name: str, *args: Any) -> Value:
        """The first result of an op of the book: operands, then attributes."""
        count = len(args) - len(OPS[name].attributes)
        return self(name, args[:count], args[count:])[0]

    def run(self, graph: Graph, values: list[Value]) -> list[Value]:
        """The outputs of a graph for values of its inputs."""
        values = list(values)
        for (op, attrs, operands), origin in zip(graph.steps, graph.origins, strict=True):
            self.origin = origin
            values += self(op, tuple(values[i] for i in operands), attrs)
        return [values[i] for i in graph.outputs]

    # values

    def constant(self, array: Any, dtype: DType | None = None) -> Value:
        """A constant of the model."""
        array = np.asarray(array, None if dtype is None else dtype.numpy)
        return Value((array.shape, dtype_of(array)), self, array=array)

    def scalar(self, number: Any, dtype: DType) -> Value:
        """A number of rank 0; one made of sizes is computed by the model."""
        if is_symbolic(number):
            return Value(((), dtype), self, name=self.sizes.scalar(number, dtype))
        return self.constant(np.asarray(number).astype(dtype.numpy))

    def name(self, value: Value) -> str:
        """What nodes call a value: what is lazy is written now."""
        if value.name is None:
            if value.array is not None:
                value.name = self._initializer(value.array, value.label)
            else:
                assert value.step is not None
                op, operands, attrs = value.step
                stanza = OPS[op]
                use = Use(op, operands, dict(zip((p.name for p in stanza.attributes), attrs, strict=True)), (value.type,))
                (made,) = value.owner._apply(use) or ()
                value.name = value.owner.name(made)
        return value.name

    def _initializer(self, array: np.ndarray, label: str | None) -> str:
        root = self.root
        key = (label, array.dtype, array.shape, array.tobytes() if array.nbytes <= 64 else id(array))
        if key not in root.known:
            name = self.fresh(label or "constant")
            root.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
            root.known[key] = name, array  # the array is kept: its id stands for it
        return root.known[key][0]

    def fresh(self, name: str) -> str:
        """A name nobody has yet."""
        taken, unique, n = self.root.taken, name, 0
        while unique in taken:
            n += 1
            unique = f"{name}_{n}"
        taken.add(unique)
        return unique

    # nodes

    def emit(self, op_type: str, inputs: Iterable[Value | str], *types: Type, **attributes: Any) -> Any:
        """Append a node of ONNX; its result, or of several types a tuple of results. Inputs are values or names ("" for none)."""
        read = [x if isinstance(x, str) else self.name(x) for x in inputs]
        names = [self.fresh(op_type.lower()) for _ in types]
        node = helper.make_node(op_type, read, names, **{k: v for k, v in attributes.items() if v is not None})
        node.doc_string = self.origin
        self.nodes.append(node)
        made = tuple(Value(t, self, name=n) for t, n in zip(types, names, strict=True))
        return made[0] if len(made) == 1 else made

    def ints(self, numbers: Sequence[int | Size]) -> str:
        """The name of an int64 tensor of rank 1 that holds these sizes."""
        if not any(isinstance(n, Size) for n in numbers):
            return self.name(self.constant(np.array(numbers, np.int64).reshape(len(numbers))))
        return self.sizes.vector(numbers)

    def cast(self, value: Value, dtype: DType) -> Value:
        """A value as another dtype."""
        return value if value.dtype is dtype else self.op("cast", value, dtype)

    def graph_of(self, name: str, inputs: Sequence[ValueInfoProto], outputs: Sequence[tuple[Value, str]]) -> GraphProto:
        """The nodes so far as a graph with these outputs, each under its own name; what no output needs is left out."""
        own = {n for node in self.nodes for n in node.output}
        renamed: dict[str, str] = {}
        for value, wanted in outputs:
            found = self.name(value)
            if found in own and found not in renamed:
                renamed[found] = wanted
            else:
                self.nodes.append(helper.make_node("Identity", [found], [wanted]))
        needed = {wanted for _, wanted in outputs}
        kept = []
        for node in reversed(self.nodes):
            node.output[:] = [renamed.get(n, n) for n in node.output]
            if needed.isdisjoint(node.output):
                continue
            _rename(node, renamed)
            needed |= _reads(node)
            kept.append(node)
        infos = [type_info(wanted, value.type, self.root.sizes.labels) for value, wanted in outputs]
        initializers = [] if self.parent else [t for n, t in self.initializers.items() if n in needed]
        return helper.make_graph(kept[::-1], name, list(inputs), infos, initializers)


_OF_ANY_TYPE = frozenset(("cast", "reshape", "permute"))
"""Ops that runtimes have for bfloat16, too."""


def _rename(node: NodeProto, renamed: dict[str, str]) -> None:
    node.input[:] = [renamed.get(n, n) for n in node.input]
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            for inner in attribute.g.node:
                _rename(inner, renamed)


def _reads(node: NodeProto) -> set[str]:
    """The names a node and the graphs inside of it read."""
    found = set(node.input)
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            for inner in attribute.g.node:
                found |= _reads(inner)
    return found


def same_shape(a: Sequence, b: Sequence) -> bool:
    """Whether two shapes are one, sizes known only at the call by their expressions."""
    return len(a) == len(b) and all(same(m, n) for m, n in zip(a, b, strict=True))


def element_type(dtype: DType) -> int:
    """ONNX's number of an element type."""
    return helper.np_dtype_to_tensor_dtype(dtype.numpy)


def type_info(name: str, t: Type, labels: dict[tuple, str]) -> ValueInfoProto:
    """The declaration of an input or output: a size that is a symbol goes by its label, another that is not known by none."""
    shape = [labels.get(d._key) if isinstance(d, Size) else d for d in t[0]]
    return helper.make_tensor_value_info(name, element_type(t[1]), shape)


