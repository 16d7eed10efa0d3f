"""Sparse tensors against PyTorch: what is kept, how it is printed, what is computed with it and its gradients."""

import warnings

import lamina
import lamina.sparse
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lamina.dialects import flags

warnings.filterwarnings("ignore", category=UserWarning)
BOTH = (lamina, torch)


def _plain(x):
    if isinstance(x, tuple):
        return [_plain(y) for y in x]
    if not hasattr(x, "shape") or isinstance(x, np.ndarray):
        return x
    dense = x.detach().to_dense() if "sparse" in str(x.layout) else x.detach()
    return str(x.layout), str(x.dtype), tuple(x.shape), np.round(np.asarray(dense.numpy(), np.float64), 4).tolist()


def _matrix(t, **options):
    return t.sparse_coo_tensor([[0, 1, 1, 0], [2, 0, 2, 2]], [3.0, 4.0, 5.0, 1.0], (2, 3), **options)


SAME = [
    lambda t: t.sparse.mm(_matrix(t), t.arange(6.0).reshape(3, 2)),
    lambda t: (t.ones(2, 3).dense_dim(), t.ones(2, 3).sparse_dim(), _matrix(t).sparse_dim(), _matrix(t).dense_dim()),
    lambda t: t.mm(_matrix(t), t.arange(6.0).reshape(3, 2)),
    lambda t: _matrix(t) @ t.arange(3.0),
    lambda t: t.arange(4.0).reshape(2, 2) @ _matrix(t).to_dense(),
    lambda t: t.sparse.mm(_matrix(t), _matrix(t).t()),
    lambda t: t.sparse.addmm(t.ones(2, 2), _matrix(t), t.ones(3, 2), beta=2, alpha=3),
    lambda t: _matrix(t) + _matrix(t).coalesce(),
    lambda t: _matrix(t) - _matrix(t) * 2,
    lambda t: t.add(t.ones(2, 3), _matrix(t)),
    lambda t: t.ones(2, 3) + _matrix(t),
    lambda t: (_matrix(t) * 2 / 4).coalesce(),
    lambda t: _matrix(t) * _matrix(t),
    lambda t: _matrix(t).t(),
    lambda t: _matrix(t).transpose(0, 1).coalesce().indices(),
    lambda t: _matrix(t)[0],
    lambda t: _matrix(t).sum(),
    lambda t: t.sparse.sum(_matrix(t), 0),
    lambda t: t.sparse.sum(_matrix(t), (0, 1)),
    lambda t: t.sparse.softmax(_matrix(t), 1),
    lambda t: t.sparse.softmax(_matrix(t), 0),
    lambda t: t.sparse.log_softmax(_matrix(t), 1).to_dense(),
    lambda t: t.tensor([[0, 2.0], [3, 0]]).to_sparse(),
    lambda t: t.tensor([[[0, 2.0], [0, 0]], [[1, 0], [0, 4]]]).to_sparse(2),
    lambda t: t.sparse_coo_tensor([[1, 1]], [[1.0, 2], [3, 4]]).coalesce(),
    lambda t: t.sparse_coo_tensor((2, 3)),
    lambda t: t.sparse_coo_tensor([[0, 2]], [1, 2], dtype=t.float64),
    lambda t: t.tensor([[0, 2.0], [3, 0]]).to_sparse_csr(),
    lambda t: t.tensor([[0, 2.0], [3, 1]]).to_sparse_csr() @ t.arange(4.0).reshape(2, 2),
    lambda t: t.sparse_csr_tensor([0, 1, 3], [1, 0, 2], [1.0, 2, 3]),
    lambda t: _matrix(t).to_sparse_csr().crow_indices(),
    lambda t: (_matrix(t)._nnz(), _matrix(t).sparse_dim(), _matrix(t).dense_dim(), _matrix(t).is_coalesced(), _matrix(t).is_sparse),
]


@pytest.mark.parametrize("i", range(len(SAME)))
def test_same_as_pytorch(i):
    with flags.device("numpy"):  # gathers and sums that other tests compile
        ours, theirs = (_plain(SAME[i](t)) for t in BOTH)
    assert ours == theirs


