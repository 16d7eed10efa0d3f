"""Autocast regions against PyTorch: the dtypes of results, a training run, nesting, and products on the emulated GPU."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from needs import needs_emulation

from graphs import graphs_of

import lamina
from lamina.backends.cuda.program import cuda_source
from lamina.dialects import flags
from lamina.pyfront import placement, recorder

torch = pytest.importorskip("torch")


def calls(t: Any, half: str | None) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Functions of each kind of rule on tensors of a dtype, with float32 parameters."""
    F = t.nn.functional
    d = {"dtype": getattr(t, half)} if half else {}
    x=t.randn(4,6,**d); w=t.randn(5,6); b=t.randn(5); im=t.randn(2,3,8,8,**d); k=t.randn(4,3,3,3); v=t.rand(4,6,**d)*.5+.2
    im3=t.randn(2,3,4,8,8,**d)
    q=t.randn(1,2,4,8,**d); tgt=t.tensor([0,1,2,3]); y=t.rand(4,6)
    yield "linear", lambda: F.linear(x,w,b)
    yield "matmul", lambda: t.matmul(x,w.T)
    yield "@", lambda: x@w.T
    yield "mm", lambda: t.mm(x,w.T)
    yield "m.mm", lambda: x.mm(w.T)
    yield "bmm", lambda: t.bmm(im3[:,0,0], t.randn(2,8,3))
    yield "addmm", lambda: t.addmm(b,x,w.T)
    yield "baddbmm", lambda: t.baddbmm(t.randn(2,8,3), im3[:,0,0], t.randn(2,8,3))
    yield "mv", lambda: t.mv(x,t.randn(6,**d))
    yield "einsum", lambda: t.einsum("ij,kj->ik",x,w)
    yield "conv2d", lambda: F.conv2d(im,k)
    yield "conv_t", lambda: F.conv_transpose2d(im, t.randn(3,4,3,3))
    yield "sdpa", lambda: F.scaled_dot_product_attention(q,q,q)
    yield "relu", lambda: F.relu(x)
    yield "gelu", lambda: F.gelu(x)
    yield "add", lambda: x+t.ones(6)
    yield "softmax", lambda: F.softmax(x,-1)
    yield "log_softmax", lambda: F.log_softmax(x,-1)
    yield "layer_norm", lambda: F.layer_norm(x,(6,))
    yield "cross_entropy", lambda: F.cross_entropy(x,tgt)
    yield "nll", lambda: F.nll_loss(x,tgt)
    yield "mse", lambda: F.mse_loss(x,y)
    yield "l1", lambda: F.l1_loss(x,y)
    yield "smooth", lambda: F.smooth_l1_loss(x,y.to(x.dtype))
    yield "huber", lambda: F.huber_loss(x,y)
    yield "bce", lambda: F.binary_cross_entropy(v,y)
    yield "bcel", lambda: F.binary_cross_entropy_with_logits(x,y)
    yield "kl", lambda: F.kl_div(x,y)
    yield "exp", lambda: x.exp()
    yield "pow", lambda: x.pow(2)
    yield "sum", lambda: x.sum()
    yield "prod", lambda: x.prod()
    yield "norm", lambda: x.norm()
    yield "cumsum", lambda: x.cumsum(0)
    yield "cat", lambda: t.cat([x, t.ones(4,6)])
    yield "stack", lambda: t.stack([x, t.ones(4,6)])
    yield "quantile", lambda: t.quantile(x,.5)
    yield "trace", lambda: t.trace(x)
    yield "cdist", lambda: t.cdist(x,t.randn(3,6))
    yield "mp3", lambda: F.max_pool3d(im3,2)
    yield "ap3", lambda: F.avg_pool3d(im3,2)
    yield "ap2", lambda: F.avg_pool2d(im,2)
    yield "interp", lambda: F.interpolate(im,scale_factor=2)
    yield "prelu", lambda: F.prelu(x,t.tensor([.2]))
    yield "Linear", lambda: t.nn.Linear(6,3)(x)
    yield "LSTM", lambda: t.nn.LSTM(6,3)(x[None])[0]
    yield "GRUCell", lambda: t.nn.GRUCell(6,3)(x)
    yield "MHA", lambda: t.nn.MultiheadAttention(6,2)(x[:,None],x[:,None],x[:,None])[0]
    yield "BN", lambda: t.nn.BatchNorm2d(3)(im)
    yield "GN", lambda: F.group_norm(im,3)
    yield "Enc", lambda: t.nn.TransformerEncoderLayer(6,2,8)(x[:,None])


def dtype_of(name: str, theirs: Callable[[], Any]) -> str:
    try:
        return str(theirs().dtype)
    except RuntimeError as error:  # oneDNN has no bfloat16 LSTM for processors without 512-bit vectors
        if name == "LSTM" and "primitive descriptor" in str(error):
            return "torch.bfloat16"
        raise


@pytest.mark.parametrize("half", [None, "bfloat16"])
def test_dtypes_of_results(half: str | None) -> None:
    wrong = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for (name, theirs), (_, ours) in zip(calls(torch, half), calls(lamina, half), strict=True):
            with torch.autocast("cpu"), lamina.autocast("cpu"):
                want, got = dtype_of(name, theirs), str(ours().dtype)
            if want != got:
                wrong.append((name, want, got))
    assert not wrong


