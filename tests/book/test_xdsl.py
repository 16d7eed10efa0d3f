"""Book ops in xDSL: build, print, parse back, verify; broken text gives one clear error."""

from __future__ import annotations

import math

import numpy as np
import pytest
from lamina.dialects import autodiff
from lamina.dialects.attributes import attribute_of, ir_type, type_of_ir, value_of
from lamina.dialects.book import OPS, NumpyBuild
from lamina.dialects.errors import BookError, LaminaError, ShapeError, TextError
from lamina.dialects.ops import XdslBuilder, attrs_of, build_op, stanza_of, type_of
from lamina.dialects.text import parse, print_module, verify
from lamina.dialects.types import ALL, dtype_of, float32, float64
from xdsl.dialects import func
from xdsl.dialects.builtin import ModuleOp

from .samples import IN_IR, samples


def module_of(name, arrays, attrs, emit):
    """@main over the types of the arrays; `emit(builder, args)` writes its body and gives its results."""
    types = [(a.shape, dtype_of(a)) for a in arrays]
    main = func.FuncOp("main", ([ir_type(t) for t in types], []))
    builder = XdslBuilder(main.body.block, "train.py:12")
    results = emit(builder, main.body.block.args)
    main.body.block.add_op(func.ReturnOp(*results))
    main.properties["function_type"] = func.FunctionType.from_lists(
        [ir_type(t) for t in types], [r.type for r in results]
    )
    return ModuleOp([main])


def run(module, arrays):
    """Values of @main by each op's numpy line."""
    block = module.body.block.first_op.body.block
    values = dict(zip(block.args, arrays))
    for op in block.ops:
        if isinstance(op, func.ReturnOp):
            return [values[v] for v in op.operands]
        values.update(zip(op.results, stanza_of(op).evaluate([values[v] for v in op.operands], attrs_of(op))))
    raise AssertionError("no return")


@pytest.mark.parametrize("name", IN_IR)
def test_round_trip(name):
    s = OPS[name]
    for arrays, attrs in samples(s):
        module = module_of(name, arrays, attrs, lambda b, args, a=attrs: b(name, tuple(args), a))
        verify(module)
        text = print_module(module)
        again = parse(text, "x.mlir")
        verify(again)
        assert print_module(again) == text
        op = again.body.block.first_op.body.block.first_op
        assert attrs_of(op) == attrs and op.origin == "train.py:12"
        for got, want in zip(run(again, arrays), s.evaluate(arrays, attrs)):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", [n for n in OPS if OPS[n].family == "is"])
def test_opened_composites(name):
    """Spelled out in xDSL, a composite computes what it is."""
    s = OPS[name]
    for arrays, attrs in samples(s):
        module = module_of(name, arrays, attrs, lambda b, args, a=attrs: s.open(b, tuple(args), a))
        verify(module)
        for got, want in zip(run(module, arrays), s.evaluate(arrays, attrs)):
            np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("name", [n for n in IN_IR if OPS[n].has_derivative and OPS[n].tensors])
def test_gradients_in_xdsl(name):
    """The same derivative, built as xDSL ops, gives the numbers numpy gives at once."""
    s = OPS[name]
    arrays, attrs = samples(s)[0]
    results = s.evaluate(arrays, attrs)
    if results[0].dtype != float64.numpy or arrays[0].dtype != float64.numpy:
        return
    g = np.random.default_rng(0).normal(size=results[0].shape)
    wanted, count = [True] * len(arrays), len(arrays)

    def emit(b, args):
        cotangents = [args[count], *[None] * (len(results) - 1)]
        out = s.gradients(b, args[:count], args[count + 1 :], cotangents, attrs, wanted)
        return [v for v in out if v is not None]

    given = [*arrays, g, *results]
    module = module_of(name, given, attrs, emit)
    verify(module)
    now = s.gradients(NumpyBuild(OPS), arrays, results, [g, *[None] * (len(results) - 1)], attrs, wanted)
    for got, want in zip(run(module, given), [v for v in now if v is not None]):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_attributes_round_trip():
    cases = [
        ("number", 2.5),
        ("number", 3),
        ("number", -math.inf),
        ("number", 1e-45),
        ("ints", ()),
        ("ints", (-1, 2)),
        ("flag", True),
        ("flag", False),
        ("int", -7),
        ("text", 'a"b'),
        *(("dtype", t) for t in ALL),
    ]
    for kind, value in cases:
        found = value_of(kind, attribute_of(kind, value))
        assert found == value and type(found) is type(value)
    assert math.isnan(value_of("number", attribute_of("number", math.nan)))
    with pytest.raises(TextError, match="not of kind"):
        value_of("axes", attribute_of("int", 3))


def test_types_round_trip():
    for dtype in ALL:
        for shape in ((), (0,), (3, 1, 2)):
            assert type_of_ir(ir_type((shape, dtype))) == (shape, dtype)


def test_unknown_and_misfit():
    with pytest.raises(BookError, match="no op swish"):
        build_op("swish", [])
    a = build_op("full", [], ((2, 3), 1.0, float32)).results[0]
    with pytest.raises(ShapeError):
        build_op("matmul", [a, a])
    assert type_of(a) == ((2, 3), float32)
    op = build_op("sum", [a], ((1,),))
    del op.attributes["axes"]
    with pytest.raises(LaminaError, match="lacks its attribute axes"):
        attrs_of(op)


