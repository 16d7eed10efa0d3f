"""Known calls: functions of tensors that are not run again for operands of the same types, and what must be told apart."""

from __future__ import annotations

from typing import Any

import lamina
import numpy as np
import pytest
from lamina.pyfront import recorder
from lamina.pyfront.definitions import TABLE
from lamina.pyfront.known_calls import KnownCalls
from lamina.pyfront.tensor import wrap

from .witness import agree

NO_OPTIONS: dict[str, Any] = {}


class Counted:
    """A function that counts its calls, as users would call it."""

    def __init__(self, function: Any, name: str = "") -> None:
        self.function, self.count = function, 0
        self.calls = KnownCalls(self._run, name)

    def _run(self, *args: Any, **options: Any) -> Any:
        self.count += 1
        return self.function(*args, **options)

    def __call__(self, *args: Any, **options: Any) -> Any:
        result = self.calls.again(args, options)
        return self.calls.first(args, options) if result is None else result


def _rows() -> lamina.Tensor:
    return lamina.arange(6.0).reshape(2, 3).clone()


def test_what_only_records_runs_once_for_operands_of_the_same_types() -> None:
    f = Counted(lambda x, y, scale=2: (x + y) * scale)
    for k in range(4):
        assert f(_rows() * k, lamina.ones(3)).tolist() == ((_rows() * k + 1) * 2).tolist()
    assert f.count == 1
    assert f(_rows(), lamina.ones(3), scale=3).tolist() == ((_rows() + 1) * 3).tolist()
    assert f(_rows(), lamina.ones(2, 3)).tolist() == ((_rows() + 1) * 2).tolist()
    assert f.count == 3


def test_calls_within_autocast_are_kept_as_they_are_there() -> None:
    inner, ruled = Counted(lambda x, w: lamina.matmul(x, w) + 1), Counted(lambda x, w: x.relu() @ w, "matmul")
    for k in range(3):
        x, w = lamina.rand(3, 4), lamina.rand(4, 5)
        with lamina.autocast("cpu"):
            y, z = inner(x, w), ruled(x, w)
            exact = lamina.zeros(3, 5).addmm_(x, w)  # what writes in place follows no rule
        half = [t.bfloat16() for t in (x, w)]
        assert y.tolist() == (half[0] @ half[1] + 1).tolist() and z.tolist() == (half[0] @ half[1]).tolist()
        assert inner(x, w).tolist() == (x @ w + 1).tolist() and ruled(x, w).dtype is lamina.float32
        assert exact.tolist() == (x @ w).tolist()
    with lamina.autocast("cpu", dtype=lamina.float16):
        assert inner(x, w).dtype is lamina.float16 and ruled(x, w).dtype is lamina.float16
    assert inner.count == ruled.count == 3


def test_several_results_and_lists_of_tensors() -> None:
    f = Counted(lambda tensors: (tensors[0] + tensors[1], tensors[0] - tensors[1]))
    for k in range(3):
        total, rest = f([_rows() * k, _rows()])
        assert total.tolist() == (_rows() * (k + 1)).tolist() and rest.tolist() == (_rows() * (k - 1)).tolist()
    assert f.count == 1


def test_an_operand_that_comes_twice_is_another_call() -> None:
    f = Counted(lambda x, y: x @ y - x * y.sum())
    x, y = lamina.arange(3.0), lamina.ones(3)
    for _ in range(2):
        for a, b in ((x, x), (x, y), (y, x), (y, y)):
            assert f(a, b).tolist() == (lamina.dot(a, b) - a * b.sum()).tolist()
    assert f.count == 2


