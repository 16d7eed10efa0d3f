"""Tensors among other libraries: numpy, DLPack, buffers, copies, pickles, dtypes and devices, one line a program."""

from __future__ import annotations

import builtins
import contextlib
import copy
import io
import pickle
import warnings

import lamina
import numpy as np
import pytest
from lamina.dialects import flags

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

LINES = r"""
a=np.arange(6.0); t=torch.from_numpy(a); t[0]=9; a[1]=7; print(a, t.tolist())
a=np.arange(6.0).reshape(2,3); t=torch.from_numpy(a.T); print(t.shape, t.stride(), t.is_contiguous()); t[0,1]=5; print(a)
a=np.arange(6.0)[::2]; t=torch.from_numpy(a); print(t.stride(), t); t.add_(1); print(a)
t=torch.arange(4.); n=t.numpy(); n[0]=8; print(t); t.mul_(2); print(n)
t=torch.arange(4.); n=t.numpy(); del n; t+=1; print(t)
t=torch.ones(2,requires_grad=True); t.numpy()
t=torch.ones(2,requires_grad=True); print(t.detach().numpy())
t=torch.arange(3); print(np.asarray(t), np.array(t, dtype=np.float32), np.asarray(t).dtype)
t=torch.arange(3); print(np.array(t, copy=True)); a=np.asarray(t); a[0]=5; print(t)
t=torch.arange(3.); print(np.sin(t), type(np.sin(t)).__name__)
t=torch.arange(3.); print(np.add(t, 1), type(np.add(t,1)).__name__)
t=torch.arange(3.); print(type(t+np.ones(3)).__name__, t+np.ones(3))
t=torch.arange(3.); print(np.float32(2)*t, type(np.float32(2)*t).__name__)
print(torch.as_tensor(np.arange(3)), torch.as_tensor([1,2.5]), torch.as_tensor(3), torch.as_tensor((True,False)))
a=np.zeros(3); t=torch.as_tensor(a); t[0]=1; print(a); t=torch.as_tensor(a,dtype=torch.float32); t[1]=1; print(a)
a=np.zeros(3); t=torch.tensor(a); t[0]=1; print(a, t.dtype)
print(torch.tensor(np.float32(1.5)), torch.tensor(np.int64(3)), torch.tensor(np.bool_(True)), torch.tensor(np.float64(2)))
print(torch.tensor([np.float32(1), np.float32(2)]).dtype, torch.tensor([np.int32(1)]).dtype, torch.tensor(np.array([1],np.int32)).dtype)
print(torch.tensor([torch.tensor(1), torch.tensor(2)]), torch.tensor([torch.tensor(1.5), 2]))
torch.from_numpy(np.array(['a']))
torch.from_numpy([1,2])
torch.from_numpy(np.arange(4)[::-1])
print(torch.from_numpy(np.array(3.0)))
a=np.zeros(3); a.flags.writeable=False; t=torch.from_numpy(a); print(t)
print(torch.frombuffer(bytearray(b'\x01\x02\x03\x04'), dtype=torch.uint8), torch.frombuffer(bytearray(8), dtype=torch.float32))
b=bytearray(4); t=torch.frombuffer(b,dtype=torch.uint8); t[0]=7; print(b); b[1]=3; print(t)
print(torch.frombuffer(bytearray(range(8)), dtype=torch.int16, count=2, offset=2))
torch.frombuffer(bytearray(3), dtype=torch.int32)
torch.frombuffer(bytearray(0), dtype=torch.uint8)
memoryview(torch.arange(3))
bytes(torch.arange(3, dtype=torch.uint8))
t=torch.arange(4.); c=copy.copy(t); c[0]=9; print(t)
t=torch.arange(4.); c=copy.deepcopy(t); c[0]=9; print(t)
t=torch.ones(2,requires_grad=True); c=copy.deepcopy(t); print(c.requires_grad, c.is_leaf)
t=torch.ones(2,requires_grad=True)*2; copy.deepcopy(t)
t=torch.ones(2,requires_grad=True); (t*3).sum().backward(); c=copy.deepcopy(t); print(c.grad)
a=torch.zeros(4); b=a[1:3]; x,y=copy.deepcopy((a,b)); y[0]=5; print(x)
t=torch.arange(6.).reshape(2,3).T; u=pickle.loads(pickle.dumps(t)); print(u, u.stride())
t=torch.ones(2,requires_grad=True); u=pickle.loads(pickle.dumps(t)); print(u)
print(pickle.loads(pickle.dumps([torch.float32, torch.Size([1,2]), torch.device('cpu'), torch.int64])))
print(torch.Size([2,3]).numel(), torch.Size([2,3])+(4,), torch.Size([2,3])[1:], torch.Size((1,))*2, torch.Size([2,3])==(2,3), hash(torch.Size([2]))==hash((2,)))
print(repr(torch.Size([])), isinstance(torch.Size([1]), tuple), torch.Size([1,2]).count(1), torch.Size([5,6]).index(6))
print((1,)+torch.Size([2]), type((1,)+torch.Size([2])).__name__)
print(torch.float32, torch.float, torch.double, torch.half, torch.long, torch.bool, torch.uint8, repr(torch.bfloat16), str(torch.int8))
print(torch.float32.is_floating_point, torch.int32.is_signed, torch.uint8.is_signed, torch.float32.itemsize, torch.bool.itemsize, torch.float32.is_complex)
print(torch.finfo(torch.float32)); print(torch.finfo(torch.float16).eps, torch.finfo(torch.bfloat16).max, torch.finfo(torch.float64).tiny, torch.finfo().bits)
print(torch.iinfo(torch.int8)); print(torch.iinfo(torch.uint8).max, torch.iinfo(torch.int64).min, torch.iinfo(torch.int32).bits)
torch.finfo(torch.int32)
torch.iinfo(torch.float32)
print(torch.finfo(torch.float32) == torch.finfo(torch.float32), torch.finfo(torch.float16).resolution, torch.finfo(torch.float32).smallest_normal, torch.finfo(torch.float32).dtype)
torch.set_default_dtype(torch.float64); print(torch.tensor(1.0).dtype, torch.ones(1), torch.arange(0,1,0.5).dtype, torch.tensor(1.0)); torch.set_default_dtype(torch.float32)
torch.set_default_dtype(torch.int32)
torch.set_default_dtype(torch.float16); print(torch.tensor([1.5]), torch.zeros(1)); torch.set_default_dtype(torch.float32)
print(torch.get_default_dtype())
print(torch.device('cuda:1'), torch.device('cuda', 1), repr(torch.device('cpu')), torch.device('cpu').type, torch.device('cuda:0').index, torch.device('cpu')==torch.device('cpu'))
torch.device('nonsense')
t=torch.arange(4.); n=np.from_dlpack(t); print(n); t[0]=5; print(n)
a=np.arange(4.); t=torch.from_dlpack(a); print(t); a[0]=5; print(t); t[1]=7; print(a)
t=torch.arange(6).reshape(2,3); u=torch.from_dlpack(t.T); print(u, u.stride()); u[0,0]=9; print(t)
np.from_dlpack(torch.ones(2,requires_grad=True))
print(torch.tensor([1,2,3]).tolist(), torch.tensor(1.5).tolist(), torch.tensor([[True]]).tolist(), torch.tensor(3).item())
torch.ones(2).item()
print(float(torch.tensor(2.5)), int(torch.tensor(2.7)), bool(torch.tensor(0)), [1,2,3][torch.tensor(1)], torch.tensor(3).__index__())
print(complex(torch.tensor(2.)))
print(f"{torch.tensor(2.5):.3f}", f"{torch.tensor(3)}", f"{torch.ones(2)}", "%d" % torch.tensor(4), "%.2f" % torch.tensor(1.234))
f"{torch.ones(2):.2f}"
print(len(torch.ones(3,2)), list(torch.arange(3)), torch.tensor(2) in torch.arange(3), 5 in torch.arange(3))
print(torch.arange(3).__array_priority__, torch.ones(2,3).nbytes, torch.ones(2).itemsize, torch.ones(2).element_size(), torch.ones(2,dtype=torch.half).nbytes)
print([x for x in reversed(torch.arange(3))], torch.arange(3).__reversed__())
print(sorted(torch.tensor([3,1,2])), max(torch.tensor([3,1,2])), sum(torch.tensor([1,2])))
print(torch.arange(3).numpy(force=True), torch.ones(1,requires_grad=True).numpy(force=True))
print(torch.tensor([1.0]).untyped_storage().nbytes(), torch.ones(2,3)[1].untyped_storage().size(), torch.ones(3).storage().size())
print(torch.is_tensor(1), torch.is_tensor(torch.ones(1)), torch.is_storage(torch.ones(1).untyped_storage()), torch.numel(torch.ones(2,2)))
print(torch.promote_types(torch.uint8,torch.int8), torch.result_type(torch.ones(1,dtype=torch.int32), 1.5), torch.can_cast(torch.float, torch.int), torch.can_cast(torch.uint8, torch.int8))
print(torch.result_type(torch.tensor(1), torch.tensor([1.],dtype=torch.half)), torch.result_type(2, 3.0))
print(torch.ones(2).type(), torch.ones(2).type(torch.int), torch.ones(2).type('torch.DoubleTensor'), isinstance(torch.ones(1), torch.FloatTensor), isinstance(torch.ones(1), torch.Tensor))
print(torch.FloatTensor([1,2]), torch.LongTensor(2).shape, torch.Tensor(2,3).shape, torch.Tensor([1,2]), torch.tensor([]), torch.empty(0,3))
print(torch.ones(2).is_cuda, torch.ones(2).is_cpu, torch.ones(1).is_sparse, torch.ones(1).layout, torch.ones(1).device, torch.ones(1).is_leaf, torch.ones(1).is_quantized)
print(torch.ones(1).is_same_size(torch.ones(1)), torch.ones(1).is_nonzero(), torch.is_nonzero(torch.tensor(0)), torch.ones(1).is_inference(), torch.ones(1).is_pinned(), torch.ones(2,3).dim_order())
x=torch.ones(2,3); x.T.data_ptr()==x.data_ptr() and print('same')
print(torch.tensor(3.0).__repr__(), str(torch.tensor(2)))
torch.testing.assert_close(torch.ones(3), torch.ones(3) + 1e-7); torch.testing.assert_close(torch.ones(2), torch.ones(2) * 1.1)
torch.testing.assert_close([1.0, torch.ones(1)], [1.0, torch.ones(1)]); torch.testing.assert_close(torch.ones(2), torch.ones(2).double())
print(torch.hann_window(5), torch.hamming_window(4, False), torch.blackman_window(4)[1:], torch.bartlett_window(5), torch.signal.windows.gaussian(4))
print(torch.lgamma(torch.tensor([0.5, -1.5, 3.0])), torch.digamma(torch.tensor([1.0, -0.5])), torch.special.zeta(torch.tensor(2.0), torch.tensor(1.0)))
print(torch.frexp(torch.tensor([1.5, -8.0, 0.0])), torch.nonzero_static(torch.tensor([0, 1, 2]), size=3), torch.logcumsumexp(torch.arange(3.0), 0))
x = torch.zeros(4, 5); x.as_strided((4,), (6,), 0).fill_(1.0); print(x); x = torch.arange(6.0); x.as_strided_((2, 2), (3, 1), 1); print(x)
print(torch.vander(torch.arange(3.0)), torch.angle(torch.tensor([1.0, -2.0])), torch.real(torch.ones(2)), torch.conj(torch.ones(2)), torch.fft.fftfreq(5), torch.fft.fftshift(torch.arange(5)))
"""


