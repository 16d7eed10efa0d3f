"""Tensors of no elements: an empty batch goes where a batch goes."""

from __future__ import annotations

import lamina
import pytest
from lamina.dialects import flags
from needs import needs_compiler

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

EXPRESSIONS = (
    "x[x > 1].sum()", "x[i]", "x.t()[:, i]", "x.cumsum(0)", "x.sort(0)[0]", "x.sum(0)", "x.mean()", "x.t() @ x", "x.softmax(1)", "F.linear(x, torch.ones(3, 2))",
    "x.index_select(1, i)", "torch.cat([x, x], 1).t().contiguous()", "x.var(1)", "x.norm()", "F.one_hot(i, 4)", "F.one_hot(i)", "x.gather(0, torch.zeros(0, 2, dtype=torch.int64))",
    "x.clone().index_add_(0, i, x)", "torch.where(x > 0, x, 0)", "x.unfold(1, 2, 1)", "x.t().reshape(-1)", "x.nonzero()", "x.argsort(1)", "x.topk(1, 1)[0]",
    "torch.einsum('ab,cb->ac', x, x)", "F.layer_norm(x, (2,))", "F.batch_norm(x, torch.zeros(2), torch.ones(2))", "F.conv1d(torch.zeros(0, 2, 5), torch.ones(3, 2, 2))",
    "F.embedding(torch.zeros(0, 3, dtype=torch.int64), torch.ones(4, 2))", "x.logsumexp(1)", "F.max_pool1d(torch.zeros(0, 2, 4), 2)", "x.median(1)[0]", "x.prod(1)", "x.all()",
    "torch.cdist(x, torch.ones(3, 2))", "F.cross_entropy(x, i, reduction='none')", "F.scaled_dot_product_attention(*[torch.zeros(0, 2, 3, 4)] * 3)", "x.unique()", "x.histc(4)",
)  # fmt: skip


def outcome(torch, expression: str) -> object:
    names = {"torch": torch, "F": torch.nn.functional, "x": torch.zeros(0, 2), "i": torch.zeros(0, dtype=torch.int64)}
    try:
        made = eval(expression, names)
    except RuntimeError as error:
        return str(error).partition("\n")[0]
    return list(made.shape), str(made.dtype).rpartition(".")[2], str(made.tolist())


def test_expressions() -> None:
    with flags.device("numpy"):
        for expression in EXPRESSIONS:
            assert outcome(lamina, expression) == outcome(torch, expression), expression


@pytest.mark.slow
@needs_compiler
def test_compiled_expressions() -> None:
    for expression in EXPRESSIONS:
        for _ in range(2):
            assert outcome(lamina, expression) == outcome(torch, expression), expression


@needs_compiler
def test_writes_by_a_mask_that_hits_nothing() -> None:
    x = lamina.zeros(0, 2)
    for _ in range(3):
        x[x > 1] *= 2
    assert x.shape == (0, 2)
