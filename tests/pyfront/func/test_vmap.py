"""vmap against PyTorch: ops of every kind on a batch, dimensions and trees, random numbers, writes, and what is refused."""

from __future__ import annotations

import pytest

from ..witness import agree, outcome, same

pytestmark = pytest.mark.torch


def data(t):
    t.manual_seed(0)
    return t.randn(3, 4, 5, dtype=t.float64), t.tensor([[0, -1, 2], [1, 1, 0], [3, 2, -3]])


def write(a, j):
    b = a.clone()
    b[j] = 7.0
    b[0, 1:] += a[1, 1:]
    b[:, 2].mul_(3)
    return b


def eye(t):
    return t.eye(4, dtype=t.float64)


# Functions of one example x[4, 5] and its indices i[3].
OPS = {
    "take rows": lambda t, a, j: a[j],
    "take columns": lambda t, a, j: a[:, j],
    "take pairs": lambda t, a, j: a[j, j],
    "take from the same": lambda t, a, j: data(t)[0][0][j],
    "gather": lambda t, a, j: a.gather(0, j.abs().unsqueeze(1) % 4),
    "scatter_add": lambda t, a, j: t.zeros(4, 5, dtype=t.float64).scatter_add(0, j.abs().unsqueeze(1), a),
    "index_add": lambda t, a, j: a.index_add(0, j.abs(), t.ones(3, 5, dtype=t.float64)),
    "setitem": lambda t, a, j: write(a, j),
    "gradient of setitem": lambda t, a, j: t.func.grad(lambda a: (write(a, j) ** 2).sum())(a),
    "losses": lambda t, a, j: (
        t.nn.functional.cross_entropy(a, t.tensor([0, 1, 2, 3])), t.nn.functional.mse_loss(a, a * 0),
        t.func.grad(lambda a: t.nn.functional.cross_entropy(a, t.tensor([0, 1, 2, 3])))(a),
    ),
    "sorting": lambda t, a, j: (*a.sort(-1, descending=True), *a.topk(2), a.argsort(0), *a.median(0), a.median(), *a.kthvalue(2, 1)),
    "scans": lambda t, a, j: (a.cumsum(1).cumprod(0), *a.cummax(1)),
    "folds": lambda t, a, j: (a.var(), a.std(0), a.mean(), a.logsumexp(1), a.prod(0), a.amax(), *a.max(1), a.argmax(), a.norm()),
    "gradients of folds": lambda t, a, j: t.func.grad(lambda a: a.norm() + a.prod(0).sum() + a.amax() + a.var())(a),
    "products": lambda t, a, j: (
        t.einsum("ij,kj->ik", a, a), t.einsum("ij,bkj->bik", a, data(t)[0]), t.bmm(data(t)[0], a.t().expand(3, 5, 4)), a @ a[0],
    ),
    "softmax": lambda t, a, j: t.func.grad(lambda a: a.softmax(0).log_softmax(1)[0, 0])(a),
    "layer_norm": lambda t, a, j: t.func.grad(lambda a: t.nn.functional.layer_norm(a, (5,)).pow(3).sum())(a),
    "attention": lambda t, a, j: t.nn.functional.scaled_dot_product_attention(a[None], a[None], a[None]),
    "pooling": lambda t, a, j: (t.nn.functional.max_pool1d(a[None], 2), t.nn.functional.avg_pool1d(a[None], 3, 1)),
    "convolution by the example": lambda t, a, j: t.nn.functional.conv1d(a[None], a[None, :, :2]),
    "views": lambda t, a, j: (
        a.flip(0), a.roll(1, 1), a.t(), a.reshape(-1), a.unfold(1, 2, 1), t.cat([a, a * 2], 1), t.stack([a, a]), a.triu(),
        a.diagonal(), a.repeat(2, 1), *a.chunk(2), a[..., None, ::2],
    ),
    "masks": lambda t, a, j: (t.where(a > 0, a, -a.exp()), a.masked_fill(a > 0, 0.0), (a > 0).all(0), a.count_nonzero()),
    "dtypes": lambda t, a, j: a.float().double().to(t.int64),
    "one_hot": lambda t, a, j: t.nn.functional.one_hot(j.abs(), 5),
    "searching": lambda t, a, j: (t.searchsorted(a.sort().values, a), t.bucketize(a, t.tensor([0.0, 1.0], dtype=t.float64))),
    "decompositions": lambda t, a, j: (
        t.linalg.svdvals(a), t.linalg.det(a @ a.t()), t.linalg.cholesky(a @ a.t() + eye(t)), t.linalg.solve(a @ a.t() + eye(t), a),
        t.func.grad(lambda a: t.linalg.inv(a @ a.t() + eye(t)).sum() + t.linalg.svdvals(a).pow(2).sum())(a),
    ),
    "shapes": lambda t, a, j: a * a.shape[0] + a.dim() + a.numel(),
}  # fmt: skip


