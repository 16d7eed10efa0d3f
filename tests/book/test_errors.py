"""Bad operands and bad stanzas: one clear error each."""

from __future__ import annotations

import numpy as np
import pytest
from lamina.dialects.book import OPS, Stanza
from lamina.dialects.book.library import Book
from lamina.dialects.errors import BookError, DTypeError, LaminaError, ShapeError
from lamina.dialects.types import bool_, dtype_of, float32, int64

from .samples import IN_IR, samples


def test_matmul_names_both_sizes():
    with pytest.raises(ShapeError) as caught:
        OPS["matmul"].infer((((32, 784), float32), ((512, 10), float32)), ())
    text = str(caught.value)
    assert "784 and 512" in text and "float32[32, 784]" in text and "help:" in text


def test_needs_sentences():
    with pytest.raises(ShapeError, match=r"\(2, 3\) holds 6, \(4,\) holds 4"):
        OPS["reshape"].infer((((2, 3), float32),), ((4,),))
    with pytest.raises(ShapeError, match="reads outside"):
        OPS["slice"].infer((((4,), float32),), ((2,), (3,), (1,)))
    with pytest.raises(ShapeError, match="axes of 2 dimensions"):
        OPS["sum"].infer((((2, 3), float32),), ((2,),))
    with pytest.raises(ShapeError, match="starts"):
        OPS["slice"].infer((((4,), float32),), ((0, 0), (3,), (1,)))


def test_dtypes():
    with pytest.raises(DTypeError, match="floating-point x, got int64"):
        OPS["tanh"].infer((((2,), int64),), ())
    with pytest.raises(DTypeError, match="one dtype"):
        OPS["add"].infer((((2,), int64), ((2,), float32)), ())
    with pytest.raises(DTypeError, match="bool c"):
        OPS["select"].infer((((2,), float32),) * 3, ())


@pytest.mark.parametrize("name", [n for n in IN_IR if OPS[n].tensors])
def test_wrong_operands(name):
    """Too many operands, too many attributes, attributes of another kind, dtypes no signature admits."""
    s: Stanza = OPS[name]
    arrays, attrs = samples(s)[0]
    types = tuple((a.shape, dtype_of(a)) for a in arrays)
    with pytest.raises(LaminaError):
        s.infer(
            (*types, *types) if s.family != "irregular" or len(types) < 3 and not s.tensors[-1].many else (),
            attrs,
        )
    with pytest.raises(LaminaError):
        s.infer(types, (*attrs, "nonsense"))
    for i, value in enumerate(attrs):
        if s.attributes[i].kind != "text":
            with pytest.raises(LaminaError):
                s.infer(types, (*attrs[:i], "nonsense", *attrs[i + 1 :]))
        if isinstance(value, tuple) and value:
            with pytest.raises(LaminaError):
                s.infer(types, (*attrs[:i], tuple(map(str, value)), *attrs[i + 1 :]))
    for i, p in enumerate(s.tensors):
        if p.dtype in ("float", "real", "int64"):
            with pytest.raises(DTypeError):
                s.infer((*types[:i], (types[i][0], bool_), *types[i + 1 :]), attrs)


def test_errors_are_not_remembered_as_answers():
    for _ in range(2):
        with pytest.raises(ShapeError):
            OPS["add"].infer((((2,), float32), ((3,), float32)), ())


