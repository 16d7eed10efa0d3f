"""What is recorded in C is what Python records: the same Nodes, lines, histories and errors, and nothing is kept."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import lamina
import numpy as np
import pytest
from needs import needs_compiler

from lamina.backends import driver
from lamina.dialects import flags
from lamina.dialects.types import float32
from lamina.pyfront import known_calls, origin, quick, recorder
from lamina.pyfront.known_calls import KnownCalls
from lamina.pyfront.leaves import Accumulation
from lamina.pyfront.optim.gathered import Gathered
from lamina.pyfront.phrases import Phrase
from lamina.pyfront.schedule import Schedule

pytestmark = needs_compiler

EXPRESSIONS = [
    "x + y", "y - x", "x * 2.5", "2 - x", "x / y", "1 / x", "x ** 2", "2 ** x", "x < y", "x >= 0.5", "x == y", "x + 0.0", "x * -0.0", "x + True", "x + w",
    "w * x", "w ** 2.0", "3 - w", "w < x", "w / y", "x + row", "row * x", "x - col", "i + i", "i * 2", "i + x", "i // i", "k == k", "x[0] * y[1]", "w[0] - 1.5",
    "x.t() + y.t()", "x.t() * 2.0", "y + x.t().t()", "x.exp()", "w.exp()", "torch.exp(x)", "x.sum()", "x.sum(0)", "x.sum(dim=(0, 1), keepdim=True)",
    "w.softmax(1)", "torch.cat([x, y])", "torch.cat((x, x))", "torch.stack([w, w], 1)", "x.clamp(0.0, 1.0)", "x.clamp(min=0.5)", "torch.add(x, y, alpha=2)",
    "x @ y.t()", "w @ x.t()", "x.max(1)", "x.var()", "x.norm()", "torch.where(k, x, y)", "torch.where(k, x, 0.5)", "x.to(torch.float64) + z", "x.half() + x.half()",
    "torch.lerp(x, y, 0.5)", "x.argmax(1)", "(x.detach() + w).tanh()", "x.view(-1) + 1.0", "p * x", "p.detach() + 1", "torch.ones(3, 4) + x", "torch.zeros(2).exp()",
    "x.addcmul(x, x)", "x.masked_fill(k, 2.0)", "shared + 1.5", "x + shared", "v.add_(1.0)", "add(v, 1)", "add(v[0], y[1])", "add(v.t()[1], 2)", "add(v, v)", "torch.add(i, 3)", "torch.clamp(x, min=0.25)", "x[:, 1:] * 2", "v.mul_(x) + v", "kind(x) + x", "x + kind(x)",
    "x.view(4, 3).t()", "x.split(2, 1)", "x[1]", "x[0][2]", "x[-1] + (x * 2)[-1]", "(x * 2).view(2, 6)[1]", "p[0]", "w[1][0]", "kind(x)[0]", "shared[1]", "x.t()[1][2]", "x.t().contiguous()",
    "x.t().reshape(-1)", "x.expand(2, 3, 4)[1]", "put(v, 0, 2.0)", "put(v, -1, y[0])", "put(v, 1, y[:, 0].sum())", "put(v, 1, 3)", "put(v, 2, w[0])", "put(v, 0, add(v[0], 1.5))",
    "put(v, 0, add(v[1], v[0]))", "put(v, 1, v[0])", "put(v.t(), 1, y.t()[0])", "put(i, 0, 2.5)", "put(k, 1, 2)", "put(v[1], 2, True)", "put(shared, 0, 1.0)", "put(p.detach(), 0, 1.0)",
    "put(w * 1, 0, y[0])", "(v[0], put(v, 0, y[1]), v[0])", "(v.view(-1), v.mul_(2.0), v.view(-1)[3])", "put(put(x * 2, 0, 1.0), 1, 2.0)", "add(v[0][1], y[0][0])",
    "put(v, slice(1), 2.0)", "put(v, (slice(None), 1), y[:, 0])", "put(v, (1, slice(1, 3)), 3)", "put(v, (0, 1), y[0, 1])", "put(v, (slice(None), 1), add(v[:, 1], 1.0))", "put(v, slice(None), y)",
    "put(v, (slice(None, None, 2), 0), 1.0)", "put(w * 1, (0, 1), 2.0)", "x.T + x.T", "(x.T @ y, w.T, x.mT, x[0].T)", "torch.tensor([[1, 2]])",
    "x.detach()", "p.detach()", "w.detach()[0]", "x.t().detach()", "x[1].detach()", "x.t()[1].detach()", "w[1].detach()", "p.detach().detach()", "x.detach().t().detach()", "x.data", "p.data.detach()", "(w * 1).detach()",
    "shared.detach()", "kind(x).detach()", "put(p.detach(), 0, 1.0) + p", "v.copy_(x)", "v.copy_(y[0])", "v[1].copy_(x[0])", "(v, v[1].copy_(x[0]), v[1])", "v.copy_(w)", "v.copy_(v.t().reshape(3, 4))",
    "v[0].copy_(v[1])", "v.copy_(i)", "v.copy_(x, True)", "v.copy_(x, non_blocking=True)", "v.t().copy_(x.t())", "(p.detach().copy_(x), p)", "shared.copy_(x)", "v.copy_(shared)", "v.copy_(kind(x))",
    "torch.zeros(3)", "torch.full((2,), 0.5)", "torch.arange(4)", "torch.ones(x.shape)", "torch.zeros_like(x)", "torch.zeros_like(x.t())", "torch.zeros_like(w)", "x.new_ones(2)", "torch.zeros(2, device='cpu')",
    "torch.zeros(2, requires_grad=True)", "v.zero_()", "v[0].zero_()", "(w * 1).zero_()", "v.fill_(2.0)", "v.t().zero_()", "x.float()", "w.float()", "x.t().float()",
    "tuple(x.topk(2))", "tuple(w.topk(2))", "tuple(x.sort(1))", "tuple(w.max(0))", "torch.var_mean(x, 1)", "x[k]", "w[k]", "x.t()[k.t()]", "torch.cat([x, y], 1)", "torch.stack((x, y, x), -1)", "torch.stack([x[0], y[1]])",
    "x[torch.tensor([0, 2])]", "x[torch.tensor([0, -1])]", "w[torch.tensor([0, 2]), torch.tensor([1, 1])]", "x.gather(1, torch.tensor([[0], [1], [2]]))", "put(v, k, 0.5)", "put(w * 1, k, 0.5)",
    "-x", "-w", "-x.t()", "~i", "~k", "abs(w.t())", "w.t().neg()", "w @ y.t()", "(w @ y.t()[None])", "v.add_(x, alpha=2)", "v.clamp_(min=0.5)", "v.t().mul_(x.t())", "(w * 1).add_(y)", "v.add_(v.t().t())", "v.sub_(kind(x))",
    "F.linear(x, y)", "F.linear(w[None], y)", "F.linear(w, y, x[:, 0])", "F.relu(w)", "F.mse_loss(w, y)", "F.mse_loss(w, target=y, reduction='sum')", "F.layer_norm(w, (4,))", "F.embedding(torch.tensor([0, 2]), w)",
    "F.cross_entropy(w, torch.tensor([0, 2, 1]))", "F.max_pool1d(w[None], 2)", "tuple(F.max_pool1d(w[None], 2, return_indices=True))", "F.relu(v, inplace=True)", "F.softmax(w, 1)", "F.pad(w, (1, 1))", "F.normalize(w.t())", "F.gelu(kind(x))",
]  # fmt: skip


class Kind(lamina.Tensor):
    """A class that functions do not ask."""

    __torch_function__ = lamina._C._disabled_torch_function_impl


def _put(x: Any, index: int, value: Any) -> Any:
    x[index] = value
    return x


def _operands() -> dict[str, Any]:
    lamina.manual_seed(0)
    x, y = [lamina.rand(3, 4) + 0.1 for _ in range(2)]
    memory = lamina.rand(3, 4)
    return {
        "torch": lamina, "x": x, "y": y, "w": lamina.rand(3, 4, requires_grad=True), "row": lamina.rand(4), "col": lamina.rand(3, 1), "i": lamina.arange(12).view(3, 4) + 1,
        "k": x > 0.5, "z": lamina.rand(3, 4, dtype=lamina.float64), "p": lamina.nn.Parameter(lamina.rand(3, 4)), "shared": memory, "array": memory.numpy(),
        "v": lamina.rand(3, 4), "add": lamina.Tensor.__iadd__, "kind": lambda t: t.as_subclass(Kind), "put": _put,
        "F": lamina.nn.functional,
    }  # fmt: skip


@pytest.fixture
def undo(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Callable[[], None]]]:
    """What starts recording in C, in a process that records in Python, and gives what ends it."""
    monkeypatch.setattr(recorder.state, "quick", True)
    quick.slow()
    yield lambda: quick.quicken(*driver.recording_libraries())
    quick.slow()
    monkeypatch.setattr(recorder.state, "quick", False)


def _told(results: Any) -> list[Any]:
    """All there is to know of what was recorded."""
    found: list[Any] = []
    for result in results if isinstance(results, tuple) else (results,):
        node, storage = result._read(), result._storage
        graph = Schedule([node]).graph if node.value is None else None
        found += [
            type(result), node.op, node.type, node.requires_grad, node.origin, result._label, result.requires_grad, storage.version, storage.inference, len(result._chain),
            result.is_contiguous(), graph and (graph, graph.origins), storage.born - node.order, (node.freed, node.overwritten, node.mark >= 0, node.device),
        ]  # fmt: skip
    return found


def _recorded(expression: str, grad: bool) -> list[Any]:
    """Twice at one line, which is known by then."""
    run = eval(compile(f"lambda: {expression}", "expression.py", "eval"), {})  # noqa: S307  # lines of this test
    with lamina.set_grad_enabled(grad):
        for _ in range(2):
            run.__globals__.update(_operands())
            lamina.synchronize()
            found = [_told(run()) for _ in range(4)]
        return found


@pytest.mark.parametrize("grad", [True, False], ids=["grad", "no_grad"])
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_the_same_steps(expression: str, grad: bool, undo: Callable) -> None:
    expected = _recorded(expression, grad)
    undo()
    assert type(vars(lamina.Tensor)["__add__"]).__name__ == "method_descriptor"
    assert _recorded(expression, grad) == expected


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the interpreter has no such entrance")
@pytest.mark.parametrize("expression", ["x.exp()", "torch.add(x, y)", "v.mul_(y)", "x.view(-1)", "-x", "w @ y.t()", "torch.zeros(3)", "x.sum(dim=0)", "torch.cat([x * 1, y])"])
def test_known_calls_run_no_python(expression: str, undo: Callable) -> None:
    """Public functions stay the objects they are, and their Python is not run for a call that is known."""
    undo()
    for public in known_calls.publics.values():  # what other tests called in vain is tried again
        public.calls.clear(), public.calls.vain.clear()
        public.calls.tries = public.calls.tries_by_place = 64
        public.calls.skips = public.calls.by_place = False
    run = eval(compile(f"lambda: {expression}", "expression.py", "eval"), _operands())  # noqa: S307  # lines of this test
    exp = lamina.Tensor.exp
    for _ in range(3):
        run()
    called: list[str] = []
    sys.setprofile(lambda frame, event, _: called.append(frame.f_code.co_name) if event == "call" else None)
    try:
        run()
    finally:
        sys.setprofile(None)
    assert called == ["<lambda>"] and lamina.Tensor.exp is exp


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the interpreter has no such entrance")
@pytest.mark.parametrize("expression", ["x.sum().item()", "float(x.sum())", "bool(x.sum() > 0)", "int((x * 3).sum())", "1 if x.sum() > 0 else 2", "x[1].sum().item()"])
def test_numbers_that_are_looked_at(expression: str, undo: Callable) -> None:
    """The same in C, where nothing of the recorder's Python runs for a program that is known."""
    scope = _operands()
    run = eval(compile(f"lambda: {expression}", "expression.py", "eval"), scope)  # noqa: S307  # lines of this test
    expected = run()
    undo()
    with flags.device("c"):
        for _ in range(12):
            assert run() == expected and type(run()) is type(expected)
    for _ in range(100):  # what other tests left pending, or is compiled beside them, is done some time
        called: set[str] = set()
        sys.setprofile(lambda frame, event, _, called=called: called.add(frame.f_code.co_filename) if event == "call" else None)
        try:
            run()
        finally:
            sys.setprofile(None)
        if not any("pyfront" in name for name in called):
            return
        time.sleep(0.02)
    pytest.fail(f"Python ran: {sorted(called)}")