@pytest.mark.parametrize("name", OPS)
def test_ops(name):
    agree(lambda t: t.func.vmap(lambda a, j: OPS[name](t, a, j))(*data(t)))


PROGRAMS = {
    "in_dims": lambda t, x, i: t.func.vmap(lambda a, b: a @ b, in_dims=(2, None))(x, x[0]),
    "negative in_dims": lambda t, x, i: t.func.vmap(lambda a: a.sum(1), in_dims=-2)(x),
    "out_dims": lambda t, x, i: t.func.vmap(lambda a: (a, a.sum()), out_dims=(1, 0))(x),
    "last out_dim": lambda t, x, i: t.func.vmap(lambda a: a, out_dims=-1)(x),
    "nothing batched comes out": lambda t, x, i: t.func.vmap(lambda a: (t.ones(2), 3), out_dims=(0, None))(x),
    "trees": lambda t, x, i: t.func.vmap(lambda d: {"r": d["a"] * d["b"]}, in_dims=({"a": 0, "b": None},))({"a": x, "b": x[0]}),
    "chunks": lambda t, x, i: t.func.vmap(lambda a: (a * 2, a.sum()), out_dims=(1, 0), chunk_size=2)(x),
    "nested": lambda t, x, i: t.vmap(t.vmap(lambda a, b: a * b, in_dims=(0, None)), in_dims=(None, 0))(x[0, 0], x[1, 1]),
    "keywords": lambda t, x, i: t.func.vmap(lambda a, scale: a * scale)(x, scale=2.0),
    "write to the input": lambda t, x, i: (t.func.vmap(lambda a: a.add_(1), in_dims=1)(x), x),
    "write to new memory": lambda t, x, i: t.func.vmap(lambda a: a.new_zeros(4, 5).add_(a))(x),
    "no history inside no_grad": lambda t, x, i: no_grad(t, x),
    "several seeds": lambda t, x, i: seeds(t, x),
}  # fmt: skip


def no_grad(t, x):
    x.requires_grad_()

    def program(a):
        with t.no_grad():
            b = a * 2
        return (a * b).sum()

    t.func.vmap(program)(x).sum().backward()
    return x.grad


def seeds(t, x):
    w = t.ones(5, dtype=t.float64, requires_grad=True)
    y = (x[0] * w).sin()
    rows = t.eye(20, dtype=t.float64).reshape(20, 4, 5)
    batched = t.autograd.grad(y, w, rows, is_grads_batched=True, retain_graph=True)[0]
    return batched, t.func.vmap(lambda g: t.autograd.grad(y, w, g, retain_graph=True)[0])(rows)


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name):
    agree(lambda t: PROGRAMS[name](t, *data(t)))