def test_derivatives_go_through_what_is_recorded_again() -> None:
    f = Counted(lambda x: (x * x).sum() + x.sum())
    found = []
    for k in range(3):
        x = (_rows() * k).requires_grad_()
        f(x).backward()
        found.append(x.grad.tolist())
        with lamina.no_grad():
            assert not f(x).requires_grad
    assert f.count == 2
    assert found == [(2 * _rows() * k + 1).tolist() for k in range(3)]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * float(x.sum()),  # looks at values
        lambda x: x.mul_(2) + 1,  # writes into its operand
        lambda x: x + lamina.rand(3),  # draws
        lambda x: (lamina.rand(3), x)[1],  # draws, and gives its operand back
        lambda x: x.squeeze_() if x.sum() > 0 else x,  # looks at values, and gives its operand back
        lambda x: x.requires_grad_(),  # gives it back as another tensor
        lambda x: x.new_tensor([1.0]),  # brings a value along
    ],
)
def test_what_does_more_than_recording_runs_each_time(function: Any) -> None:
    f = Counted(function)
    for _ in range(4):
        f(_rows())
    assert f.count == 4


@pytest.mark.parametrize(
    "function",
    [
        lambda x: lamina.zeros(2), lambda x: lamina.arange(3), lambda x: lamina.full(x.shape, 0.5), lambda x: lamina.zeros_like(x), lambda x: x.new_ones(2),
        lambda x: lamina.eye(2, device="cpu"), lambda x: lamina.randn_like(x), lambda x: lamina.rand_like(x.t()), lambda x: x.zero_(), lambda x: lamina.zeros(2, requires_grad=True),
    ],
)  # fmt: skip
def test_what_is_made_of_options_is_memory_of_its_own_each_time(function: Any) -> None:
    lamina.manual_seed(3)
    expected = [function(_rows()).tolist() for _ in range(8)]
    lamina.manual_seed(3)
    made = [function(_rows()) for _ in range(8)]
    assert [x.tolist() for x in made] == expected
    with lamina.no_grad():
        made[-1].add_(1)
    assert [x.tolist() for x in made[:-1]] == expected[:-1] and function(_rows()).dtype is made[0].dtype
    assert len({x.data_ptr() for x in made}) == 8 and len({id(x._storage) for x in made}) == 8


def test_fixed_numbers_are_part_of_a_call_and_others_are_not() -> None:
    numbers = iter(range(1, 9))
    brought = lambda make: wrap(make(np.full((2, 3), next(numbers), np.float32), ((2, 3), lamina.float32)))  # noqa: E731
    fixed, others = Counted(lambda x: x * brought(recorder.fixed)), Counted(lambda x: x * brought(recorder.constant))
    for k in range(4):
        assert fixed(_rows() * k).tolist() == (_rows() * k).tolist()
    for k in (2, 3, 4):
        assert others(_rows()).tolist() == (_rows() * k).tolist()
    assert fixed.count == 1 and others.count == 3


def test_what_is_asked_of_indices_is_asked_each_time() -> None:
    f = Counted(lambda x, i: x.index_select(0, i) * 2)
    inside = lamina.tensor([0, 1])
    for _ in range(4):
        assert f(_rows(), inside).tolist() == [[0, 2, 4], [6, 8, 10]]
        assert f(_rows(), inside.flip(0).clone()).tolist() == [[6, 8, 10], [0, 2, 4]]
    assert f.count == 5  # the other indices are to be computed first, each time
    for _ in range(6):
        with pytest.raises(IndexError, match="index 2 is out of bounds for dimension 0 with size 2"):
            f(_rows(), lamina.tensor([1, 2]))
        with pytest.raises(IndexError, match="index -1 is out of bounds for dimension 0 with size 2"):
            f(_rows(), lamina.tensor([-1, 0]))
        assert f(_rows(), inside).tolist() == [[0, 2, 4], [6, 8, 10]]
    x = _rows().requires_grad_()
    for at in ([0, 1], [1, 1], [0, -1]):
        x.grad = None
        x[lamina.tensor(at), lamina.tensor([0, 2])].sum().backward()
        expected = lamina.zeros(2, 3)
        for row, column in zip(at, [0, 2], strict=True):
            expected[row, column] += 1
        assert x.grad.equal(expected)