def test_numbers_that_are_refused(undo: Callable) -> None:
    """By the words Python has, and what went wrong is told as it was."""
    undo()
    with pytest.raises(RuntimeError, match="cannot be converted to Scalar"):
        lamina.rand(2).item()
    with pytest.raises(RuntimeError, match="ambiguous"):
        bool(lamina.rand(2))
    with pytest.raises(RuntimeError, match="ambiguous"):
        bool(lamina.rand(0))
    with pytest.raises(ValueError, match="only one element"):
        float(lamina.rand(2))
    with pytest.raises(RuntimeError):
        lamina.vmap(lambda t: t if t > 0 else -t)(lamina.rand(3))
    assert int(lamina.tensor(2.75)) == 2 and float(lamina.tensor(True)) == 1.0 and complex(lamina.tensor(1 + 2j)) == 1 + 2j
    with pytest.raises(recorder.OutOfMemory):
        recorder.failed(MemoryError("no memory"))


def test_steps_of_no_operands(undo: Callable) -> None:
    """A phrase may begin with a step that reads nothing, with nothing in front of it."""
    row = ((3,), float32)
    phrase = Phrase([("iota", ((3,), 0, float32), (), row, False), ("neg", (), (0,), row, True), ("add", (), (0, 1), row, True)], [2])
    undo()
    assert Phrase._append is not quick._python[Phrase, "_append"]
    first, second, third = phrase._append([], "here.py:1", 7, False)
    assert [node.op for node in (first, second, third)] == ["iota", "neg", "add"] and [first.order, third.order] == [8, 10]
    assert (first.inputs, second.inputs, third.inputs) == ((), (first,), (first, second)) and third.origin == "here.py:1"