GOOD = """builtin.module {
  func.func @main(%x: tensor<4x3xf32>) -> tensor<4x1xf32> {
    %a = prim.tanh %x : (tensor<4x3xf32>) -> tensor<4x3xf32>
    %y = prim.sum %a {axes = array<i64: 1>, origin = "net.py:3"} : (tensor<4x3xf32>) -> tensor<4x1xf32>
    func.return %y : tensor<4x1xf32>
  }
}
"""
BAD_TEXT = {
    "unknown op": (GOOD.replace("prim.tanh", "prim.tahn"), "prim.tahn is not registered", "3:"),
    "syntax": (GOOD.replace("-> tensor<4x3xf32>\n", "tensor<4x3xf32>\n"), "cannot be read", "3:"),
    "unclosed string": (GOOD.replace('"net.py:3"', '"net.py:3' + "x" * 60), "a string is not closed", "4:"),
    "bad escape": (GOOD.replace('"net.py:3"', '"' + "x" * 60 + r'\q"'), "unknown escape", "4:"),
    "huge integer": (GOOD.replace("i64: 1>", f"i64: {2**80}>"), "cannot be read", "4:"),
    "huge lane": (
        f"""builtin.module {{
  func.func @main(%x: vector<2xf32>) {{
    %a = vector.shuffle %x, %x [0, {2**63}] : vector<2xf32>, vector<2xf32>
    func.return
  }}
}}
""",
        "cannot be read",
        "3:",
    ),
    "unknown value": (GOOD.replace("prim.tanh %x", "prim.tanh %z"), "z", ""),
}
BAD_MEANING = {
    "result type": (GOOD.replace("4x1xf32", "4x2xf32"), "gives tensor<4x1xf32>"),
    "attribute kind": (GOOD.replace("axes = array<i64: 1>", "axes = 1 : i64"), "not of kind axes"),
    "missing attribute": (GOOD.replace("axes = array<i64: 1>, ", ""), "lacks its attribute axes"),
    "unknown attribute": (GOOD.replace("{axes", "{dims = 3 : i64, axes"), "no attribute dims"),
    "axes": (GOOD.replace("i64: 1>", "i64: 2>"), "axes of 2 dimensions"),
    "a loop that is not there": (
        """builtin.module {
  func.func @main(%x: tensor<4xi64>) {
    %a = linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]} outs(%x : tensor<4xi64>) {
    ^bb0(%0: i64):
      %i = linalg.index 1 : index
      %j = arith.index_cast %i : index to i64
      linalg.yield %j : i64
    } -> tensor<4xi64>
    func.return
  }
}
""",
        "linalg.index 1 is in 1 loops",
    ),
}


def test_good_text():
    module = parse(GOOD, "good.mlir")
    verify(module)
    assert "%a = prim.tanh %x" in print_module(module)


@pytest.mark.parametrize("case", BAD_TEXT)
def test_text_that_cannot_be_read(case):
    text, sentence, where = BAD_TEXT[case]
    with pytest.raises(TextError) as caught:
        parse(text, "bad.mlir")
    assert sentence in str(caught.value) and f"bad.mlir:{where}" in str(caught.value)


@pytest.mark.parametrize("case", BAD_MEANING)
def test_text_that_does_not_hold_together(case):
    text, sentence = BAD_MEANING[case]
    with pytest.raises(TextError, match=sentence):
        verify(parse(text, "bad.mlir"))


def test_origins_of_any_spelling():
    for origin in ('a"b.py:1', "na\u00efve \u6587.py:2", "back\\slash.py:3", "tab\t.py:4"):
        op = build_op("full", [], ((2,), 1.0, float32), origin)
        (again,) = parse(print_module(ModuleOp([op]))).body.block.ops
        assert again.origin == origin


def test_use_before_definition():
    lines = GOOD.split("\n")
    lines[2], lines[3] = lines[3], lines[2]
    with pytest.raises(TextError, match="used before it is defined") as caught:
        verify(parse("\n".join(lines), "bad.mlir"))
    assert "net.py:3" in str(caught.value)


def test_autodiff_dialect():
    text = GOOD.replace(
        "func.return",
        "%s = prim.full {shape = array<i64: 4, 1>, value = 1.0 : f64, t = f32} : () -> tensor<4x1xf32>\n"
        "    %k = autodiff.saved %y, %s : (tensor<4x1xf32>, tensor<4x1xf32>) -> tensor<4x1xf32>\n"
        "    %g = autodiff.grad %k, %s, %x"
        " : (tensor<4x1xf32>, tensor<4x1xf32>, tensor<4x3xf32>) -> tensor<4x3xf32>\n"
        "    func.return",
    )
    module = parse(text)
    verify(module)
    assert print_module(parse(print_module(module))) == print_module(module)
    op = next(o for o in module.walk() if isinstance(o, autodiff.GradOp))
    assert len(op.wrt) == 1 and op.seed.type == op.loss.type
    with pytest.raises(TextError, match="one result per wrt"):
        verify(
            parse(
                text.replace(
                    "tensor<4x3xf32>) -> tensor<4x3xf32>\n    func",
                    "tensor<4x3xf32>) -> tensor<4x1xf32>\n    func",
                )
            )
        )
