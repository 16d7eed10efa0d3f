"""Attention, transformers, resampling and bags against PyTorch: outputs, gradients, text, first weights and state."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lamina

torch = pytest.importorskip("torch")
Make = Callable[[Any], tuple]


def array(*shape: int) -> np.ndarray:
    return np.random.RandomState(sum(shape)).randn(*shape).astype(np.float32)


def run(lib: Any, make: Callable[[Any], Any], inputs: list[np.ndarray], options: Callable[[Any], dict]) -> dict[str, Any]:
    lib.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = make(lib.nn)
    tensors = [lib.from_numpy(x.copy()) for x in inputs]
    for t in tensors:
        if t.is_floating_point():
            t.requires_grad_()
    results = module(*tensors, **options(lib))
    results = [r for r in (results if isinstance(results, tuple) else (results,)) if r is not None]
    sum((y * lib.arange(y.numel()).view(y.shape).cos()).sum() for y in results).backward()
    found = {f"y{i}": y.detach().numpy() for i, y in enumerate(results)}
    found |= {"text": repr(module), "random": int(lib.get_rng_state().long().sum().item())}
    found |= {f"d{i}": t.grad.numpy() for i, t in enumerate(tensors) if t.requires_grad}
    found |= {f"d {k}": p.grad.numpy() for k, p in module.named_parameters() if p.grad is not None}
    found |= {k: v.numpy() for k, v in module.state_dict().items()}
    module.eval()
    evaluated = module(*[t.detach() for t in tensors], **options(lib))
    found["eval"] = (evaluated[0] if isinstance(evaluated, tuple) else evaluated).detach().numpy()
    return found


def compare(make: Callable[[Any], Any], inputs: list[np.ndarray], options: Callable[[Any], dict] = lambda lib: {}) -> None:
    ours, theirs = run(lamina, make, inputs, options), run(torch, make, inputs, options)
    assert list(ours) == list(theirs)
    for key, expected in theirs.items():
        if isinstance(expected, np.ndarray):
            np.testing.assert_allclose(ours[key], expected, 1e-4, 3e-5, err_msg=key)
        else:
            assert ours[key] == expected, key


Q, K = array(5, 2, 8), array(4, 2, 8)


@pytest.mark.parametrize(
    "options", [{}, {"bias": False}, {"add_bias_kv": True, "add_zero_attn": True}, {"dropout": 0.3}], ids=str
)
def test_attention(options: dict) -> None:
    compare(lambda nn: nn.MultiheadAttention(8, 2, **options), [Q, K, K])


def test_attention_forms() -> None:
    compare(lambda nn: nn.MultiheadAttention(8, 2, kdim=3, vdim=6), [Q, array(4, 2, 3), array(4, 2, 6)])
    compare(lambda nn: nn.MultiheadAttention(8, 4, batch_first=True), [array(2, 5, 8)] * 3, lambda lib: {
        "attn_mask": lib.ones(5, 5).triu(1).bool(), "need_weights": False,
    })  # fmt: skip
    compare(lambda nn: nn.MultiheadAttention(8, 2), [Q, K, K], lambda lib: {
        "key_padding_mask": lib.tensor([[False, False, True, True], [False] * 4]), "average_attn_weights": False,
    })  # fmt: skip
    compare(lambda nn: nn.MultiheadAttention(8, 2), [Q[:, 0], K[:, 0], K[:, 0]])


@pytest.mark.parametrize("options", [{}, {"norm_first": True, "activation": "gelu"}, {"batch_first": True, "bias": False}], ids=str)
def test_layers(options: dict) -> None:
    compare(lambda nn: nn.TransformerEncoderLayer(8, 2, 16, **options), [Q])
    memory = array(5, 3, 8) if options.get("batch_first") else K
    compare(lambda nn: nn.TransformerDecoderLayer(8, 2, 16, **options), [Q, memory])


@pytest.mark.slow
def test_stacks() -> None:
    def encoder(nn: Any) -> Any:
        return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, 0.1), 2, nn.LayerNorm(8))

    compare(encoder, [Q], lambda lib: {"mask": lib.nn.Transformer.generate_square_subsequent_mask(5), "is_causal": True})
    compare(lambda nn: nn.Transformer(8, 2, 1, 2, 16), [K, Q], lambda lib: {
        "tgt_mask": lib.nn.Transformer.generate_square_subsequent_mask(5), "src_key_padding_mask": lib.zeros(2, 4).bool(),
    })  # fmt: skip


def test_encoder_warns_as_pytorch_does() -> None:
    def warned(nn: Any) -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 1)
            nn.TransformerEncoder(nn.TransformerEncoderLayer(9, 3, 16, batch_first=True), 1)
        return [str(w.message) for w in caught]

    assert warned(lamina.nn) == warned(torch.nn)


X = array(2, 8, 4, 6)
LAYERS: list[tuple[str, tuple, dict, np.ndarray]] = [
    ("Upsample", (), {"scale_factor": 2}, X), ("Upsample", ((7, 5),), {"mode": "bilinear"}, X),
    ("Upsample", (), {"scale_factor": (2.0, 1.5), "mode": "bicubic", "align_corners": True}, X),
    ("UpsamplingNearest2d", (), {"scale_factor": 3}, X), ("UpsamplingBilinear2d", ((3, 9),), {}, X),
    ("PixelShuffle", (2,), {}, X), ("PixelUnshuffle", (2,), {}, X), ("ChannelShuffle", (4,), {}, X),
    ("Unfold", ((2, 3),), {"stride": 2, "padding": 1}, X), ("Fold", ((4, 6), 2), {}, array(2, 8, 15)),
    ("LPPool2d", (2, 2), {}, np.abs(X)), ("ReflectionPad3d", (1,), {}, array(1, 2, 3, 3, 3)),
    ("CircularPad3d", (1,), {}, array(1, 2, 3, 3, 3)),
    ("EmbeddingBag", (6, 3), {"mode": "sum", "padding_idx": 1}, np.array([[0, 1], [5, 2]])),
]  # fmt: skip


@pytest.mark.parametrize("name, args, options, x", LAYERS, ids=lambda v: v if isinstance(v, str) else "")
def test_other_layers(name: str, args: tuple, options: dict, x: np.ndarray) -> None:
    compare(lambda nn: getattr(nn, name)(*args, **options), [x])


def test_margins() -> None:
    x, classes = array(3, 4), np.array([0, 3, 1])
    compare(lambda nn: nn.MultiMarginLoss(p=2, margin=0.5), [x, classes])
    compare(lambda nn: nn.MultiLabelMarginLoss(), [x, np.array([[0, 2, -1, 1], [3, -1, 0, 0], [1, 2, 3, -1]])])
    compare(lambda nn: nn.TripletMarginWithDistanceLoss(swap=True), [x, array(3, 4) * 2, x[::-1].copy()])


def test_data_parallel_is_the_module() -> None:
    compare(lambda nn: nn.DataParallel(nn.Linear(6, 2)), [X])


def test_masks_lie_as_the_input_lies() -> None:
    def dropped(lib: Any) -> list:
        lib.manual_seed(2)
        x = lib.ones(3, 4, 5)
        return [lib.nn.functional.dropout(t, 0.5).tolist() for t in (x.transpose(0, 1), x.permute(2, 0, 1), x[:, ::2])]

    assert dropped(lamina) == dropped(torch)


def test_unpooling() -> None:
    def both_ways(lib: Any) -> list[float]:
        y, places = lib.nn.MaxPool2d(2, 2, return_indices=True)(lib.from_numpy(X))
        return lib.nn.MaxUnpool2d(2)(y, places).tolist()

    assert both_ways(lamina) == both_ways(torch)


def test_what_is_still_missing() -> None:
    """Layers of torch.nn that lamina lacks: none may be added to the list, and it shrinks."""
    missing = {
        name for name, value in vars(torch.nn).items()
        if inspect.isclass(value) and issubclass(value, torch.nn.Module) and not name.startswith("_") and not hasattr(lamina.nn, name)
    }  # fmt: skip
    assert missing == MISSING


MISSING = {"Container"}


def test_data_parallel_as_a_function_calls_the_module() -> None:
    module, x = lamina.nn.Linear(6, 2), lamina.ones(3, 6)
    assert lamina.equal(lamina.pyfront.nn.data_parallel.data_parallel(module, x, range(2)), module(x))