def test_numbers_that_change_are_inputs(undo: Callable) -> None:
    """At one place: a constant, until another number comes there."""
    def told() -> list[list[Any]]:
        x = lamina.rand(3) + 0.5
        scope: dict[str, Any] = {}
        exec(compile("def f(x, n): return x * n", "numbers.py", "exec"), scope)  # noqa: S102  # a place of its own
        made = [scope["f"](x, n)._node for n in (1.5, 1.5, 2.5, 1.5, 2.5)]
        return [[node.op, *[n.op for n in node.inputs]] for node in made]

    expected = told()
    undo()
    again = told()
    assert again == expected and again[1] != again[2] == again[3]


def test_a_tensor_of_an_array(undo: Callable) -> None:
    """At its own line or a given one, in either mode."""
    array = np.ones((2, 3), np.float32)

    def told() -> list[Any]:
        found = []
        lamina.synchronize()
        for line in (None, "a.py:1"):
            with lamina.inference_mode(line is None):
                before = recorder.state.order
                made = recorder.state.holding(array, ((2, 3), lamina.float32), line)
            node = made._node
            assert node.value is array and made._storage.node is node and not recorder.state.pending
            found += [node.order - before, node.origin.partition(":")[0], node.op, node.inputs, node.attrs, node.type, *_told(made)[3:4], made.is_inference(), made.sum().item()]
        return found

    expected, python = told(), recorder.state.holding
    undo()
    assert recorder.state.holding is not python and told() == expected


