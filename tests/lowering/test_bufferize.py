"""Bufferize: shared functions, outputs made in place, aliases, copies, donations, the arena's exact size."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from xdsl.dialects import func
from xdsl.dialects.builtin import DenseArrayBase, ModuleOp, i64

from graphs import Recorder
from lamina.backends.executor import execute
from lamina.backends.oracle import evaluate
from lamina.backends.toolchain import build_shared, find_compiler
from lamina.dialects.errors import PassError
from lamina.dialects.graph import Graph
from lamina.dialects.text import parse, print_module, verify
from lamina.dialects.types import float32
from lamina.lowering.bufferize import Bufferize
from lamina.lowering.capture import capture
from lamina.lowering.kernel_to_linalg import KernelToLinalg
from lamina.lowering.linalg_to_loops import LinalgToLoops
from lamina.lowering.loops_to_c import emit_c
from lamina.passes.fuse import Fuse
from lamina.passes.layout import ChooseLayout
from lamina.passes.open_composites import OpenComposites


def buffered(graph: Graph, donations: list[int] | None = None) -> ModuleOp:
    module = capture(graph)
    for step in (OpenComposites(), Fuse(), ChooseLayout(), KernelToLinalg()):
        step.run(module)
    if donations:
        module.attributes["lamina.donations"] = DenseArrayBase.from_list(i64, donations)
    Bufferize(target="portable").run(module)
    verify(module)
    text = print_module(module)
    assert print_module(parse(text)) == text
    return module


def kernels(module: ModuleOp) -> list[func.FuncOp]:
    return [op for op in module.body.block.ops if isinstance(op, func.FuncOp) and op.sym_name.data != "main"]


def calls(module: ModuleOp) -> list[func.CallOp]:
    main = next(
        op for op in module.body.block.ops if isinstance(op, func.FuncOp) and op.sym_name.data == "main"
    )
    return [op for op in main.body.block.ops if isinstance(op, func.CallOp)]


def arena(module: ModuleOp) -> int:
    return module.attributes["lamina.arena_bytes"].value.data


def agree(module: ModuleOp, graph: Graph, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape, _ in graph.inputs]
    for a, b in zip(evaluate(capture(graph), arrays), execute(module, arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def softmax_chain(length: int) -> Graph:
    r = Recorder()
    x = r.input((8, 40), float32)
    for _ in range(length):
        m = r("expand", r("max", x, attrs=((0,),)), attrs=((8, 40),))
        x = r("exp", r("sub", r("permute", r("permute", x, attrs=((1, 0),)), attrs=((1, 0),)), m))
        x = r("cumsum", x, attrs=(1,))
    return r.graph(x)


def test_equal_kernels_share_a_function_and_a_chain_shares_memory() -> None:
    graph = softmax_chain(6)
    module = buffered(graph)
    assert len(calls(module)) >= 12 and len(kernels(module)) <= len(calls(module)) // 4
    assert arena(module) <= 4 * (8 * 40 * 4 + 64)
    agree(module, graph)


def test_every_call_knows_its_line() -> None:
    assert all("origin" in call.attributes for call in calls(buffered(softmax_chain(1))))


def test_outputs_are_written_directly() -> None:
    r = Recorder()
    x = r.input((5, 7), float32)
    graph = r.graph(r("exp", x), r("sum", x, attrs=((0,),)))
    module = buffered(graph)
    assert arena(module) == 0
    agree(module, graph)


def test_inputs_and_repeated_values_are_copied_to_outputs() -> None:
    r = Recorder()
    x = r.input((5, 7), float32)
    y = r("exp", x)
    graph = r.graph(x, y, y, x, r("reshape", y, attrs=((35,),)), r("reshape", x, attrs=((7, 5),)))
    module = buffered(graph)
    assert arena(module) == 0
    agree(module, graph)


def test_elementwise_kernel_takes_the_memory_of_a_dying_operand() -> None:
    r = Recorder()
    x = r.input((64, 64), float32)
    y = r("relu", r("cumsum", r("exp", r("cumsum", x, attrs=(1,))), attrs=(0,)))
    graph = r.graph(r("cumsum", y, attrs=(1,)))
    module = buffered(graph)
    assert arena(module) == 2 * 64 * 64 * 4
    agree(module, graph)


def test_an_operand_with_other_dimensions_of_size_one_is_overwritten_too() -> None:
    r = Recorder()
    x = r.input((1, 1, 4, 9, 9), float32)
    first, second, last = (r.input((1, 4, 4, 1, 1), float32) for _ in range(3))
    one = ((1, 1), (1, 1))
    skipped = r("reshape", r("conv", x, first, attrs=one), attrs=((1, 4, 9, 9),))
    added = r("relu", r("add", skipped, r("reshape", r("conv", x, second, attrs=one), attrs=((1, 4, 9, 9),))))
    graph = r.graph(r("conv", r("reshape", added, attrs=((1, 1, 4, 9, 9),)), last, attrs=one))
    module = buffered(graph)
    places = [line for line in print_module(module).splitlines() if "memref.view" in line]
    assert len(places) == 1, "the sum of two convolutions is made where the first one lies"
    agree(module, graph)


def sgd_step() -> Graph:
    r = Recorder()
    p, g = r.input((30,), float32), r.input((30,), float32)
    return r.graph(r("sub", p, r("mul", g, g)))


def test_a_donated_input_is_overwritten_when_nobody_reads_it_later() -> None:
    module = buffered(sgd_step(), [0, 0])
    assert list(module.attributes["lamina.donated"].get_values()) == [0, 0]
    assert "lamina.donations" not in module.attributes
    agree(module, sgd_step())


def test_a_donation_of_an_input_that_is_returned_is_refused() -> None:
    r = Recorder()
    p = r.input((30,), float32)
    graph = r.graph(r("exp", p), p)
    module = buffered(graph, [0, 0])
    assert "lamina.donated" not in module.attributes


def test_a_donation_is_refused_when_the_input_is_read_elsewhere() -> None:
    r = Recorder()
    p = r.input((6, 6), float32)
    graph = r.graph(r("permute", p, attrs=((1, 0),)))
    assert "lamina.donated" not in buffered(graph, [0, 0]).attributes


def test_an_unknown_op_is_refused_by_name() -> None:
    text = """
    builtin.module {
      func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
        %y = math.exp %x : tensor<4xf32>
        func.return %y : tensor<4xf32>
      }
    }
    """
    with pytest.raises((PassError, NotImplementedError), match=r"math\.exp"):
        Bufferize().run(parse(text))


def test_a_donated_output_made_in_the_inputs_own_memory(tmp_path: Path) -> None:
    compiler = find_compiler()
    if compiler is None:
        pytest.skip("no C compiler")
    graph = sgd_step()
    module = buffered(graph, [0, 0])
    LinalgToLoops(target="portable").run(module)
    source = tmp_path / "step.c"
    source.write_text(emit_c(module, "step", pool=False).text)
    build_shared(compiler, source, tmp_path / "step.so")
    p, g = (np.arange(30, dtype=np.float32) * k for k in (1, 2))
    table = (ctypes.c_void_p * 4)(p.ctypes.data, g.ctypes.data, p.ctypes.data, None)
    assert ctypes.CDLL(str(tmp_path / "step.so")).step(table) == 0
    np.testing.assert_allclose(p, np.arange(30) - (2.0 * np.arange(30)) ** 2)


def test_an_input_read_for_the_last_time_element_by_element_may_hold_the_output() -> None:
    assert list(buffered(sgd_step()).attributes["lamina.reusable"].get_values()) == [0, 0, 0, 1]
    r = Recorder()
    p = r.input((6, 6), float32)
    crossed = r.graph(r("add", p, r("permute", p, attrs=((1, 0),))))
    assert "lamina.reusable" not in buffered(crossed).attributes
    returned = Recorder()
    q = returned.input((30,), float32)
    assert "lamina.reusable" not in buffered(returned.graph(returned("exp", q), q)).attributes