RANDOM = {
    "same": lambda t, x: t.func.vmap(lambda a: t.rand(2), randomness="same")(x),
    "different": lambda t, x: t.func.vmap(lambda a: t.rand(2), randomness="different")(x),
    "dropout": lambda t, x: t.func.vmap(lambda a: t.nn.functional.dropout(a, 0.5), randomness="different")(x),
    "the same dropout": lambda t, x: t.func.vmap(lambda a: t.nn.functional.dropout(a, 0.5), randomness="same")(x),
    "in place": lambda t, x: t.func.vmap(lambda a: a.clone().normal_(), randomness="different")(x),
    "nested": lambda t, x: t.vmap(t.vmap(lambda a: t.randn(2) + 0 * a.sum(), randomness="different"), randomness="different")(x),
    "permutation": lambda t, x: t.func.vmap(lambda a: t.randperm(4), randomness="same")(x),
    "chances": lambda t, x: t.func.vmap(lambda a: t.bernoulli(t.full((2,), 0.5)), randomness="different")(x),
    "integers": lambda t, x: t.func.vmap(lambda a: t.randint(0, 9, (3,)), randomness="different")(x),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_numbers(name):
    def program(t):
        x, _ = data(t)
        t.manual_seed(3)
        return RANDOM[name](t, x)

    agree(program)


ERRORS = {
    "item": lambda t, x: t.func.vmap(lambda a: a.sum().item())(x),
    "float": lambda t, x: t.func.vmap(lambda a: float(a.sum()))(x),
    "if": lambda t, x: t.func.vmap(lambda a: a if a.sum() > 0 else -a)(x),
    "tolist": lambda t, x: t.func.vmap(lambda a: a.tolist())(x),
    "numpy": lambda t, x: t.func.vmap(lambda a: a.numpy())(x),
    "nonzero": lambda t, x: t.func.vmap(lambda a: a.nonzero())(x),
    "mask": lambda t, x: t.func.vmap(lambda a: a[a > 0])(x),
    "unique": lambda t, x: t.func.vmap(lambda a: t.unique(a))(x),
    "backward": lambda t, x: t.func.vmap(lambda a: a.sum().backward())(x.requires_grad_()),
    "random": lambda t, x: t.func.vmap(lambda a: a + t.rand(5))(x),
    "randomness": lambda t, x: t.func.vmap(lambda a: a, randomness="x")(x),
    "in_dim too large": lambda t, x: t.func.vmap(lambda a: a, in_dims=3)(x),
    "in_dims of another structure": lambda t, x: t.func.vmap(lambda a: a, in_dims=(0, 0))(x),
    "nothing to map": lambda t, x: t.func.vmap(lambda a: a, in_dims=(None,))(x),
    "in_dims of text": lambda t, x: t.func.vmap(lambda a: a, in_dims="a")(x),
    "no inputs": lambda t, x: t.func.vmap(lambda: 1)(),
    "sizes": lambda t, x: t.func.vmap(lambda a, b: a)(x, x[:2]),
    "numbers": lambda t, x: t.func.vmap(lambda a, b: a + b, in_dims=(0, 0))(x, 3),
    "result that is a number": lambda t, x: t.func.vmap(lambda a: (a, 3))(x),
    "no result": lambda t, x: t.func.vmap(lambda a: None)(x),
    "out_dim too large": lambda t, x: t.func.vmap(lambda a: a, out_dims=5)(x),
    "out_dims of another structure": lambda t, x: t.func.vmap(lambda a: (a, a), out_dims=(0,))(x),
    "no out_dim for a batch": lambda t, x: t.func.vmap(lambda a: a, out_dims=None)(x),
    "out_dims of text": lambda t, x: t.func.vmap(lambda a: a, out_dims="a")(x),
    "chunk of nothing": lambda t, x: t.func.vmap(lambda a: a, chunk_size=0)(x),
    "a scalar": lambda t, x: t.func.vmap(lambda a: a)(x.sum()),
    "write of a batch into captured memory": lambda t, x: t.func.vmap(lambda a: x[0].__setitem__(0, a[0]))(x),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    agree(lambda t: ERRORS[name](t, data(t)[0]), sentence=40)


def test_prints_the_batch(capsys):
    def program(t):
        t.func.vmap(lambda a: (print(a.sum(1)), a)[1])(t.arange(24.0).reshape(3, 2, 4))
        return capsys.readouterr().out

    agree(program)


def test_what_escapes_has_no_value():
    import lamina

    kept = []
    lamina.func.vmap(lambda a: (kept.append(a * 2), a)[1])(lamina.ones(3))
    with pytest.raises(RuntimeError, match="stands for one example"):
        kept[0].item()
    assert (lamina.ones(2) + 1).tolist() == [2.0, 2.0]
    more = kept[0] + 1
    assert lamina.ones(2).sum().item() == 2.0
    with pytest.raises(RuntimeError, match="stands for one example"):
        more.tolist()


def test_gradients_by_captured_values_are_those_of_each_example():
    """PyTorch has no history of captured tensors inside of vmap; here what lies between is made one per example."""
    import lamina

    x, w = lamina.arange(6.0).reshape(2, 3), lamina.ones(3, requires_grad=True)
    double = w * 2
    found = lamina.func.vmap(lambda a: lamina.autograd.grad((a * double).pow(2).sum(), w, retain_graph=True)[0])(x)
    assert found.tolist() == (8 * x * x).tolist()


def test_writes_by_masks_go_further_than_pytorch():
    """PyTorch refuses them; here they are a selection like any other."""
    import lamina

    def program(a):
        b = a.clone()
        b[a > 1] = 0.0
        return b

    x = lamina.tensor([[1.0, 2.0], [3.0, 0.5]])
    same(outcome(lambda t: lamina.func.vmap(program)(x), lamina), outcome(lambda t: program(x), lamina), 0)
