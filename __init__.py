"""lamina: PyTorch-style programs through a compiler you can read: ``import lamina as torch``."""

from __future__ import annotations

import importlib
from typing import Any

from .pyfront import import_aliases as _aliases
from .pyfront import import_hook as _hook
from .pyfront import public as _public

__version__ = "0.1.0"

globals().update(_public.names())
_aliases.install()

# Parts that are read when first used, so that `import lamina` stays light: public name -> module (and name in
# it).
_MODULES = {
    "amp": "pyfront.amp",
    "cuda": "pyfront.cuda",
    "autograd": "pyfront.autograd",
    "func": "pyfront.func",
    "distributed": "pyfront.distributed",
    "distributions": "pyfront.distributions",
    "futures": "pyfront.distributed.futures",
    "nn": "pyfront.nn",
    "optim": "pyfront.optim",
    "random": "pyfront.random",
    "fft": "pyfront.fft",
    "fx": "pyfront.fx",
    "ao": "pyfront.quantization",
    "quantization": "pyfront.quantization.public",
    "linalg": "pyfront.linalg",
    "masked": "pyfront.masked",
    "onnx": "pyfront.onnx",
    "jit": "pyfront.torch_jit",
    "export": "pyfront.torch_export",
    "signal": "pyfront.signal",
    "serialization": "pyfront.files",
    "special": "pyfront.special",
    "sparse": "pyfront.sparse",
    "utils": "pyfront.torch_utils",
    "multiprocessing": "pyfront.multiprocessing",
    "profiler": "pyfront.profiler",
    "testing": "pyfront.testing",
    "types": "pyfront.annotations",
    "vision": "pyfront.vision",
    "flags": "dialects.flags",
}
_LATER = {
    **dict.fromkeys(
        ("manual_seed", "seed", "initial_seed", "Generator", "get_rng_state", "set_rng_state", "default_generator"), "pyfront.random"
    ),
    **dict.fromkeys(
        (
            "rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "normal", "bernoulli", "multinomial",
        ),
        "pyfront.random_tensors",
    ),  # fmt: skip
    **dict.fromkeys(("save", "load"), "pyfront.files"),
    **dict.fromkeys(
        (
            "autocast", "is_autocast_enabled", "get_autocast_dtype", "set_autocast_dtype", "set_autocast_enabled",
            "is_autocast_cache_enabled", "clear_autocast_cache", "is_autocast_cpu_enabled", "get_autocast_cpu_dtype", "get_autocast_gpu_dtype",
            "set_autocast_cpu_dtype", "set_autocast_gpu_dtype", "set_autocast_cpu_enabled", "set_autocast_cache_enabled", "GradScaler",
            "autocast_increment_nesting", "autocast_decrement_nesting",
        ),
        "pyfront.amp",
    ),  # fmt: skip
    "summary": "pyfront.summary",
    "vmap": "pyfront.func",
    "compile": "pyfront.compiling",
    **dict.fromkeys(
        (
            "adaptive_avg_pool1d", "adaptive_max_pool1d", "alpha_dropout", "avg_pool1d", "batch_norm",
            "bilinear", "binary_cross_entropy_with_logits", "celu", "channel_shuffle", "constant_pad_nd", "conv1d", "conv2d",
            "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "cosine_embedding_loss",
            "cosine_similarity", "ctc_loss", "dropout", "embedding", "feature_alpha_dropout", "feature_dropout",
            "group_norm", "native_layer_norm", "native_group_norm", "native_batch_norm", "_softmax_backward_data",
            "_log_softmax_backward_data", "hardshrink", "hinge_embedding_loss", "instance_norm", "kl_div", "layer_norm",
            "margin_ranking_loss", "max_pool1d", "max_pool2d", "max_pool3d", "pairwise_distance",
            "pixel_shuffle", "pixel_unshuffle", "poisson_nll_loss", "prelu", "rms_norm", "rrelu", "selu",
            "threshold", "triplet_margin_loss", "embedding_bag", "grid_sampler", "grid_sampler_2d", "grid_sampler_3d",
            "affine_grid_generator", "pdist", "threshold_", "celu_", "selu_", "rrelu_", "dropout_", "feature_dropout_",
            "alpha_dropout_", "feature_alpha_dropout_",
        ),
        "pyfront.nn.root",
    ),  # fmt: skip
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        found: Any = importlib.import_module(f".{_MODULES[name]}", __name__)
    elif name in _LATER:
        found = getattr(importlib.import_module(f".{_LATER[name]}", __name__), name)
    elif (room := _hook.object_of(f"torch.{name}")) is not None:
        found = room
    else:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_LATER})
