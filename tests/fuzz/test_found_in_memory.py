"""What random memory programs found: each program was wrong once."""

from __future__ import annotations

import pytest
from lamina.dialects import flags

torch = pytest.importorskip("torch")
from fuzz.program import Written, difference  # noqa: E402

pytestmark = pytest.mark.torch

LEAF = "v0 = torch.arange(6.).reshape(2, 3).requires_grad_()"
PROGRAMS = {
    "a leaf written under no_grad is still the leaf": [
        LEAF, "v1 = v0 * 2", "with torch.no_grad(): v0 += 1", "g = torch.autograd.grad(v1.sum(), v0)"],
    "a leaf made of a computed value has no history": [
        LEAF, "v1 = v0.exp()", "v2 = v1.detach().requires_grad_()", "g = torch.autograd.grad((v1 * v2).sum(), v2)"],
    "a value used by the step right before the write": [
        LEAF, "v1 = v0 * 2", "v2 = v0 * v1", "v1 += 2", "v2.sum().backward()"],
    "an operand that broadcasts is saved too": [
        LEAF, "v1 = torch.tensor(2.)", "v2 = v0 * v1", "v1 += 1", "v2.sum().backward()"],
    "an operand in the memory that is written": [LEAF, "v1 = v0 * 1", "v1.mul_(v1)", "v1.sum().backward()"],
    "the result of the last write": [
        LEAF, "v1 = (v0 * 1).squeeze_()", "v1.relu_()", "v1.relu_()", "v1.sum().backward()"],
    "a shape changed in place counts as a write": [LEAF, "v1 = v0.exp()", "v1.unsqueeze_(0)", "v1.sum().backward()"],
    ".data is no write": [LEAF, "v1 = v0.exp()", "v1.data.mul_(1)", "v1.sum().backward()", "g = v0.grad"],
    "only what is on the way must be there": [
        LEAF, "v1 = v0.exp()", "v2 = torch.ones(2, 3, requires_grad=True)", "v3 = v1 * v2", "v1.sum().backward()",
        "g = torch.autograd.grad(v3.sum(), v2)"],
    "a tracked value in a detached tensor": [
        LEAF, "v1 = (v0 * 2).detach()", "v2 = v1[0]", "v1 += v0", "g = torch.autograd.grad((v1 * v2).sum(), v0)"],
    "a part of a detached tensor": [
        LEAF, "v1 = (v0 * 2).detach()", "v1[0] = v0[1]", "g = torch.autograd.grad((v1 * v1).sum(), v0)"],
    "numpy on the memory of a computed tensor": [
        LEAF, "v1 = v0 * 2", "n1 = v1.detach().numpy()", "n1[0] = 7", "v1 += 1", "(v1 * 3).sum().backward()", "g = v0.grad"],
    "all of it overwritten: the old contents have gradient 0": [
        LEAF, "v1 = v0 * 2", "v1.copy_(torch.ones(2, 3, requires_grad=True))", "v1.sum().backward()", "g = v0.grad"],
    "as_strided is a view": [
        "v0 = torch.arange(12.).reshape(3, 4)", "v1 = v0.as_strided((2, 2), (4, 1), 1)", "v1 += 10", "v0[0, 1] = 5"],
    "as_strided of a leaf": [LEAF, "v1 = v0.as_strided((2, 2), (1, 3))", "(v1 * v1).sum().backward()", "g = v0.grad"],
    "resize_ keeps the memory": ["v0 = torch.arange(6.)", "v1 = v0[1:]", "v0.resize_(2, 2)", "v0.fill_(7)"],
    "results in the memory order of their operands": [
        "v0 = torch.arange(6.).reshape(2, 3).t()", "v1 = v0 * 2", "v2 = v1.reshape(-1)", "v2 += 1", "v3 = v0.clone().view(-1)"],
    "likes in the memory order of their example": ["v0 = torch.ones(2, 3).t()", "v1 = torch.zeros_like(v0)", "v2 = v1 > 0"],
    "a diagonal of three dimensions": ["v0 = torch.zeros(2, 2, 2)", "v0.fill_diagonal_(3.)"],
    "a diagonal that starts again": ["v0 = torch.zeros(7, 3)", "v0.fill_diagonal_(3., wrap=True)"],
    "a clone has memory of its own": ["v0 = torch.arange(4)", "v1 = v0.clone()", "v2 = v0.view(2, 2)"],
    "memory that overlaps itself": ["v0 = torch.arange(4.).reshape(2, 2)", "v0.copy_(v0.t())", "v1 = v0[[0, 1]]"],
    "an empty part of a strided view": ["v0 = torch.arange(4.).as_strided((2, 2), (1, 2))", "v0[2:] = 1"],
    "views of a leaf": [LEAF, "v1 = v0.view(-1)", "v1.squeeze_()", "v0.t_()"],
    "detach_ of a view": ["v0 = torch.ones(3)", "v0[1:].detach_()", "v1 = (v0 * 2).detach_()"],
    "views made several at a time": [LEAF, "v1 = v0 * 2", "v2 = v1.split(1)", "v2[0].add_(1)"],
    "ravel of a strided vector": ["v0 = torch.arange(6.)[::2]", "v1 = v0.ravel()"],
    "dtypes that do not fit": [
        "v0 = torch.ones(2, 2)", "v0.index_add_(0, torch.tensor([0]), torch.ones(1, 2, dtype=torch.int64))",
        "v0.lerp_(v0.double(), 0.5)", "v0[[0]] = torch.ones(1, 2, dtype=torch.int64)", "v0.bool() - v0"],
    "what a gradient does not pass is not freed": [
        LEAF, "v1 = v0.exp()", "v2 = torch.ones(2, 3, requires_grad=True)",
        "g = torch.autograd.grad((v1 * v0).sum(), v2, allow_unused=True)", "v1.sum().backward()"],
    "std of one element": [
        "v0 = torch.ones(1, 3, requires_grad=True)", "v1 = v0.std(0, unbiased=False)", "(v1 + 1 / v1)[:2].sum().backward()",
        "g = v0.grad"],
    "a write after one autograd did not hear of": [
        LEAF, "v1 = v0.exp()", "v1.data.add_(1)", "v1 += 1", "(v1 * v1).sum().backward()"],
    "a write into a view after one autograd did not hear of": [
        LEAF, "v1 = v0.exp()", "v2 = v1[0]", "v3 = v2 * v2", "v2.data.add_(1)", "v1.add_(1)", "v3.sum().backward()"],
    "memory written from a row of its own": [
        LEAF, "v1 = v0 * 2", "v1[:, :] = v1[0]", "v1[...] = v1[1:]", "v1[:] = v1[:, :1]", "v1.copy_(v1[0])",
        "v1.sum().backward()", "g = v0.grad"],
    "as_strided of a leaf in another memory order": [
        LEAF, "v1 = v0.t().detach().clone().requires_grad_()", "v2 = v1.as_strided((2,), (1,))", "(v2 * v2).sum().backward()",
        "g = v1.grad"],
    "a leaf made of an array that is also read": [
        "v0 = torch.tensor([1., -2., 3.])", "v1 = v0 * 2", "v2 = v0.clone().requires_grad_()", "v3 = torch.stack([v1, v2])",
        "g = torch.autograd.grad((v3 * v3).sum(), v2)", "v4 = v0.detach().requires_grad_()", "(v4 * v0 * v1).sum().backward()"],
    "numpy memory in column order": [
        "n0 = np.arange(6.).reshape(2, 3).T", "v1 = torch.as_tensor(n0)", "v2 = v1 * 2", "v3 = 1 - v1", "v4 = v1 + v1", "v5 = v1 // 2"],
    "what is overwritten whole saves nothing": [
        LEAF, "v1 = v0 + 0", "v1.zero_()", "(v1 * v1).sum().backward()", "g = torch.autograd.grad((v1 * v1).sum(), [v0])"],
    "a part written where autograd does not look": [
        LEAF, "v1 = v0 * 2", "v2 = v1[1]", "v2.detach()[0] += 5", "v1[:, 1:].data.mul_(3)", "v3 = v1[0].detach()", "v3.zero_()",
        "((v1 * v1).sum() + (v2 * v2).sum()).backward()", "g = v0.grad"],
    "nothing has no largest": [
        "v0 = torch.zeros(0, 2)", "v0.amax(0)", "v0.max(0)", "v0.argmax(0)", "v0.amax()", "v0.is_contiguous()"],
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name: str) -> None:
    lines = PROGRAMS[name]
    for rounds in (1, 3) if not lines[0].startswith("v0 = torch.arange(6.)") else (1,):
        made = Written([], lines, [line.split()[0] for line in lines], rounds=rounds)
        with flags.device("numpy"):
            assert difference(made) is None, f"{difference(made)}\n\n{made.source()}"