def test_what_was_written_is_read_anew(undo: Callable) -> None:
    """As a tensor that is all of its memory, as a view, as numpy's; and tensors do not hold what was written over."""
    def told() -> list[Any]:
        x, shared = [lamina.arange(3.0).clone() for _ in range(2)]
        view, part, array = x.view(3), x[1:], shared.numpy()
        found = []
        for write in (lambda: x.add_(1.0), lambda: view.mul_(2.0), lambda: part.zero_(), lambda: shared.add_(1.0), lambda: array.fill(2.0)):
            before = [t._node for t in (x, view, part)]
            write()
            both = recorder.state.nodes_of([x, view, part, shared])
            found += [[now is old for now, old in zip(both, before)], both[0] is x._storage.node is x._node, x._seen == x._storage.version]
            found += [(x + x).tolist() == [2 * v for v in x.tolist()], (part * 1.5).tolist() == [1.5 * v for v in part.tolist()], (shared + 0.5).tolist() == [v + 0.5 for v in array.tolist()]]
            if recorder.state.holds is not None:
                assert [recorder.state.holds([t], [node]) for t, node in zip((x, view, part), before)] == found[-6] and recorder.state.holds([x], [x._node])
        return found

    expected = told()
    undo()
    assert recorder.state.holds is not None and told() == expected


