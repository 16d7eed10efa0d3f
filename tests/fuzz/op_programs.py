"""Op programs: the op book through its PyTorch names: shapes, broadcasting, views between ops, casts, folds, products,
composites, irregular ops, and Python's control flow on values."""

from __future__ import annotations

import math
import math
from typing import Any

import torch
from fuzz.memory_programs import KINDS as PLACES
from fuzz.program import Chooser, NothingFits

UNARY = """neg abs sign exp exp2 expm1 sin cos atan sinh cosh asinh tanh sigmoid erf erfc floor ceil round trunc relu square
reciprocal isnan isinf isfinite""".split()
FUNCTIONS = """silu gelu mish selu hardswish hardsigmoid softsign logsigmoid softplus leaky_relu elu hardtanh relu6 celu
tanhshrink""".split()
PAIRS = "add sub mul maximum minimum atan2 copysign fmax hypot logaddexp".split()
ORDERS = "eq ne lt le gt ge".split()

TABLE = (
    [f"{{new}} = {{f}}.{name}()" for name in UNARY]
    + [f"{{new}} = F.{name}({{f}})" for name in FUNCTIONS]
    + [f"{{new}} = torch.{name}({{f}}, {{wide}})" for name in PAIRS]
    + [f"{{new}} = {{x}}.{name}({{wide}})" for name in ORDERS]
    + """
{new} = {f} / ({wide}.abs() + 0.5)
{new} = {f} ** 2
{new} = ({f}.abs() + 0.5) ** {wide}.tanh()
{new} = {f}.fmod(0.7)
{new} = {f}.remainder(0.7)
{new} = {f}.detach() // 0.7
{new} = ({f}.abs() + 0.5).log()
{new} = ({f}.abs() + 0.5).log2()
{new} = ({f}.abs() + 0.5).log10()
{new} = ({f}.abs() + 0.5).sqrt()
{new} = ({f}.abs() + 0.5).rsqrt()
{new} = {f}.abs().log1p()
{new} = ({f}.tanh() * 0.9).asin()
{new} = ({f}.tanh() * 0.9).acos()
{new} = ({f}.tanh() * 0.9).atanh()
{new} = ({f}.abs() + 1.5).acosh()
{new} = {f}.sigmoid().tan()
{new} = F.gelu({f}, approximate="tanh")
{new} = {f}.clamp(-0.7, 1.1)
{new} = torch.where({x} > 0.3, {same}, {number})
{new} = torch.where({bool}, {samef}, 0.5)
{new} = {f}.sum({dim})
{new} = {f}.sum({dim}, keepdim=True)
{new} = {f}.mean()
{new} = {f}.mean({dim}, keepdim=True)
{new} = {f}.prod({dim})
{new} = {f}.amax({dim})
{new} = {f}.amin({dim}, keepdim=True)
{new} = {f}.max({dim}).values
{new} = {f}.min({dim})[0]
{new} = {x}.argmax({dim})
{new} = {x}.argmin({dim}, keepdim=True)
{new} = {f}.var({dim}, unbiased=False)
{new} = {f}.std({dim}, unbiased=False, keepdim=True)
{new} = ({f} + 0.1).norm()
{new} = torch.linalg.vector_norm({f}, 3, {dim})
{new} = {f}.logsumexp({dim})
{new} = {f}.softmax({dim})
{new} = {f}.log_softmax({dim})
{new} = {f}.cumsum({dim})
{new} = {f}.cumprod({dim})
{new} = {f}.cummax({dim})[0]
{new} = {f}.cummin({dim})[0]
{new} = {f}.sort({dim})[0]
{new} = {f}.sort({dim}, descending=True, stable=True)[0]
{new} = {f}.argsort({dim})
{new} = ({x} > 0).all({dim})
{new} = ({x} > 0).any({dim}, keepdim=True)
{new} = ({x} > 0).sum({dim})
{new} = {bool} & ({same} > 0.2)
{new} = {bool} | ({same} > 0.2)
{new} = {bool} ^ ({same} > 0.2)
{new} = ~{bool}
{new} = {bool}.logical_and({same} > 0.1)
{new} = {bool}.logical_xor({same} > 0.1)
{new} = {bool}.logical_not()
{new} = ({f}.abs() + 0.7).lgamma()
{new} = ({f}.abs() + 0.7).digamma()
{new} = ({f}.tanh() * 0.9).erfinv()
{new} = torch.special.i0e({f})
{new} = torch.special.i1({f})
{new} = torch.special.erfcx({f})
{new} = torch.special.log_ndtr({f})
{new} = torch.special.ndtri({f}.sigmoid())
{new} = {int} & 3
{new} = {int} | 5
{new} = {int} ^ 6
{new} = ~{int}
{new} = {int} << 1
{new} = {int} >> 1
{new} = {int} // 2
{new} = {int} % 3
{new} = {int} * 2 - 1
{new} = {x}.double()
{new} = {x}.float()
{new} = ({f} * 2).long()
{new} = {x} > 0.1
{new} = {x}.int()
{new} = {int} / 4
{new} = {f} @ {f}.mT
{new} = {f}.mT @ {samef}
{new} = torch.einsum("...ij,...kj->...ik", {f}, {samef})
{new} = F.linear({f}, {rows})
{new} = F.linear({f}, {rows}, torch.ones(2, dtype={kind}) * 0.3)
{new} = F.conv1d({f3}, {taps}, stride={step})
{new} = F.conv1d({f3}, {taps}, padding=1, dilation=2)
{new} = F.conv1d({f3}, {taps}.requires_grad_(), padding=2)
{new} = F.conv_transpose1d({f3}, {taps}.transpose(0, 1))
{new} = F.conv2d({f3}.unsqueeze(1), {square}, padding=1, stride={step})
{new} = F.max_pool2d({f3}, 2, stride={step}, padding=1)
{new} = F.max_pool1d({f3}, 2, stride={step})
{new} = F.avg_pool1d({f3}, 2, stride={step})
{new} = F.layer_norm({f1}, ({f1last},))
{new} = F.batch_norm({f3}, None, None, training=True)
{new} = F.mse_loss({f}, {samef})
{new} = F.l1_loss({f}, {samef}, reduction="none")
{new} = F.smooth_l1_loss({f}, {samef})
{new} = F.huber_loss({f}, {samef}, delta=0.7)
{new} = F.binary_cross_entropy({f}.sigmoid(), {samef}.sigmoid().detach())
{new} = F.binary_cross_entropy_with_logits({f}, {samef}.sigmoid().detach())
{new} = F.kl_div({f}, {samef}.sigmoid(), reduction="sum")
{new} = F.cross_entropy({f2}, torch.zeros({f2rows}, dtype=torch.int64))
{new} = F.nll_loss({f2}.log_softmax(1), torch.zeros({f2rows}, dtype=torch.int64), reduction="none")
{new} = F.one_hot({int}.abs() % 3, 3)
{new} = {f}.transpose({dim}, {dim})
{new} = {f}.permute({perm})
{new} = {f}.reshape({factors})
{new} = {f}[{index}]
{new} = {f}.unsqueeze({newdim})
{new} = {f}.expand(2, *{sizes})
{new} = {f}.flip({dim})
{new} = {f}.roll(1, {dim})
{new} = F.pad({f1}, (1, 2), value=0.5)
{new} = F.pad({f1}, (-1, 1))
{new} = torch.cat([{f}, {samef}], {dim})
{new} = torch.stack([{f}, {samef}], {dim})
{new} = {f}.unfold({dim}, {window}, {stride})
{new} = {f}.diagonal({offset}, {dim}, {dim})
{new} = {f}.index_select({dim}, torch.tensor([{places}]))
{new} = {f}.gather({dim}, torch.zeros({sizes}, dtype=torch.int64))
{new} = {f}.scatter_add({dim}, torch.zeros({sizes}, dtype=torch.int64), {samef})
{new} = {f}.scatter({dim}, torch.zeros({sizes}, dtype=torch.int64), 0.5)
{new} = {f}.index_add({dim}, torch.tensor([{place}]), {samef}.index_select({samedim}, torch.tensor([{place}])))
{new} = {f}.masked_fill({same} > 0.2, 0.25)
{new} = {f}.tril() if {it}.dim() > 1 else {it}
{new} = {f}[{same} > 0.1]
{new} = {f}.lerp({samef}, 0.3)
{new} = {f}.detach() * {samef}
{new} = {f}.clone(); {last}[..., :1] = 0.5
{new} = {f} * 1; {last} *= {samef}
if {f}.sum() > 0.2: {it} = {samef} * 2
while {f}.numel() > 3 and {it}.dim() > 1: {it} = {it}[0]
for k in range(3): {f}; {it} = {it} * 0.5 + k
""".strip().splitlines()
)

