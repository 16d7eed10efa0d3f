"""Embeddings with sparse gradients against PyTorch: what arrives, how it adds up, and the optimizers that take it."""

import warnings

import lamina
import numpy as np
import pytest
import torch

warnings.filterwarnings("ignore", category=UserWarning)
BOTH = (lamina, torch)
INDEX = [[0, 2, 1], [2, 5, 2]]
_NEAR = pytest.approx([0.0])


def _plain(x):
    if not isinstance(x, BOTH[0].Tensor | BOTH[1].Tensor):
        return x
    if x.is_sparse:
        return "sparse", tuple(x.shape), x._indices().tolist(), _near(x._values())
    return str(x.dtype).split(".")[-1], tuple(x.shape), _near(x)


def _near(x):
    return pytest.approx(x.detach().numpy().ravel().tolist(), rel=1e-4, abs=1e-5)


def _same(call):
    found = []
    for t in BOTH:
        t.manual_seed(0)
        try:
            result = call(t)
            found.append([_plain(x) for x in result] if isinstance(result, (tuple, list)) else _plain(result))
        except Exception as error:  # noqa: BLE001  # whatever PyTorch raises
            found.append((type(error).__mro__[-4:], str(error)[:60]))
    assert repr(found[0]) == repr(found[1]) or _agree(*found)


def _agree(mine, theirs):
    """Equal but for numbers that are near each other."""
    if isinstance(mine, (list, tuple)):
        assert type(mine) is type(theirs) and len(mine) == len(theirs), (mine, theirs)
        return all(_agree(a, b) for a, b in zip(mine, theirs, strict=True))
    if isinstance(mine, type(_NEAR)):
        assert theirs == mine.expected
        return True
    assert mine == theirs
    return True


def _embedding(t, loss=lambda y: y.pow(2).sum(), **options):
    e = t.nn.Embedding(6, 2, sparse=True, **options)
    loss(e(t.tensor(INDEX))).backward()
    return e.weight


def _bag(t, mode, weights=False, **options):
    e = t.nn.EmbeddingBag(6, 2, sparse=True, mode=mode, **options)
    each = {"per_sample_weights": t.tensor([[1.0, 2, 3], [4, 5, 6]])} if weights else {}
    e(t.tensor(INDEX), **each).pow(2).sum().backward()
    return e.weight.grad


def _again(t, other):
    weight = _embedding(t)
    first = weight.grad
    t.nn.functional.embedding(t.tensor(other), weight, sparse=True).sum().backward()
    return weight.grad.to_dense(), weight.grad is first, weight.grad.layout is t.sparse_coo


def _through(t):
    weight = t.ones(6, 2, requires_grad=True)
    t.nn.functional.embedding(t.tensor(INDEX), weight * 2, sparse=True).sum().backward()
    return weight.grad.to_dense()


def _mixed(t, order):
    weight = t.nn.Parameter(t.ones(6, 2))
    losses = {"s": lambda: t.nn.functional.embedding(t.tensor(INDEX), weight, sparse=True).sum(), "d": lambda: (weight**2).sum()}
    if order == "both":
        (losses["s"]() + losses["d"]()).backward()
    else:
        for which in order:
            losses[which]().backward()
    return weight.grad.is_sparse, weight.grad.to_dense()  # which of two equal indices are kept apart is PyTorch's own business


def _asked(t):
    weight = t.nn.Parameter(t.ones(6, 2))
    other = t.nn.Parameter(t.ones(6, 2))
    y = t.nn.functional.embedding(t.tensor(INDEX), weight, sparse=True) * t.nn.functional.embedding(t.tensor(INDEX), other)
    a, b = t.autograd.grad(y.sum(), [weight, other])
    return a, b, weight.grad


def _hooked(t):
    weight = t.nn.Parameter(t.ones(6, 2))
    weight.register_hook(lambda g: g * 3)
    t.nn.functional.embedding(t.tensor(INDEX), weight, sparse=True).sum().backward()
    return weight.grad


def _twice(t):
    weight = t.nn.Parameter(t.ones(6, 2))
    y = t.nn.functional.embedding(t.tensor(INDEX), weight, sparse=True).sum()
    y.backward()
    y.backward()


def _kept(t):
    weight = t.nn.Parameter(t.ones(6, 2))
    y = t.nn.functional.embedding(t.tensor(INDEX), weight, sparse=True).sum()
    y.backward(retain_graph=True)
    y.backward()
    return weight.grad.is_sparse, weight.grad.to_dense()


def _recorded(t):
    weight = t.nn.Parameter(t.arange(12.0).reshape(6, 2))
    y = t.nn.functional.embedding(t.tensor(INDEX), weight, sparse=True)
    (g,) = t.autograd.grad(y.pow(3).sum(), weight, create_graph=True)
    g.to_dense().sum().backward()
    return g, weight.grad.to_dense()