@flags.device("numpy")
def _trained(make: Callable[..., Any]) -> list[Any]:
    """All there is to see of a few steps: of a parameter that is read twice, one whose hook changes its gradient, one that is broadcast."""
    lamina.manual_seed(0)
    model = lamina.nn.Sequential(lamina.nn.Linear(3, 4), lamina.nn.Tanh(), lamina.nn.Linear(4, 3))
    tied, scale = lamina.nn.Parameter(lamina.rand(3)), lamina.nn.Parameter(lamina.rand(1))
    scale.register_hook(lambda g: g * 0.5)
    parameters = [*model.parameters(), tied, scale]
    optimizer = make(parameters)
    x, found = lamina.rand(5, 3), []
    for step in range(4):
        optimizer.zero_grad()
        loss = ((model(x * tied) + tied) * scale).pow(2).mean()
        loss.backward(retain_graph=step == 2)
        start = loss._node.order
        found += [[type(p._grad) is type(loss._node), p._grad is not None and lamina.Tensor.grad.fget(p)._node.order - start] for p in parameters]
        if step == 2:
            loss.backward()
        held = [p._node for p in parameters]
        optimizer.step()
        found += [loss.item(), [p.tolist() for p in parameters], [p.grad.tolist() for p in parameters], [p._storage.version for p in parameters]]
        found += [[node.overwritten - start for node in held], loss._node.freed, [p._read().origin.partition(":")[0] for p in parameters]]
        try:
            loss.backward()
        except RuntimeError as error:
            found.append(str(error).partition("\n")[0])
    return found


@pytest.mark.parametrize(
    "make", [lambda p: lamina.optim.Adam(p, lr=0.1), lambda p: lamina.optim.AdamW(p, amsgrad=True), lambda p: lamina.optim.SGD(p, lr=0.1, momentum=0.9), lambda p: lamina.optim.RMSprop(p)],
    ids=["adam", "adamw", "sgd", "rmsprop"],
)  # fmt: skip
def test_the_same_training(make: Callable, undo: Callable) -> None:
    """Gradients that arrive, updates, what was overwritten and freed, and refusals."""
    expected = [_trained(make) for _ in range(2)][1]  # constants are recorded once
    undo()
    assert type(vars(Accumulation)["__call__"]).__name__ == type(vars(Gathered)["update"]).__name__ == "method_descriptor"
    assert _trained(make) == expected and any([type(part) is str for part in expected])


