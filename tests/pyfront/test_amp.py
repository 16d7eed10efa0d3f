"""autocast and GradScaler against PyTorch without a GPU."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import numpy as np
import pytest

import lamina

torch = pytest.importorskip("torch")


def test_scaling_and_skipped_steps() -> None:
    def run(lib: Any) -> list:
        p = lib.nn.Parameter(lib.ones(3))
        optimizer = lib.optim.SGD([p], 0.5)
        scaler = lib.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
        found: list[Any] = []
        for factor in (1.0, 2.0, float("inf"), 1.0):
            optimizer.zero_grad()
            scaler.scale((p * p).sum() * factor).backward()
            if factor == 2.0:
                scaler.unscale_(optimizer)
                found.append(p.grad.tolist())
            scaler.step(optimizer)
            scaler.update()
            found += [p.tolist(), scaler.get_scale()]
        state = scaler.state_dict()
        other = lib.amp.GradScaler("cpu")
        other.load_state_dict(state)
        return [*found, state, other.get_scale(), [t.item() for t in scaler.scale([lib.ones(()), lib.zeros(())])]]

    assert run(lamina) == run(torch)


def test_switched_off_without_a_gpu() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scaler = lamina.amp.GradScaler()
        with lamina.autocast("cuda"):
            y = lamina.ones(2, 2) @ lamina.ones(2, 2)
    assert [str(w.message) for w in caught] == [
        "torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.",
        "User provided device_type of 'cuda', but CUDA is not available. Disabling",
    ]
    assert y.dtype is lamina.float32 and scaler.scale(y) is y and scaler.get_scale() == 1.0 and scaler.state_dict() == {}


EXPRESSIONS = """
a@b
torch.matmul(a,h)
torch.mm(a,b)
torch.bmm(x3,x3.transpose(1,2))
torch.baddbmm(torch.zeros(2,3,3),x3,x3.transpose(1,2))
torch.addmm(a,a,b)
torch.mv(a,v)
torch.dot(v,v)
torch.einsum('ij,jk->ik',a,b)
F.linear(a,b)
F.linear(a,b,v)
F.linear(h,b,v)
d@d
F.conv2d(x4,torch.randn(2,3,3,3))
F.conv1d(x3,torch.randn(2,3,3),torch.randn(2))
F.conv_transpose2d(x4,torch.randn(3,2,3,3))
F.prelu(x4,torch.tensor([.2]))
F.scaled_dot_product_attention(x4,x4,x4)
a+h
a*h
h+1
torch.relu(h)
torch.exp(h)
F.softmax(h,-1)
F.log_softmax(h,-1)
F.gelu(h)
h.sum()
h.mean()
h.prod()
torch.cat([a,h])
torch.stack([h,a])
torch.cat([h,h])
F.mse_loss(h,a)
F.mse_loss(h,h)
F.l1_loss(h,h)
F.cross_entropy(h,torch.tensor([0,1,2,3]))
F.nll_loss(h,torch.tensor([0,1,2,3]))
F.binary_cross_entropy_with_logits(h,torch.rand(4,4))
F.smooth_l1_loss(h,a)
F.huber_loss(h,h)
F.kl_div(h,torch.rand(4,4))
F.layer_norm(h,(4,),v,v)
F.layer_norm(a,(4,),v,v)
F.batch_norm(h,torch.zeros(4),torch.ones(4),v,v)
F.batch_norm(h,torch.zeros(4),torch.ones(4),v,v,True)
F.group_norm(x4.bfloat16(),3,torch.ones(3),torch.zeros(3))
F.max_pool2d(x4.bfloat16(),2)
F.avg_pool2d(x4.bfloat16(),2)
F.adaptive_avg_pool2d(x4.bfloat16(),1)
F.avg_pool3d(x5.bfloat16(),2)
F.max_pool3d(x5.bfloat16(),2)
F.interpolate(x4.bfloat16(),scale_factor=2)
F.dropout(h,.5)
F.embedding(torch.tensor([1,2]),a)
h.view(2,8)
torch.cdist(h,h)
torch.linalg.inv(h+torch.eye(4)*9)
torch.trace(h)
F.normalize(h)
F.cosine_similarity(h,h)
nn.Linear(4,2)(a)
nn.Conv2d(3,2,3)(x4)
nn.BatchNorm2d(3)(nn.Conv2d(3,3,1)(x4))
nn.LayerNorm(4)(nn.Linear(4,4)(a))
nn.Sequential(nn.Linear(4,8),nn.ReLU(),nn.Linear(8,2))(a)
nn.LSTM(4,3)(x3.reshape(2,6,4))[0]
nn.LSTM(4,3)(nn.Linear(4,4)(x3.reshape(2,6,4)))[0]
nn.MultiheadAttention(4,2)(x3.reshape(2,6,4),x3.reshape(2,6,4),x3.reshape(2,6,4))[0]
nn.TransformerEncoderLayer(4,2,8)(x3.reshape(2,6,4))
nn.Embedding(4,4)(torch.tensor([1]))
nn.Bilinear(4,4,2)(a,b)
nn.CrossEntropyLoss()(nn.Linear(4,4)(a),torch.tensor([0,1,2,3]))
nn.MSELoss()(nn.Linear(4,4)(a),b)
torch.pow(h,2)
a.matmul(b)
a.mm(b)
a.sqrt()
torch.outer(v,v)
torch.where(a>0,a,h)
F.pad(x4.bfloat16(),(1,1))
F.fold(F.unfold(x4,2),(8,8),2)
torch.linalg.norm(h)
torch.cumsum(h,0)
torch.var(h)
F.grid_sample(x4.bfloat16(),torch.zeros(2,2,2,2))
F.triplet_margin_loss(h,h,h)
F.cosine_embedding_loss(h,h,torch.ones(4))
""".strip().splitlines()


def scope(lib: Any) -> dict[str, Any]:
    lib.manual_seed(0)
    shapes = {"a": (4, 4), "b": (4, 4), "v": (4,), "x4": (2, 3, 8, 8), "x3": (2, 3, 8), "x5": (1, 2, 4, 4, 4)}
    tensors = {name: lib.randn(*shape) for name, shape in shapes.items()}
    return {
        "torch": lib, "nn": lib.nn, "F": lib.nn.functional, **tensors, "h": lib.randn(4, 4).bfloat16(), "d": lib.randn(4, 4).double(),
    }  # fmt: skip


def dtype_of(expression: str, names: dict[str, Any]) -> str:
    try:
        return str(eval(expression, names).dtype)
    except RuntimeError as error:  # oneDNN has no bfloat16 LSTM for processors without 512-bit vectors
        if names["torch"] is torch and "LSTM" in expression and "primitive descriptor" in str(error):
            return "torch.bfloat16"
        raise


@pytest.mark.filterwarnings("ignore")
def test_dtypes_in_a_region() -> None:
    ours, theirs = scope(lamina), scope(torch)
    for expression in EXPRESSIONS:
        dtypes = []
        for names in (ours, theirs):
            with names["torch"].autocast("cpu"):
                dtypes.append(dtype_of(expression, names))
        assert dtypes[0].endswith(dtypes[1].removeprefix("torch.")), expression


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("expression", [e for e in EXPRESSIONS if "dropout" not in e and "sqrt" not in e])
def test_values_in_a_region(expression: str) -> None:
    values = []
    for names in (scope(lamina), scope(torch)):
        lib = names["torch"]
        lib.manual_seed(1)
        # oneDNN has no bfloat16 LSTM for processors without 512-bit vectors; PyTorch's own kernels have one.
        own = torch.backends.mkldnn.flags(enabled="LSTM" not in expression) if lib is torch else contextlib.nullcontext()
        with lib.autocast("cpu"), own:
            values.append(eval(expression, names).detach().float().numpy())
    np.testing.assert_allclose(*values, 2e-2, 5e-2)


def test_regions_nest_and_train() -> None:
    found = []
    for lib in (lamina, torch):
        lib.manual_seed(0)
        model, x = lib.nn.Sequential(lib.nn.Linear(4, 8), lib.nn.ReLU(), lib.nn.Linear(8, 2)), lib.ones(3, 4)
        seen: list[Any] = [lib.is_autocast_enabled("cpu"), str(lib.get_autocast_dtype("cpu"))]
        with lib.autocast("cpu", dtype=lib.bfloat16):
            loss = lib.nn.functional.mse_loss(model(x), lib.zeros(3, 2))
            seen.append(lib.is_autocast_enabled("cpu"))
            with lib.autocast("cpu", enabled=False):
                seen += [str((x @ x.t()).dtype), lib.is_autocast_enabled("cpu")]
        loss.backward()
        seen += [[str(p.grad.dtype) for p in model.parameters()], str(model(x).dtype)]
        seen.append(str(lib.autocast("cpu")(lambda: x @ x.t())().dtype))
        found.append((seen, loss.item(), [p.grad.numpy() for p in model.parameters()]))
    assert found[0][0] == found[1][0]
    np.testing.assert_allclose(found[0][1], found[1][1], 1e-2)
    for ours, theirs in zip(found[0][2], found[1][2], strict=True):
        np.testing.assert_allclose(ours, theirs, 3e-2, 1e-2)