def test_what_is_joined_of_data_is_made_of_the_data_there_is() -> None:
    cat, stack = [Counted(getattr(lamina, name)) for name in ("cat", "stack")]
    for k in range(4):
        x, y = _rows() + k, _rows() * k
        lamina.synchronize()
        assert cat([x, y, x]).tolist() == x.tolist() + y.tolist() + x.tolist() and cat([x, y, x])._node.value is not None
        assert stack((y, x), dim=1).tolist() == [list(pair) for pair in zip(y.tolist(), x.tolist(), strict=True)]
        joined = cat([x, y * 1, x])  # not data yet
        assert joined._node.value is None and joined.tolist() == x.tolist() + y.tolist() + x.tolist()
    x = _rows()
    x.zero_()
    assert cat([x, _rows(), x]).tolist() == x.tolist() + _rows().tolist() + x.tolist() and stack((x, x)).shape == (2, 2, 3)
    assert cat([x, x.long(), x]).dtype is lamina.float32


def test_numbers_that_are_drawn_on_the_way_are_drawn_each_time() -> None:
    f = Counted(lambda x: (lamina.rand(2), lamina.zeros_like(x))[1])
    before = lamina.get_rng_state()
    for _ in range(6):
        f(_rows())
        after = lamina.get_rng_state()
        assert not after.equal(before)
        before = after


def test_a_function_nothing_is_kept_of_is_looked_at_a_number_of_times() -> None:
    f = Counted(lambda x: x.view(-1))
    x = _rows().requires_grad_()
    for _ in range(100):
        f(x)
    assert f.calls.tries == 0 and not f.calls


@pytest.mark.parametrize(
    ("function", "others"),
    [
        (lambda x: x, 0),
        (lambda x: x.unsqueeze(0), 0),
        (lambda x: x.split(1), 0),
        (lambda x: x.t()[1:], 0),
        (lambda x: x.reshape(-1).exp(), 0),
        (lambda x: x.exp() if x.is_contiguous() else x.neg(), 1),  # of columns, in whose order the result lies
    ],
)
def test_views_and_what_asks_for_places_are_kept_by_where_operands_lie(function: Any, others: int) -> None:
    f = Counted(function)
    wide = lamina.arange(12.0).view(3, 4)
    of = [lambda: _rows(), lambda: _rows().t().contiguous().t(), lambda: wide[:, :3], lambda: wide[:2, 1:], lambda: wide[0], lambda: _rows().requires_grad_()]
    for make in of * 3:
        x, y = make(), make()
        for made, wanted in zip(_in_tuple(f(x)), _in_tuple(function(y)), strict=True):
            assert (made is x) == (wanted is y) and made.tolist() == wanted.tolist() and made.requires_grad == wanted.requires_grad
            assert made.stride() == wanted.stride() and made.storage_offset() == wanted.storage_offset() and made._several == wanted._several
    before = f.count
    for make in of[:-1]:
        f(make())
    assert f.count == before + others


def test_a_known_view_is_of_the_memory_that_its_operand_has() -> None:
    f = Counted(lambda x: x.t())
    for _ in range(4):
        x = _rows()
        y = f(x)
        y[0] = 5.0
        assert x.tolist() == [[5.0, 1.0, 2.0], [5.0, 4.0, 5.0]] and y._storage is x._storage
    assert f.count < 4


def _in_tuple(result: Any) -> tuple:
    return result if type(result) is tuple else (result,)


def test_types_alone_do_not_tell() -> None:
    def program(torch: Any) -> Any:
        x, y = torch.arange(6.0).reshape(2, 3), torch.tensor([[1.0, -2.0, 0.5], [3.0, 4.0, -1.0]])
        found = []
        for a, b in ((x, y), (y, x), (x, x), (x.t().contiguous().t(), y), (x, y.t().contiguous().t()), (x[:, :], y)):
            for result in (a.maximum(b), torch.where(a > b, a, b), a.pow(2), a.lerp(b, 0.5), torch.hypot(a, b)):
                found += [result, torch.tensor(result.stride())]
        for number in (0.0, -0.0, 1, True, 1.0, 2):
            found += [torch.copysign(x, number), x.to(torch.int32).add(number).to(torch.float64)]
        return found

    agree(lambda torch: program(torch) + program(torch))