def outcome(module: object, line: str) -> tuple[str, str]:
    """What a line prints, and the built-in class of what it raises."""
    out = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(out):
        warnings.simplefilter("ignore")
        try:
            exec(line, {"torch": module, "np": np, "copy": copy, "pickle": pickle})  # noqa: S102  # our own lines
        except Exception as error:
            kind = next(c.__name__ for c in type(error).__mro__ if hasattr(builtins, c.__name__))
            return out.getvalue(), kind
    return out.getvalue(), ""


@pytest.mark.parametrize("line", LINES.strip().splitlines())
def test_as_pytorch(line: str) -> None:
    want = outcome(torch, line)
    with flags.device("numpy"):
        got = outcome(lamina, line)
    if want[1] == "RuntimeError" and got[1] == "NotImplementedError":
        pytest.fail("unsupported")
    assert got == want


DOUBTS = """
F.embedding(torch.arange(3) * 3, torch.ones(4, 2)) | F.embedding(torch.tensor([-1]), torch.ones(4, 2)) | F.embedding(torch.tensor([1, 3]), torch.ones(4, 2))
F.cross_entropy(torch.ones(3, 4), torch.arange(3) * 3) | F.cross_entropy(torch.ones(2, 4), torch.tensor([0, 4])) | F.nll_loss(torch.ones(3, 4), torch.arange(3) * 2)
torch.tensor([1, 2]) // torch.tensor([0, 1]) | torch.tensor([1, 2]) // 0 | torch.tensor([1, 2]) % 0 | torch.arange(3) // torch.arange(3) | torch.arange(3) // 2
torch.tensor([1, 2]).fmod(0) | torch.div(torch.arange(3), 0, rounding_mode="trunc") | 7 // torch.arange(1, 3) | 7 % torch.arange(3) | torch.tensor([1.0]) // 0
torch.ones(4)[torch.arange(3) * 2] | torch.zeros(4, 3).index_add(0, torch.arange(3) * 3, torch.ones(3, 3)) | F.nll_loss(torch.ones(2, 4), torch.arange(2) - 100, ignore_index=-100)
""".strip().replace("\n", " | ").split(" | ")