TEXTS = [
    lambda t: _matrix(t), lambda t: _matrix(t).coalesce(), lambda t: t.sparse_coo_tensor([[0, 2]], [1, 2]),
    lambda t: t.sparse_coo_tensor([[1, 1]], [[1.0, 2], [3, 4]]), lambda t: t.tensor([[0, 2.0], [3, 0]]).to_sparse_csr(),
    lambda t: t.ones(2, 3).to_sparse_csr(), lambda t: t.sparse_coo_tensor([[0, 2]], [1.0, 2], dtype=t.float64),
    lambda t: t.sparse_coo_tensor([[0, 2]], [1.0, 2], requires_grad=True),
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_text(text):
    assert repr(text(lamina)) == repr(text(torch))


REFUSED = [
    lambda t: _matrix(t).indices(), lambda t: _matrix(t).values(), lambda t: t.sparse_coo_tensor([[0, 1]], [1.0, 2, 3], (2,)),
    lambda t: t.ones(2).coalesce(), lambda t: t.ones(2).indices(), lambda t: _matrix(t).numpy(),
    lambda t: _matrix(t) + t.ones(2, 3),
]  # fmt: skip


@pytest.mark.parametrize("program", REFUSED)
def test_errors(program):
    said = []
    for t in BOTH:
        with pytest.raises((RuntimeError, TypeError)) as raised:
            program(t)
        said.append((raised.type.__name__, str(raised.value).split("\n")[0]))
    assert said[0] == said[1]
    with pytest.raises(RuntimeError, match="for dim 0, size is 2 but found index 5"):
        lamina.sparse_coo_tensor([[0, 5]], [1.0, 2.0], (2,))
    with pytest.raises(Exception, match="not there for sparse tensors"):
        _matrix(lamina).cumsum(0)


def _trained(t):
    """A layer of a graph network: gradients of the values, of the dense side, and through softmax."""
    values = t.tensor([1.0, -2, 3, 0.5], requires_grad=True)
    w = t.arange(6.0).reshape(3, 2).div(5).requires_grad_()
    s = t.sparse_coo_tensor(t.tensor([[0, 1, 1, 0], [2, 0, 2, 2]]), values, (2, 3))
    loss = (t.sparse.mm(s, w) ** 2).sum() + (t.sparse.softmax(s, 1).to_dense() * t.arange(3.0)).sum() + (s.to_dense() ** 3).sum()
    loss.backward()
    return [loss, values.grad, w.grad]


def test_gradients():
    for ours, theirs in zip(*(_trained(t) for t in BOTH), strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-5)
    x = lamina.tensor([[0.0, 2], [3, 0]], requires_grad=True)
    (x.to_sparse() @ lamina.ones(2, 1)).pow(2).sum().backward()
    assert x.grad.tolist() == [[0, 4], [6, 0]]
    s = _matrix(lamina).coalesce().requires_grad_()
    lamina.sparse.mm(s, lamina.ones(3, 1)).sum().backward()
    assert s.grad.is_sparse and s.grad.values().tolist() == [1, 1, 1]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_products_of_any_pattern(data):
    m, k, n = (data.draw(st.integers(1, 4)) for _ in range(3))
    count = data.draw(st.integers(0, 7))
    rows = [[data.draw(st.integers(0, d - 1)) for _ in range(count)] for d in (m, k)]
    values = [float(data.draw(st.integers(-3, 3))) for _ in range(count)]
    with flags.device("numpy"):
        ours, theirs = (t.sparse_coo_tensor(rows, t.tensor(values), (m, k)) for t in BOTH)
        assert _plain(ours) == _plain(theirs) and _plain(ours.coalesce()) == _plain(theirs.coalesce())
        dense = np.arange(k * n, dtype=np.float32).reshape(k, n)
        assert _plain(ours @ lamina.tensor(dense)) == _plain(theirs @ torch.tensor(dense))
        assert _plain(lamina.sparse.mm(ours, ours.t()).to_dense()) == _plain(torch.sparse.mm(theirs, theirs.t()).to_dense())


def test_functions_with_sparse_forms_are_one_object():
    from lamina.pyfront import public

    assert public.names()["add"] is lamina.add is public.names()["add"]


def test_a_module_that_is_given_a_sparse_tensor():
    def trained(t):
        class Convolution(t.nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = t.nn.Parameter(t.arange(6.0).reshape(3, 2))

            def forward(self, features, adjacent):
                return t.spmm(adjacent, t.mm(features, self.weight))

        layer = Convolution()
        adjacent = t.eye(2).to_sparse()
        for _ in range(3):
            layer.zero_grad()
            layer(_matrix(t), adjacent).square().sum().backward()
        return layer.weight.grad.tolist()

    assert trained(lamina) == trained(torch)