def test_numbers_that_change_at_a_line_do_not_make_programs() -> None:
    """From the second number on it is an input: the Graphs are equal."""
    seen = set()
    before = recorder.state.run

    def run(graph: Any, arrays: Any, spare: Any) -> Any:
        seen.add(graph)
        return recorder._compiler().run(graph, arrays, spare)

    recorder.state.run = run
    try:
        x = lamina.rand(7)
        for k in range(8):
            assert x.clamp(min=0.1 * k).add(0.25 * k, alpha=1).shape == (7,)
            x.pow(k + 0.5).tolist()
    finally:
        recorder.state.run = before
    assert len(seen) <= 3


def test_the_default_dtype_is_part_of_every_call() -> None:
    x = lamina.arange(4)
    try:
        for dtype in (lamina.float32, lamina.float64, lamina.float32):
            lamina.set_default_dtype(dtype)
            assert lamina.exp(x).dtype is dtype and (x / 2).dtype is dtype and x.float().mean().dtype is lamina.float32
    finally:
        lamina.set_default_dtype(lamina.float32)


def test_lists_of_data_stay_data() -> None:
    """What is joined of arrays is an array, whatever was joined before."""
    for data in (False, True, False, True):
        rows = [lamina.ones(2), lamina.zeros(2)] if data else [lamina.ones(2) + 1, lamina.ones(2) * 3]
        joined = lamina.stack(rows)
        assert (joined._read().value is not None) is data
        assert joined.sum().item() == (2 if data else 10)


def test_errors_are_those_of_the_function() -> None:
    x = _rows()
    for _ in range(3):
        assert x.sum(1).shape == (2,)
        with pytest.raises(IndexError):
            x.sum(2)
        with pytest.raises(RuntimeError):
            x.maximum(lamina.ones(4))
        with pytest.raises(TypeError):
            lamina.maximum(x, 3)


def test_functions_of_the_table_are_kept() -> None:
    x = _rows()
    for _ in range(2):
        assert wrap((x.logsumexp(1) + x.std(1) + x.norm(dim=1))._read()).shape == (2,)
    assert all(TABLE[name].calls for name in ("logsumexp", "std", "norm"))


def test_kinds_of_calls_that_are_never_kept_do_not_keep_others_from_being_kept() -> None:
    """A function that looks at values of matrices is run each time for them, and known for vectors."""
    counted = Counted(lambda x: x + 1.5 if x.dim() == 1 else x * float(x.sum()))
    for size in range(2, 40):
        for _ in range(6):
            assert counted(lamina.ones(size, 2)).tolist() == [[2.0 * size] * 2] * size
    assert counted.count == 38 * 6
    for _ in range(6):
        assert counted(lamina.ones(3)).tolist() == [2.5] * 3
    assert counted.count <= 38 * 6 + 2


def _halves(x: lamina.Tensor, mode: str = "sum") -> lamina.Tensor:
    left, right = x.select(1, 0), x.select(1, 1)
    return left + right if mode == "sum" else left * right


def test_what_views_of_arrays_show_is_recorded_where_no_number_says_which() -> None:
    function = Counted(_halves)
    data = lamina.tensor([[0.0, 1, 2], [3, 4, 5]])
    first = function(data).tolist()
    runs = function.count
    assert first == [1.0, 7.0] and runs == 2, "the second time with the views as steps"
    data = lamina.tensor([[1.0, 2, 3], [4, 5, 6]])
    assert function(data).tolist() == [3.0, 9.0] and function(data + 1).tolist() == [5.0, 11.0] and function.count == runs
    assert function(data, "product").tolist() == [2.0, 20.0] and function.count > runs


def test_a_number_that_says_which_part_is_no_step_of_a_program() -> None:
    function = Counted(lambda x, row: x[row] + 1)
    data = lamina.tensor([[0.0, 1], [2, 3], [4, 5]])
    assert [function(data, row).tolist() for row in (0, 1, 2)] == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    assert function.count == 3