@pytest.mark.parametrize("expression", DOUBTS)
def test_indices_outside_and_divisors_of_zero(expression: str) -> None:
    """Computed ones too: the error comes, at the latest, when the value is wanted."""
    line = f"F = torch.nn.functional; r = {expression}; print(r)"
    want = outcome(torch, line)
    with flags.device("numpy"):
        assert outcome(lamina, line) == want


def test_a_doubt_names_the_line_and_is_gone() -> None:
    with flags.device("numpy"):
        index = lamina.arange(3) * 3
        rows = lamina.nn.functional.embedding(index, lamina.ones(4, 2))
        with pytest.raises(IndexError, match=r"test_sharing.py:\d+   rows = "):
            rows.sum().item()
        assert (lamina.arange(3) + 1).sum().item() == 6


def test_capsules_share() -> None:
    t = lamina.arange(3.0)
    u = lamina.utils.dlpack.from_dlpack(lamina.utils.dlpack.to_dlpack(t))
    u[0] = 4
    assert t.tolist() == [4.0, 1.0, 2.0]
    theirs = torch.arange(4.0)
    mine = lamina.from_dlpack(theirs)
    mine[1] = 9
    assert theirs[1] == 9
    back = torch.from_dlpack(mine)
    back[2] = 8
    assert mine.tolist() == [0.0, 9.0, 8.0, 3.0]