def _numbers(n: int, shape: str, dtype: str, tail: str = ".requires_grad_()") -> str:
    """A tensor of numbers without a pattern, none of them at a jump of any function above."""
    numbers = [round(1.7 * math.sin(1.37 * k - 0.9 + n), 3) for k in range(n)]
    return f"torch.tensor({numbers}, dtype=torch.{dtype}).reshape({shape}){tail}"


WHOLE = "torch.tensor([[-2, 1, 0], [3, -1, 2]])"
PRELUDES = [
    ["F = torch.nn.functional", *[f"v{k} = {made}" for k, made in enumerate(tensors)]]
    for tensors in (
        (_numbers(6, "2, 3", "float64"), _numbers(24, "2, 3, 4", "float64"), WHOLE),
        (_numbers(8, "2, 4", "float64"), _numbers(16, "2, 2, 4", "float64"), "torch.tensor([True, False, True, True])"),
        (_numbers(4, "4", "float64"), _numbers(12, "3, 1, 4", "float64"), "torch.tensor([[True], [False], [True]])"),
        (_numbers(1, "()", "float64"), _numbers(16, "1, 4, 4", "float64"), "torch.tensor([3, 1, 2, 0], dtype=torch.int32)"),
        (_numbers(6, "2, 3", "float32"), _numbers(24, "2, 3, 4", "float32"), WHOLE),
    )
]


