"""Every op of the book on a batch of its operands equals the op on each example, whichever operands are batches."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from lamina.dialects.book import OPS, Batched, Batching, NumpyBuild

from .samples import IN_IR, samples

SIZE = 3


@pytest.mark.parametrize("name", [n for n in IN_IR if OPS[n].tensors])
def test_batch(name):
    s = OPS[name]
    several = [samples(s, seed) for seed in range(SIZE)]
    for number, (arrays, attrs) in enumerate(several[0]):
        examples = [case[number][0] for case in several]
        choices = list(product((True, False), repeat=len(arrays)))[:-1]
        for flags in choices if len(choices) <= 15 else [choices[0], choices[-1], choices[len(choices) // 2]]:
            operands = [Batched(np.stack([e[i] for e in examples])) if f else arrays[i] for i, f in enumerate(flags)]
            found = Batching(NumpyBuild(OPS), OPS, SIZE)(name, tuple(operands), attrs)
            each = [s.evaluate([e[i] if f else arrays[i] for i, f in enumerate(flags)], attrs) for e in examples]
            for k, result in enumerate(found):
                want = np.stack([r[k] for r in each])
                assert result.value.dtype == want.dtype and result.value.shape == want.shape, f"{name} {flags}"
                np.testing.assert_allclose(result.value, want, rtol=1e-12, atol=1e-12, err_msg=f"{name} {flags}")
