"""Objects come back as they were; what is no plain data is refused; damaged bytes are an error and nothing else."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lamina
from lamina.pyfront.distributed.plain_data import DamagedError, NotPlainError, decoded, encoded

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.complex_numbers(allow_nan=False) | st.text() | st.binary()
KEYS = st.integers() | st.text() | st.booleans() | st.binary()
DATA = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(KEYS, inner) | st.sets(KEYS) | st.frozensets(KEYS),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(DATA)
@pytest.mark.slow
def test_round_trip(value: object) -> None:
    found = decoded(encoded(value))
    assert found == value and type(found) is type(value)


def test_arrays_tensors_and_what_goes_with_them() -> None:
    parameter = lamina.nn.Parameter(lamina.ones(2, 3))
    value = OrderedDict(
        a=np.arange(6, dtype=np.int16).reshape(2, 3), b=np.float32(2.5), c=lamina.tensor([[1, 2]]).to(lamina.bfloat16), d=parameter,
        e=lamina.float16, f=lamina.Size([1, 2]), g=lamina.device("cpu"), h=range(3, 9, 2), i=slice(None, 3), j=np.zeros((0, 2)), k=bytearray(b"x"),
    )  # fmt: skip
    found = decoded(encoded(value), tensors=True)
    assert list(found) == list(value) and type(found) is OrderedDict
    assert found["a"].dtype == np.int16 and (found["a"] == value["a"]).all() and found["b"] == 2.5 and type(found["b"]) is np.float32
    assert found["c"].dtype is lamina.bfloat16 and found["c"].tolist() == [[1.0, 2.0]]
    assert found["d"].requires_grad and found["d"].is_leaf and found["d"].shape == (2, 3)
    assert (found["e"], found["f"], found["g"], found["h"], found["i"]) == (value["e"], value["f"], value["g"], value["h"], value["i"])
    assert found["j"].shape == (0, 2) and found["k"] == value["k"] and type(found["k"]) is bytearray


class Mine:
    """What programs define."""

    def __reduce__(self) -> tuple:
        raise AssertionError("it was pickled")


@pytest.mark.parametrize("value", [Mine(), [Mine()], {"a": {1: Mine()}}, lambda: 0, np.array([Mine()]), type, lamina.nn.Linear(1, 1)], ids=lambda v: type(v).__name__)
def test_everything_else_is_refused(value: object) -> None:
    with pytest.raises(NotPlainError, match="is not sent to other processes"):
        encoded(value)


def test_endless_data_is_refused() -> None:
    endless: list = []
    endless.append(endless)
    with pytest.raises(NotPlainError, match="levels deep"):
        encoded(endless)


@pytest.mark.parametrize("value", [lamina.device("cpu"), range(1, 5)])
def test_bytes_that_make_no_value(value: object) -> None:
    """A device of no kind, a range without a step."""
    with pytest.raises(DamagedError, match="not plain data"):
        decoded(encoded(value)[:-1] + b"\0")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), DATA, st.data())
@pytest.mark.slow
def test_damaged_bytes(noise: bytes, value: object, data: st.DataObject) -> None:
    good = encoded([value, np.arange(3)])
    at = data.draw(st.integers(0, len(good)))
    for damaged in (noise, good[:at], good[:at] + noise, good + b"N", good[:at] + bytes([data.draw(st.integers(0, 255))]) + good[at + 1 :]):
        try:
            decoded(damaged)
        except DamagedError:
            pass