CALLS = [
    lambda t: _embedding(t).grad,
    lambda t: _embedding(t, padding_idx=2).grad,
    lambda t: _embedding(t, padding_idx=-1, max_norm=0.5).grad,
    lambda t: _embedding(t, scale_grad_by_freq=True).grad,
    lambda t: _bag(t, "sum"),
    lambda t: _bag(t, "mean"),
    lambda t: _bag(t, "max"),
    lambda t: _bag(t, "sum", True),
    lambda t: _bag(t, "mean", padding_idx=2),
    lambda t: _again(t, INDEX),
    lambda t: _again(t, [[1, 1], [5, 0]]),
    _through, _asked, _hooked, _twice, _kept, _recorded,
    lambda t: _mixed(t, "both"), lambda t: _mixed(t, "sd"), lambda t: _mixed(t, "ds"), lambda t: _mixed(t, "ss"),
    lambda t: _embedding(t).grad.norm(),
    lambda t: _embedding(t).grad.coalesce().mul_(2).div_(4),
    lambda t: t.arange(12.0).reshape(6, 2).sparse_mask(_embedding(t).grad.coalesce()),
]  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_gradients(call):
    _same(call)


def test_zeroed_gradients_keep_nothing():
    for t in BOTH:
        weight = _embedding(t)
        t.optim.SGD([weight], lr=0.1).zero_grad(set_to_none=False)
        assert weight.grad.is_sparse and weight.grad._nnz() == 0 and tuple(weight.grad.shape) == (6, 2)


@pytest.mark.parametrize("clip", ["clip_grad_norm_", "clip_grad_value_"])
def test_clipping_is_refused(clip):
    for t in BOTH:
        weight = _embedding(t)
        with pytest.raises(NotImplementedError):
            getattr(t.nn.utils, clip)([weight], 0.1)


def _trained(t, name, options):
    embedding, head = t.nn.Embedding(20, 4, sparse=True), t.nn.Linear(4, 1)
    optimizers = [getattr(t.optim, name)(embedding.parameters(), **options), t.optim.Adam(head.parameters(), lr=0.05)]
    index = t.tensor(np.random.default_rng(0).integers(0, 20, (6, 3, 5)))
    losses = []
    for batch in index:
        loss = (head(embedding(batch)).squeeze(-1) - 1).pow(2).mean()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(round(loss.item(), 4))
    state = optimizers[0].state[embedding.weight]
    kept = [v.to_dense() if v.is_sparse else v for k, v in sorted(state.items()) if hasattr(v, "is_sparse") and k != "step"]
    return [*map(str, losses), embedding.weight, *kept, *sorted(state)]


@pytest.mark.parametrize(
    "name,options",
    [
        ("SGD", {"lr": 0.1}),
        ("SGD", {"lr": 0.1, "momentum": 0.9}),
        ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        ("SGD", {"lr": 0.1, "momentum": 0.8, "dampening": 0.3, "maximize": True}),
        ("SGD", {"lr": 0.1, "weight_decay": 0.1}),
        ("Adagrad", {"lr": 0.1}),
        ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.5}),
        ("Adagrad", {"lr": 0.1, "weight_decay": 0.1}),
        ("SparseAdam", {"lr": 0.1}),
        ("SparseAdam", {"lr": 0.1, "betas": (0.5, 0.9), "maximize": True}),
        *[(name, {"lr": 0.1}) for name in ("Adam", "AdamW", "RMSprop", "Adadelta", "Adamax", "NAdam", "RAdam", "ASGD", "Rprop")],
    ],
)
def test_optimizers(name, options):
    _same(lambda t: _trained(t, name, options))


def test_optimizers_of_both_kinds_of_gradients():
    def both(t):
        model = t.nn.Sequential(t.nn.EmbeddingBag(8, 3, sparse=True, mode="sum"), t.nn.Linear(3, 1))
        optimizer = t.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(4):
            optimizer.zero_grad()
            model(t.tensor([[1, 2], [3, 1]])).pow(2).sum().backward()
            optimizer.step()
        return list(model.parameters())

    _same(both)


def test_sparse_adam_refuses_dense_gradients_and_parameters_that_are_not():
    def dense(t):
        layer = t.nn.Linear(2, 2)
        layer(t.ones(1, 2)).sum().backward()
        t.optim.SparseAdam(layer.parameters()).step()

    _same(dense)
    _same(lambda t: t.optim.SparseAdam([t.nn.Parameter(t.ones(2, dtype=t.complex64))]))
    _same(lambda t: t.optim.SparseAdam([t.nn.Parameter(t.ones(2))], lr=0.0))
    _same(lambda t: t.optim.SparseAdam([t.nn.Parameter(t.ones(2))], betas=(1.0, 0.9)))


def test_state_of_sparse_adam_is_saved_and_loaded():
    def again(t):
        first = t.nn.Embedding(6, 2, sparse=True)
        optimizer = t.optim.SparseAdam(first.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            first(t.tensor(INDEX)).pow(2).sum().backward()
            optimizer.step()
        second = t.nn.Embedding(6, 2, sparse=True)
        second.load_state_dict(first.state_dict())
        other = t.optim.SparseAdam(second.parameters(), lr=0.5)
        other.load_state_dict(optimizer.state_dict())
        second(t.tensor(INDEX)).pow(2).sum().backward()
        other.step()
        return second.weight, other.state_dict()["state"][0]["step"]

    _same(again)
