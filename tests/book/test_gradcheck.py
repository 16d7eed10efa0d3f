"""gradcheck and gradgradcheck in float64 of every differentiable stanza, recorded and differentiated as programs are."""

from __future__ import annotations

import lamina
import numpy as np
import pytest
from lamina.dialects import flags
from lamina.dialects.book import OPS, Name
from lamina.dialects.types import dtype_of, float64
from lamina.pyfront import recorder
from lamina.pyfront.tensor import wrap

from .samples import samples

pytestmark = pytest.mark.slow

DIFFERENTIABLE = [
    name for name in OPS
    if OPS[name].tensors and (OPS[name].has_derivative or OPS[name].family == "is") and OPS[name].dialect in ("prim", "nn")
    and any(str(d) != "none" for d in OPS[name].derivatives.values() or [""])
]  # fmt: skip
# Steps of second differences cross ties there; first derivatives are checked.
TIED = ("max", "min", "prod", "cumprod", "scatter")


def function(name, attrs):
    """The op as a function of tensors; its floating-point results."""

    def call(*tensors):
        nodes = tuple([t._read() for t in tensors])
        if len(OPS[name].infer(tuple([n.type for n in nodes]), attrs)) == 1:
            return wrap(recorder.record(name, nodes, attrs))
        made = [wrap(n) for n in recorder.record_many(name, nodes, attrs)]
        return tuple([t for t in made if t.dtype.is_floating_point])

    return call


def tensors(stanza, arrays):
    """The operands; those require grad that have a derivative."""
    made = [lamina.tensor(np.asarray(a)) for a in arrays]
    without = {name for name, d in stanza.derivatives.items() if d == Name("none")}
    names = [p.name for p in stanza.tensors]
    names += names[-1:] * (len(made) - len(names))
    return tuple([t.requires_grad_() if t.dtype is float64 and n not in without else t for t, n in zip(made, names, strict=False)])


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients(name):
    stanza = OPS[name]
    for arrays, attrs in samples(stanza):
        results = stanza.infer(tuple((a.shape, dtype_of(np.asarray(a))) for a in arrays), attrs)
        if results[0][1] is not float64 or not any(np.asarray(a).dtype == np.float64 for a in arrays):
            continue
        call, given = function(name, attrs), tensors(stanza, arrays)
        if not np.isfinite(stanza.evaluate(arrays, attrs)[0]).all() or not any(t.requires_grad for t in given):
            continue
        with flags.device("numpy"):
            assert lamina.autograd.gradcheck(call, given, check_batched_grad=True, check_forward_ad=True, fast_mode=True)
            assert lamina.autograd.gradcheck(call, given, atol=1e-4)
            if name not in TIED:
                lamina.manual_seed(1)
                assert lamina.autograd.gradgradcheck(call, given, atol=1e-4, fast_mode=True)