def test_nesting_and_switches() -> None:
    for lib in (lamina, torch):
        x = lib.ones(2, 2)
        found = []
        with lib.autocast("cpu"):
            found.append((x @ x).dtype is lib.bfloat16 and lib.is_autocast_enabled("cpu"))
            with lib.autocast("cpu", enabled=False):
                found.append((x @ x).dtype is lib.float32 and not lib.is_autocast_enabled("cpu"))
                with lib.autocast("cpu", dtype=lib.float16):
                    found.append((x @ x).dtype is lib.float16 and lib.get_autocast_dtype("cpu") is lib.float16)
            found.append((x @ x).dtype is lib.bfloat16)

        @lib.autocast("cpu")
        def decorated(y):
            return y @ y

        found.append(decorated(x).dtype is lib.bfloat16 and (x @ x).dtype is lib.float32)
        found.append((x.double() @ x.double()).dtype is lib.float64)
        assert all(found), (lib.__name__, found)
    with pytest.raises(RuntimeError, match="unsupported autocast device_type 'mars'"):
        lamina.autocast("mars")


def test_what_a_function_with_a_rule_calls_follows_none() -> None:
    F, half = lamina.nn.functional, lamina.bfloat16
    q, k, v = (lamina.randn(1, 2, 24, 16) for _ in range(3))
    want = [F.scaled_dot_product_attention(q.to(half), k.to(half), v.to(half)), lamina.cdist(q, k), F.cosine_similarity(q, k)]
    with lamina.autocast("cpu"):
        got = [F.scaled_dot_product_attention(q, k, v), lamina.cdist(q, k), F.cosine_similarity(q, k)]
        assert (q @ k.mT).dtype is half
    for a, b in zip(got, want, strict=True):
        assert a.dtype is b.dtype and bool((a == b).all())


def test_attention_under_autocast_is_one_kernel_on_a_gpu() -> None:
    q, k, v = (lamina.randn(1, 2, 32, 16, dtype=lamina.bfloat16) for _ in range(3))
    with graphs_of(found := []), lamina.autocast("cpu"):
        lamina.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).float().sum().item()
    table = cuda_source(max(found, key=lambda g: len(g.steps)), "sm_90a").table
    assert len(table.launches) == 2  # the chain, the sum


def losses(lib: Any) -> tuple[list[float], set]:
    lib.manual_seed(0)
    net = lib.nn.Sequential(lib.nn.Linear(12, 24), lib.nn.LayerNorm(24), lib.nn.GELU(), lib.nn.Linear(24, 3))
    x, y = lib.randn(32, 12), lib.randint(0, 3, (32,))
    optimizer, found = lib.optim.SGD(net.parameters(), lr=0.2, momentum=0.9), []
    for _ in range(8):
        optimizer.zero_grad()
        with lib.autocast("cpu"):
            loss = lib.nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found, {str(p.grad.dtype) for p in net.parameters()}


@pytest.mark.slow
def test_training() -> None:
    (ours, kinds), (theirs, _) = losses(lamina), losses(torch)
    assert kinds == {"torch.float32"}
    np.testing.assert_allclose(ours, theirs, rtol=2e-2)


def test_custom_functions() -> None:
    class Product(lamina.autograd.Function):
        @staticmethod
        @lamina.amp.custom_fwd(device_type="cpu", cast_inputs=lamina.float32)
        def forward(ctx, x, y):
            ctx.save_for_backward(x, y)
            return x @ y

        @staticmethod
        @lamina.amp.custom_bwd(device_type="cpu")
        def backward(ctx, g):
            x, y = ctx.saved_tensors
            return g @ y.T, x.T @ g

    x = lamina.ones(2, 2, requires_grad=True)
    with lamina.autocast("cpu"):
        out = Product.apply(x.bfloat16(), x)
    assert out.dtype is lamina.float32
    out.sum().backward()
    assert x.grad.dtype is lamina.float32


@needs_emulation
@pytest.mark.slow
def test_scaled_training_on_the_emulated_gpu() -> None:
    with flags.cuda("emulated"):
        try:
            lamina.manual_seed(0)
            net = lamina.nn.Sequential(lamina.nn.Linear(16, 32), lamina.nn.ReLU(), lamina.nn.Linear(32, 4)).cuda()
            x, y = lamina.randn(16, 16).cuda(), lamina.randint(0, 4, (16,)).cuda()
            optimizer, scaler, found = lamina.optim.SGD(net.parameters(), lr=0.1), lamina.cuda.amp.GradScaler(), []
            for _ in range(4):
                optimizer.zero_grad()
                with lamina.cuda.amp.autocast():
                    out = net(x)
                    loss = lamina.nn.functional.cross_entropy(out, y)
                assert out.dtype is lamina.float16 and loss.dtype is lamina.float32
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
                found.append(loss.item())
            assert found == sorted(found, reverse=True) and found[0] > found[-1] and scaler.get_scale() == 65536.0
        finally:
            recorder.flush()
            placement.forget()


@pytest.mark.parametrize("name", ["gelu", "silu", "softmax", "softplus", "mish", "hardswish"])
def test_gradients_of_composites_are_rounded_once(name: str) -> None:
    """As PyTorch computes them: half precision in float32, to the last bit but of what functions differ by."""

    def gradient(lib: Any) -> np.ndarray:
        rng = np.random.default_rng(0)
        x, seed = (lib.from_numpy(rng.standard_normal((16, 24), dtype=np.float32)).to(lib.bfloat16) for _ in range(2))
        x.requires_grad_()
        (lib.softmax(x, -1) if name == "softmax" else getattr(lib.nn.functional, name)(x)).backward(seed)
        return x.grad.float().numpy()

    np.testing.assert_allclose(gradient(lamina), gradient(torch), rtol=2.0**-8, atol=1e-6)