def test_values_that_are_gone_are_refused(undo: Callable) -> None:
    """Before a derivative reads them: written themselves, or broadcast first; and after backward let go of them."""
    undo()
    y = lamina.rand(3, requires_grad=True).exp().sum()
    y.backward()
    with pytest.raises(RuntimeError, match="a second time"):
        y.backward()
    for written in (lambda w, y: y.mul_(2.0), lambda w, y: y.zero_()):
        w, y = lamina.rand(3, requires_grad=True), lamina.rand(3)
        loss = (w * y).sum() + (w.expand(2, 3) * y.expand(2, 3)).sum()
        written(w, y)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_errors_are_python_s(undo: Callable) -> None:
    undo()
    x = lamina.rand(3)
    with pytest.raises(RuntimeError, match="must match the size of tensor b"):
        x + lamina.rand(4)
    with pytest.raises(TypeError):
        x + "text"
    with pytest.raises(TypeError):
        lamina.Tensor.__add__(3, x)


@pytest.mark.slow
def test_nothing_is_kept(undo: Callable) -> None:
    """Objects, and references to those that everybody shares."""
    undo()
    x, y, w = lamina.rand(3), lamina.rand(3), lamina.rand(3, requires_grad=True)
    table, z, array = lamina.rand(2, 3), lamina.arange(3), np.ones(3, np.float32)
    model = lamina.nn.Sequential(lamina.nn.Linear(3, 4), lamina.nn.Tanh(), lamina.nn.Linear(4, 1))
    optimizer = lamina.optim.Adam(model.parameters())

    def run() -> None:
        for _ in range(200):
            x + y
            x * 1.5
            x < y
            w * x
            table + x
            z + z
            (w * 2.0).exp()
            lamina.cat([x, y])
            x.sum(0, keepdim=True)
            x.max(0)
            recorder.state.holding(array, x._node.type, None)
        recorder.state.pending.clear()
        for _ in range(100):
            optimizer.zero_grad()
            model(x).sum().backward()
            optimizer.step()

    def counted() -> tuple[int, list[int]]:
        gc.collect()
        shared = [x._node, y._node, w._node, x._node.type, lamina.float32, recorder.state.grad, (), None, "add", array]
        return len(gc.get_objects()), [sys.getrefcount(thing) for thing in shared]

    run()
    before, references = counted()
    run()
    after, later = counted()
    assert after - before < 50
    assert [b - a < 50 for a, b in zip(references, later, strict=True)] == [True] * len(later)


def test_what_a_program_exchanged_stays(undo: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lamina.Tensor, "__add__", lambda self, other: "own")
    undo()
    assert lamina.rand(3) + 1 == "own"


def test_slots_that_are_not_found_leave_python_alone(undo: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick, "_places", lambda kind: None)
    quick._methods.cache_clear()
    before = vars(KnownCalls)["again"]
    undo()
    quick._methods.cache_clear()
    assert vars(KnownCalls)["again"] is before


def test_without_programs_python_records() -> None:
    program = (
        "import lamina\nfrom lamina.pyfront import origin, recorder\nx = lamina.ones(3)\n"
        "for _ in range(8): assert (x * 2.5).sum().item() == 7.5\n"
        "assert recorder.state.quick and recorder.state.origin is origin.origin and type(vars(lamina.Tensor)['__add__']).__name__ == 'function'\n"
    )
    found = subprocess.run([sys.executable, "-c", program], env={**os.environ, "LAMINA_DEVICE": "numpy"}, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_the_first_line_is_found_in_c(undo: Callable) -> None:
    undo()
    assert recorder.state.origin is not origin.origin
