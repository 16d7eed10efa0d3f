"""Arguments by name: what PyTorch's own stubs call the parameters of functions and methods is understood."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import lamina
from lamina.pyfront.definitions import TABLE
from lamina.pyfront.tensor import Tensor

from .witness import Program, agree

BESIDE = {"self", "input", "out", "names", "out_dtype", "pin_memory", "cudnn_enabled", "memory_format", "implicit"}
"""Places and options of every other function, which are no names of its own."""

NOT_TAKEN = {
    ("Tensor", "new"), ("Tensor", "set_"), ("Tensor", "resize_"), ("Tensor", "resize_as_"), ("torch", "resize_as_"), ("Tensor", "is_set_to"),
    ("Tensor", "apply_"), ("Tensor", "map_"), ("Tensor", "map2_"), ("Tensor", "is_pinned"), ("Tensor", "orgqr"), ("torch", "orgqr"),
    ("torch", "alpha_dropout"), ("torch", "feature_alpha_dropout"), ("torch", "rrelu"), ("torch", "smm"), ("torch", "spmm"),
    ("torch", "dequantize"), ("torch", "quantize_per_tensor"), ("torch", "promote_types"), ("torch", "result_type"), ("torch", "scalar_tensor"),
    ("torch", "empty_strided"), ("torch", "from_numpy"), ("torch", "rand_like"), ("torch", "randn_like"), ("torch", "tril_indices"),
    ("torch", "triu_indices"), ("torch", "set_num_threads"), ("torch", "set_num_interop_threads"),
    ("Tensor", "requires_grad_"), ("Tensor", "copy_"),
}  # fmt: skip
"""Called by position only, in PyTorch itself or by everybody, or with an option that is not offered."""


def overloads(file: str, owner: str) -> Iterator[ast.FunctionDef]:
    """The functions a stub file of PyTorch declares in a class."""
    torch = pytest.importorskip("torch")
    stubs = Path(torch.__file__).parent / "_C" / file
    if not stubs.exists():
        pytest.skip("this PyTorch comes without its stubs")
    for node in ast.parse(stubs.read_text()).body:
        if isinstance(node, ast.ClassDef) and node.name == owner:
            yield from (f for f in node.body if isinstance(f, ast.FunctionDef) and not f.name.startswith("_"))
        elif owner == "" and isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node


def understood(name: str, function: object) -> set[str] | None:
    """The names a call may use; None for any."""
    try:
        parameters = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    names = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if name in TABLE:
        names |= {*TABLE[name].other_names} | {p.name for p in parameters if p.kind is p.VAR_POSITIONAL}
    return names


@pytest.mark.parametrize(
    "file, owner, where, holder",
    [("__init__.pyi", "TensorBase", "Tensor", Tensor), ("_VariableFunctions.pyi", "", "torch", lamina)],
)
def test_every_name_of_the_stubs(file: str, owner: str, where: str, holder: object) -> None:
    seen, refused = 0, {}
    for stub in overloads(file, owner):
        ours = getattr(holder, stub.name, None)
        if ours is None or (where, stub.name) in NOT_TAKEN:
            continue
        names = understood(stub.name, ours)
        asked = {a.arg for a in [*stub.args.args, *stub.args.kwonlyargs]} - BESIDE
        seen += 1
        if names is not None and asked - names:
            refused[stub.name] = sorted(asked - names)
    assert seen > 500
    assert refused == {}


@pytest.mark.parametrize(
    "program",
    [
        lambda t: t.arange(6).split(split_size=[2, 4], dim=0),
        lambda t: t.arange(6).split_with_sizes(split_sizes=[1, 5]),
        lambda t: t.tensor_split(t.arange(7), sections=3),
        lambda t: t.arange(7).tensor_split(indices=(2, 3), dim=0),
        lambda t: t.arange(6).reshape(shape=(2, 3)),
        lambda t: t.reshape(input=t.arange(6), shape=(2, 3)),
        lambda t: t.arange(6).view(size=(2, 3)).permute(dims=(1, 0)),
        lambda t: t.permute(t.ones(2, 3), dims=(1, 0)),
        lambda t: t.ones(2, 1).expand(size=(2, 4)),
        lambda t: t.ones(2, 1).repeat(repeats=(2, 4)),
        lambda t: t.tile(t.arange(3), dims=(2, 2)),
        lambda t: t.ones(2, 3).swapaxes(axis0=0, axis1=1),
        lambda t: t.ones(2, 3).transpose_(dim0=0, dim1=1).unsqueeze_(dim=0),
        lambda t: t.max(t.tensor([1.0, 5.0]), other=t.tensor([2.0, 3.0])),
        lambda t: t.dot(t.arange(3.0), tensor=t.ones(3)),
        lambda t: t.ones(2, 3).mv(vec=t.arange(3.0)),
        lambda t: t.ones(1, 2, 3).baddbmm_(batch1=t.ones(1, 2, 4), batch2=t.ones(1, 4, 3), beta=2),
        lambda t: t.addmv(t.ones(2), mat=t.ones(2, 3), vec=t.arange(3.0)),
        lambda t: t.det(input=t.eye(2) * 2),
        lambda t: t.nanmean(t.tensor([1.0, float("nan")]), dtype=t.float64),
    ],
)
def test_values(program: Program) -> None:
    agree(program)
