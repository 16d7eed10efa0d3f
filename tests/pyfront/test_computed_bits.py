"""view(dtype): memory as numbers of another dtype, against PyTorch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lamina
from lamina.dialects import flags

DTYPES = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 complex64 complex128".split()



def _both(source, shape, seed=0):
    raw = np.random.default_rng(seed).integers(0, 64, int(np.prod(shape)) * getattr(torch, source).itemsize, np.uint8)
    theirs = torch.from_numpy(raw.copy()).view(getattr(torch, source)).reshape(shape)
    ours = lamina.tensor(raw).view(getattr(lamina, source)).reshape(shape)
    return ours, theirs


def _same(ours, theirs):
    assert tuple(ours.shape) == tuple(theirs.shape) and str(ours.dtype) == str(theirs.dtype)
    a, b = (t.cat([x.reshape(-1)] * 2).view(t.uint8).numpy() for t, x in ((lamina, ours), (torch, theirs)))
    assert (a == b).all()


@pytest.mark.parametrize(("device", "dtypes"), [("numpy", DTYPES), ("c", ["float32", "bfloat16", "int64", "uint8", "complex64"])])
def test_every_pair_of_dtypes_in_one_program(device, dtypes):
    found = []
    with flags.device(device):
        for source in dtypes:
            ours, theirs = _both(source, (3, 16))
            for target in dtypes:
                computed = lamina.cat([ours.view(lamina.uint8)] * 2)[:3]  # nothing that the host has
                seen = computed.view(getattr(lamina, source)).view(getattr(lamina, target)).view(lamina.uint8)
                found.append((seen, theirs.view(getattr(torch, target)).view(torch.uint8)))
        lamina.synchronize()
    for seen, expected in found:
        assert (seen.numpy() == expected.numpy()).all()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
@pytest.mark.slow
def test_chains_of_views_share_memory(data):
    """Slices, permutations and bit views of one memory: strides, offset, values, errors, and writes through the end."""
    source = data.draw(st.sampled_from(DTYPES))
    with flags.device("numpy"):  # nothing here is compiled: what the steps mean was seen above
        _chain(data, source)


def _chain(data, source):
    ours, theirs = _both(source, (4, 8), data.draw(st.integers(0, 9)))
    whole = ours, theirs
    for _ in range(data.draw(st.integers(1, 4))):
        kind = data.draw(st.sampled_from(["bits", "slice", "transpose"]))
        if kind == "slice" and theirs.dim():
            axis = data.draw(st.integers(0, theirs.dim() - 1))
            start = data.draw(st.integers(0, max(theirs.shape[axis] - 1, 0)))
            step = data.draw(st.sampled_from([1, 1, 2]))
            at = (*[slice(None)] * axis, slice(start, None, step))
            ours, theirs = ours[at], theirs[at]
        elif kind == "transpose":
            ours, theirs = ours.t(), theirs.t()
        else:
            target = data.draw(st.sampled_from(DTYPES))
            try:
                theirs = theirs.view(getattr(torch, target))
            except RuntimeError as error:
                with pytest.raises(RuntimeError) as raised:
                    ours.view(getattr(lamina, target))
                assert str(raised.value).split("\n")[0] == str(error).split("\n")[0]
                continue
            ours = ours.view(getattr(lamina, target))
        assert tuple(ours.stride()) == theirs.stride() and ours.storage_offset() == theirs.storage_offset()
    _same(ours, theirs)
    ours.fill_(3), theirs.fill_(3)
    _same(whole[0], whole[1])


def test_views_have_no_history_and_truth_values_are_bytes():
    x = lamina.ones(3, requires_grad=True)
    assert not x.view(lamina.int32).requires_grad
    assert not torch.ones(3, requires_grad=True).view(torch.int32).requires_grad
    flags_ = lamina.tensor([True, False, True])
    assert flags_.view(lamina.uint8).tolist() == [1, 0, 1]
    bits = lamina.tensor([1, 0, 1], dtype=lamina.uint8)
    seen = bits.view(lamina.bool)
    bits[1] = 1
    assert seen.tolist() == [True] * 3 and lamina.tensor(1.0).view(dtype=lamina.int32).item() == 0x3F800000


def test_memory_of_numpy_is_seen_both_ways():
    array = np.arange(4, dtype=np.float32)
    seen = lamina.from_numpy(array).view(lamina.int16)
    array[0] = 1
    assert seen[1].item() == 0x3F80
    seen[1] = 0
    assert array[0] == 0