def test_pickled_together_views_share() -> None:
    a = lamina.zeros(4)
    x, y = pickle.loads(pickle.dumps((a, a[1:3])))  # noqa: S301  # our own bytes
    y[0] = 5
    assert x.tolist() == [0.0, 5.0, 0.0, 0.0]


def test_one_element_of_a_leaf_that_is_a_part() -> None:
    leaf = lamina.arange(4.0)[1:].detach().requires_grad_()
    one = lamina.as_strided(leaf, (), ())
    (one * 3).backward()
    assert one.item() == 1 and leaf.grad.tolist() == [3.0, 0.0, 0.0]


def test_strided_views_alias_as_in_pytorch() -> None:
    """Whatever slices and reshapes can express shares memory; the elements are right in any case."""
    rng = np.random.default_rng(0)
    views = 0
    with flags.device("numpy"):
        for _ in range(120):
            rank = int(rng.integers(0, 4))
            size, stride = rng.integers(1, 5, rank).tolist(), rng.choice([0, 1, 2, 3, 4, 6, 8, 12], rank).tolist()
            offset = int(rng.integers(0, 7))
            if offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) >= 30:
                continue
            ours, theirs = lamina.arange(30.0), torch.arange(30.0)
            x, y = ours.as_strided(size, stride, offset), theirs.as_strided(size, stride, offset)
            assert x.tolist() == y.tolist()
            if x.data_ptr() == ours.data_ptr() + 4 * offset and len(set(x.reshape(-1).tolist())) == x.numel():
                views += 1
                x.fill_(-1)
                y.fill_(-1)
                assert ours.tolist() == theirs.tolist()
    assert views > 40