def closing(names: dict[str, Any]) -> list[str]:
    """Gradients of the newest tracked value, and of a sum of several."""
    tracked = [k for k, v in names.items() if isinstance(v, torch.Tensor) and v.requires_grad and not v.is_leaf]
    leaves = ", ".join(k for k, v in names.items() if isinstance(v, torch.Tensor) and v.is_leaf and v.requires_grad)
    if not tracked or not leaves:
        return []
    loss = " + ".join(f"({k}.double() * {k}.double()).sum()" for k in tracked[-3:])
    return [f"g = torch.autograd.grad({loss}, [{leaves}], allow_unused=True)"]


# -- placeholders
# --------------------------------------------------------------------------------------------------


def _float(c: Chooser, rank: int = 0, exactly: bool = False) -> str:
    def wanted(t: torch.Tensor) -> bool:
        fits = t.dim() == rank if exactly else t.dim() >= rank
        return fits and t.is_floating_point() and t.numel() > 0

    return c.tensor(wanted)


def _again(c: Chooser, what: Any) -> str:
    """Something of the tensor chosen last."""
    if c.current is None:
        raise NothingFits
    return what(c.current)


def _wide(c: Chooser) -> str:
    """A tensor that broadcasts with the current one, or a number; PyTorch's dtypes are promoted."""
    shape, dtype = c.current.shape, c.current.dtype
    return _pick(c, lambda t: _broadcasts(t.shape, shape) and t.dtype == dtype)


def _broadcasts(a: Any, b: Any) -> bool:
    return all(n == m or 1 in (n, m) for n, m in zip(reversed(a), reversed(b), strict=False))


def _pick(c: Chooser, wanted: Any) -> str:
    return c.of(reversed([k for k, v in c.names.items() if isinstance(v, torch.Tensor) and wanted(v)]))


def _samef(c: Chooser) -> str:
    return _pick(c, lambda t: t.shape == c.current.shape and t.dtype == c.current.dtype)


def _named(c: Chooser) -> str:
    return next(k for k, v in c.names.items() if v is c.current)


def _taps(c: Chooser) -> str:
    """Three taps for as many channels as the current tensor has."""
    channels = c.current.shape[1]
    return f"(torch.arange({6 * channels}, dtype={c.current.dtype}) * 0.21 - 0.6).reshape(2, {channels}, 3)"


def _rows(c: Chooser) -> str:
    if not c.current.dim():
        raise NothingFits
    width = c.current.shape[-1]
    return f"(torch.arange({2 * width}, dtype={c.current.dtype}) * 0.3 - 0.5).reshape(2, {width})"


KINDS = PLACES | {
    "x": lambda c: c.tensor(lambda t: t.numel() > 0),
    "f": _float,
    "f1": lambda c: _float(c, 1),
    "f2": lambda c: _float(c, 2, exactly=True),
    "f3": lambda c: _float(c, 3, exactly=True),
    "f1last": lambda c: _again(c, lambda t: str(t.shape[-1])),
    "f2rows": lambda c: _again(c, lambda t: str(len(t))),
    "int": lambda c: c.tensor(lambda t: t.dtype in (torch.int64,)),
    "bool": lambda c: c.tensor(lambda t: t.dtype is torch.bool),
    "same": lambda c: _pick(c, lambda t: t.shape == c.current.shape),
    "samef": _samef,
    "wide": _wide,
    "number": lambda c: f"torch.tensor({c.of(['1', '0'])}, dtype={c.current.dtype})",
    "kind": lambda c: str(c.current.dtype),
    "sizes": lambda c: str(tuple(c.current.shape)),
    "rows": _rows,
    "taps": _taps,
    "square": lambda c: f"(torch.arange(18, dtype={c.current.dtype}) * 0.11 - 0.9).reshape(2, 1, 3, 3)",
    "step": lambda c: c.of(["1", "2"]),
    "it": _named,
    "last": lambda c: c.target,
}
