"""What infer accepts can be computed: shapes and attributes are bent; each is refused or works."""

from __future__ import annotations

import numpy as np
import pytest
from lamina.dialects.book import OPS
from lamina.dialects.errors import LaminaError
from lamina.dialects.types import dtype_of, size_of

from .samples import IN_IR, samples

BENT = (-1, 0, 1, 2, 5, 40)


def bent_attributes(attrs):
    """Each attribute with one number replaced, dropped or doubled."""
    for i, value in enumerate(attrs):
        if isinstance(value, tuple):
            options = [(*value[:k], b, *value[k + 1 :]) for k in range(len(value)) for b in BENT]
            options += [value[:-1], (*value, 1), (*value, *value[-1:])]
        elif type(value) is int:
            options = list(BENT)
        else:
            continue
        yield from ((*attrs[:i], option, *attrs[i + 1 :]) for option in options)


def bent_shapes(shapes):
    """Each operand with one size changed, one dimension more, one less."""
    for i, shape in enumerate(shapes):
        options = [(*shape[:k], d, *shape[k + 1 :]) for k in range(len(shape)) for d in {0, 1, shape[k] + 1}]
        options += [shape[1:], (1, *shape), (*shape, 2)]
        yield from ([*shapes[:i], option, *shapes[i + 1 :]] for option in options)


def check(s, shapes, dtypes, attrs):
    """Refused with a LaminaError, or evaluated to the inferred types."""
    try:
        types = s.infer(tuple(zip(shapes, dtypes, strict=True)), attrs)
    except LaminaError:
        return
    if any(size_of(shape) > 10**5 for shape, _ in types):
        return
    arrays = [np.zeros(shape, dtype.numpy) for shape, dtype in zip(shapes, dtypes, strict=True)]
    results = s.evaluate(arrays, attrs)
    assert [(r.shape, dtype_of(r)) for r in results] == list(types), (s.name, shapes, attrs)


@pytest.mark.parametrize("name", IN_IR)
def test_accepted_means_computable(name):
    s = OPS[name]
    for arrays, attrs in samples(s):
        shapes, dtypes = [a.shape for a in arrays], [dtype_of(a) for a in arrays]
        for other in bent_attributes(attrs):
            check(s, shapes, dtypes, other)
        for other in bent_shapes(shapes):
            check(s, other, dtypes, attrs)