GOOD = """op twice(x: float[..s]) -> y: float[..s]
    each   y = x + x
    numpy  x + x
    d x = g + g
"""
BAD = {
    "d line": (GOOD.replace("    d x = g + g\n", ""), "no d line"),
    "unbound name": (GOOD.replace("g + g", "g + h"), "'h' is not bound"),
    "unknown function": (GOOD.replace("g + g", "double(g)"), "double is neither an op nor a function"),
    "unknown scalar": (GOOD.replace("y = x + x", "y = double(x)"), "double is no scalar function"),
    "unknown kind": (
        GOOD.replace("(x: float[..s])", "(x: float[..s], k: knob)"),
        "knob is no kind of attribute",
    ),
    "unknown dtype": (GOOD.replace("y: float", "y: T"), "is not bound by an operand"),
    "syntax": (GOOD.replace("x + x", "x + * x"), "not expected here"),
    "numpy name": (GOOD.replace("numpy  x + x", "numpy  x + z"), "uses 'z'"),
    "numpy syntax": (GOOD.replace("numpy  x + x", "numpy  x +"), "no Python expression"),
    "order": (GOOD.replace("(x: float[..s])", "(k: int, x: float[..s])"), "tensors come before attributes"),
    "a size named as an operand": (GOOD.replace("float[..s]) ", "float[..s, x]) "), "x is named twice"),
    "a where named as a size": (GOOD + "    where s = g\n", "s is named twice"),
    "a where named as an operand": (GOOD + "    where x = g\n", "x is named twice"),
    "d for a stranger": (GOOD + "    d z = g\n", "no tensor operand"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_stanza(case, tmp_path):
    text, sentence = BAD[case]
    (tmp_path / "bad.ops").write_text("-- a file\n\n" + text)
    with pytest.raises(BookError, match=sentence) as caught:
        Book({"bad.ops": "prim"}, tmp_path)["twice"]
    assert "bad.ops:" in str(caught.value)


def test_caret_points_at_the_column(tmp_path):
    (tmp_path / "bad.ops").write_text("-- a file\n\n" + BAD["syntax"][0])
    with pytest.raises(BookError) as caught:
        Book({"bad.ops": "prim"}, tmp_path)["twice"]
    line, caret = str(caught.value).split("\n")[1:3]
    assert "bad.ops:4:20" in line and line[caret.index("^")] == "*"


def test_stray_text_and_duplicates(tmp_path):
    (tmp_path / "a.ops").write_text("stray\n" + GOOD)
    with pytest.raises(BookError, match="begin with a comment"):
        Book({"a.ops": "prim"}, tmp_path)["twice"]
    (tmp_path / "b.ops").write_text(GOOD + "\n" + GOOD)
    with pytest.raises(BookError, match="stands twice"):
        Book({"b.ops": "prim"}, tmp_path)["twice"]


def test_calls_are_counted(tmp_path):
    (tmp_path / "bad.ops").write_text(GOOD.replace("g + g", "twice(g, x)"))
    with pytest.raises(BookError, match="twice takes 1 arguments, got 2"):
        Book({"bad.ops": "prim"}, tmp_path).read_all()


def test_irregular_ops_stay_few():
    irregular = [name for name in OPS if OPS[name].family == "irregular"]
    assert 7 * len(irregular) <= len(OPS), irregular  # transforms and short lists of the largest are the latest


def test_the_whole_book_holds_together():
    OPS.read_all()
    assert all(OPS[name].name == name for name in OPS)
    assert "no_such_op" not in OPS and OPS.get("no_such_op") is None


def test_infer_is_quick():
    import timeit

    s, types, attrs = OPS["sum"], (((64, 10), float32),), ((1,),)
    s.infer(types, attrs)
    assert min(timeit.repeat(lambda: s.infer(types, attrs), number=2000, repeat=5)) / 2000 < 2e-6


def test_gradients_want_only_what_is_wanted():
    from lamina.dialects.book import NumpyBuild

    calls = []

    class Counting(NumpyBuild):
        def __call__(self, op, operands, attrs):
            calls.append(op)
            return super().__call__(op, operands, attrs)

    a, b = np.ones((2, 3)), np.ones((3, 4))
    y = OPS["matmul"].evaluate([a, b])
    found = OPS["matmul"].gradients(Counting(OPS), [a, b], y, [np.ones((2, 4))], (), [False, True])
    assert found[0] is None and found[1].shape == b.shape and calls == ["permute", "matmul"]