def test_views_recorded_keep_the_history_of_what_is_tracked() -> None:
    function = Counted(lambda x, y: x.select(1, 0) * y.select(1, 1))
    data = lamina.tensor([[1.0] * 3] * 2)
    for k in range(3):
        leaf = lamina.full((2, 3), float(k), requires_grad=True)
        function(leaf, data).sum().backward()
        assert leaf.grad.tolist() == [[1.0, 0.0, 0.0]] * 2


def test_views_of_arrays_are_recorded_where_places_were_asked_for() -> None:
    function = Counted(lambda a, b: a.t().reshape(3, 2) @ b.t().reshape(2, 2))
    a, b = lamina.tensor([[0.0, 1, 2], [3, 4, 5]]), lamina.tensor([[1.0, 2], [3, 4]])
    expected = [[6.0, 12.0], [9.0, 19.0], [12.0, 26.0]]
    for turn in range(4):
        assert function(a, b).tolist() == expected and function(a.clone(), b).tolist() == expected
        assert function(a + 1, b).tolist() == [[9.0, 19.0], [12.0, 26.0], [15.0, 33.0]]
        runs = function.count if turn < 3 else runs
    assert function.count == runs


@pytest.mark.parametrize("equation", ["bi,bj->bij", "bi,bj->jib"])
def test_a_view_of_what_a_call_made_is_a_view_again(equation: str) -> None:
    function = Counted(lambda a, b: lamina.einsum(equation, a, b))
    a, b = lamina.tensor([[0.0, 1, 2], [3, 4, 5]]), lamina.tensor([[1.0, 2], [3, 4]])
    wanted = np.einsum(equation, np.array(a.tolist()), np.array(b.tolist()))
    first = function(a, b)
    first.add_(1)
    for turn in range(4):
        again, runs = function(a.clone(), b.clone()), function.count if turn < 3 else runs
        assert again.tolist() == wanted.tolist() and again.stride() == first.stride()
        again.mul_(0)
    assert function.count == runs and first.tolist() == (wanted + 1).tolist()
    leaf = b.clone().requires_grad_()
    for _ in range(3):
        (slope,) = lamina.autograd.grad(function(a, leaf).sum(), leaf)
        assert slope.tolist() == [[3.0, 3.0], [12.0, 12.0]]


def test_two_operands_of_an_operator_give_a_view_again() -> None:
    function = Counted(lambda a, b: lamina.einsum("bi,bj->bij", a, b))
    a, b = lamina.tensor([[0.0, 1]]), lamina.tensor([[1.0, 2]])
    for _ in range(3):
        function(a, b)
        made = function.calls.of_two(a._read(), b._read())
        assert made is None or made.shape == (1, 2, 2)


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_bags_of_one_size_are_known_and_their_indices_asked_each_time(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from lamina.pyfront.nn.functions import embedding

    function = Counted(embedding._of_even_bags)
    monkeypatch.setattr(embedding, "_even_bags", function.calls)
    weight = lamina.arange(6.0).reshape(3, 2).clone()
    bag = lambda places: lamina.nn.functional.embedding_bag(lamina.tensor(places), weight, mode=mode).tolist()  # noqa: E731
    for places in ([[0, 1], [2, 0]], [[1, 1], [2, 2]], [[2, 0], [0, 0]]):
        rows = np.array(weight.tolist())[places]
        assert bag(places) == getattr(rows, mode)(1).tolist()
    assert function.count == 1
    with pytest.raises(IndexError):
        bag([[0, 0], [1, 3]])


def test_arrays_of_options_beside_views_of_operands() -> None:
    """What was kept before a function's calls are told by where operands lie is found without tensors, too."""
    f = Counted(lambda n, x=None: lamina.ones(n) if x is None else x[:n])
    x = _rows()
    assert f(3).tolist() == f(3).tolist() == [1.0, 1.0, 1.0]
    for _ in range(3):
        assert f(1, x).tolist() == [[0.0, 1.0, 2.0]]
        assert f(3).tolist() == [1.0, 1.0, 1.0]
    assert f.calls.by_place
