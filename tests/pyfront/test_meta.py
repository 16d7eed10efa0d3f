"""Meta tensors and default devices: what PyTorch answers, where there is nothing to compute."""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator

import lamina as ours
import pytest
from lamina.pyfront import recorder

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

LINES = """
x = torch.empty(2, 3, device="meta"); print(x, x.device, x.is_meta, x.is_cpu, x.data_ptr(), x.untyped_storage().nbytes(), x.to(torch.float64))
y = (torch.empty(2, 3, device="meta") @ torch.empty(3, 4, device="meta")).relu(); print(y.shape, y.device, y.dtype, y.sum(0).shape)
torch.empty(1, device="meta").item()
bool(torch.empty(1, device="meta"))
torch.empty(3, device="meta").tolist()
torch.empty(3, device="meta").cpu()
torch.empty(3, device="meta").numpy()
torch.ones(2, 3).copy_(torch.empty(2, 3, device="meta"))
torch.nn.Linear(2, 2, device="meta").to("cpu")
x = torch.empty(2, 3, device="meta"); print(x.copy_(torch.ones(2, 3)).device, x.fill_(2).device, x[0].device, x.t().shape, x.new_zeros(3).device, x.expand(4, 2, 3).stride())
x = torch.empty(3, device="meta"); x[1:] = 4; x += 1; print(x, x.normal_().device, x.uniform_().device)
torch.manual_seed(0); torch.nn.Linear(9, 9, device="meta"); torch.randn(5, device="meta"); torch.randperm(4, device="meta"); print(torch.rand(3))
m = torch.nn.Linear(3, 4, device="meta"); m.to_empty(device="cpu"); print(m.weight.device, m.weight.shape, m.weight.requires_grad)
m = torch.nn.Linear(3, 4, device="meta"); s = torch.nn.Linear(3, 4).state_dict(); print(m.load_state_dict(s, assign=True), m.weight.device, torch.equal(m.weight, s["weight"]), type(m.weight).__name__)
m = torch.nn.Linear(3, 4, device="meta"); m(torch.empty(2, 3, device="meta")).sum().backward(); print(m.weight.grad.shape, m.weight.grad.device)
m = torch.nn.Linear(3, 4, device="meta"); torch.nn.init.orthogonal_(m.weight); torch.nn.init.trunc_normal_(m.weight); torch.nn.init.zeros_(m.bias); print(m.weight.device, m.half().weight.dtype, copy.deepcopy(m).bias.device)
print(torch.zeros(2).to("meta"), torch.ones(2, requires_grad=True).to("meta").requires_grad, torch.empty_like(torch.empty(2, device="meta"), device="cpu").device)
print(torch.nn.functional.cross_entropy(torch.empty(4, 5, device="meta"), torch.empty(4, dtype=torch.long, device="meta")).shape)
print(torch.nn.MultiheadAttention(8, 2, device="meta")(*[torch.empty(3, 1, 8, device="meta")] * 3)[0].shape)
with torch.device("meta"): print(*(t.device for t in (torch.randn(2), torch.tensor([1.0]), torch.arange(3), torch.zeros(2), torch.ones(2, device="cpu"), torch.randperm(4), torch.linspace(0, 1, 3), torch.eye(2), torch.full((2,), 1.0), torch.rand(2), torch.randint(3, (2,)), torch.zeros_like(torch.ones(2, device="cpu")), torch.hann_window(4), torch.as_tensor([1]), torch.tril_indices(3, 3))))
with torch.device("meta"): m = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.BatchNorm1d(5), torch.nn.Embedding(3, 5), torch.nn.LSTM(3, 4), torch.nn.Conv2d(3, 4, 3), torch.nn.TransformerEncoderLayer(8, 2)); print({p.device for p in m.parameters()}, {b.device for b in m.buffers()})
with torch.device("meta"), torch.device("cpu"): print(torch.ones(2).device, torch.get_default_device())
torch.set_default_device("meta"); print(torch.ones(2).device, torch.get_default_device()); torch.set_default_device(None); print(torch.ones(2).device, torch.get_default_device())
torch.set_default_dtype(torch.bfloat16); print(torch.tensor([1.5]), torch.tensor([])); torch.set_default_dtype(torch.float32)
"""


def said(module: object, line: str) -> str:
    out: list[str] = []
    try:
        exec(line, {"torch": module, "copy": copy, "print": lambda *parts: out.append(" ".join(map(str, parts)))})
    except Exception as error:
        out.append(f"{type(error).__name__}: {error}")
    return "\n".join(out)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    for module in (ours, torch):
        module.set_default_device(None)
        module.set_default_dtype(module.float32)


@pytest.mark.parametrize("line", [line for line in LINES.splitlines() if line])
def test_as_in_pytorch(line: str) -> None:
    assert said(ours, line) == said(torch, line)


def test_operands_with_and_without_contents() -> None:
    with pytest.raises(RuntimeError, match="at least two devices, meta and cpu"):
        ours.empty(2, device="meta") + ours.ones(2)


@pytest.mark.slow
def test_the_last_meta_tensor_takes_the_check_of_devices_with_it() -> None:
    """Programs do not pay for a model that was on the meta device while it was made."""
    with ours.device("meta"):
        model = ours.nn.Linear(3, 4)
    assert recorder.state.placement is not None
    model.load_state_dict(ours.nn.Linear(3, 4).state_dict(), assign=True)
    gc.collect()
    assert model(ours.ones(2, 3)).sum().item() is not None
    assert recorder.state.placement is None
