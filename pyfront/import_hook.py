"""`import torch` without PyTorch: serves torch, torchvision and their submodules from lamina."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import FunctionType, ModuleType
from typing import Any

from ..dialects.errors import UnsupportedError
from . import later, overrides, rooms
from .origin import origin, source_line
from .rooms import VERSION
from .torch_backends import BACKENDS, Room

ROOT = __name__.rpartition(".pyfront")[0]
PACKAGES = ("torch", "torchvision")

_DISTRIBUTIONS = (
    "bernoulli beta binomial categorical cauchy chi2 constraint_registry constraints continuous_bernoulli dirichlet distribution exponential "
    "gamma generalized_pareto geometric gumbel half_cauchy half_normal independent inverse_gamma kl kumaraswamy laplace lkj_cholesky log_normal "
    "logistic_normal mixture_same_family multinomial multivariate_normal negative_binomial normal one_hot_categorical "
    "pareto poisson relaxed_bernoulli relaxed_categorical transformed_distribution transforms uniform von_mises weibull wishart"
)  # one a file, under PyTorch's names
# torch module -> lamina module, below the package; "" is the package itself
MODULES: dict[str, str] = {
    "torch": "",
    "torch.amp": "pyfront.amp",
    "torch.cuda": "pyfront.cuda",
    "torch.cuda.amp": "pyfront.cuda_amp",
    **{f"torch.cuda.{name}": "pyfront.cuda" for name in ("memory", "random", "streams", "graphs")},
    "torch.autograd": "pyfront.autograd",
    "torch.autograd.function": "pyfront.function",
    "torch.autograd.anomaly_mode": "pyfront.autograd.anomaly_mode",
    "torch.autograd.forward_ad": "pyfront.autograd.forward_ad",
    "torch.autograd.functional": "pyfront.autograd.functional",
    "torch.autograd.grad_mode": "pyfront.grad_mode",
    "torch.autograd.gradcheck": "pyfront.autograd.gradcheck",
    "torch.autograd.graph": "pyfront.autograd.graph",
    "torch.autograd.variable": "pyfront.autograd",
    "torch.distributed": "pyfront.distributed",
    "torch.distributed.constants": "pyfront.distributed.world",
    "torch.distributed.distributed_c10d": "pyfront.distributed",
    "torch.distributed.nn": "pyfront.distributed.nn",
    "torch.distributed.nn.functional": "pyfront.distributed.nn",
    "torch.distributed.rendezvous": "pyfront.distributed.rendezvous",
    "torch.distributed.algorithms.join": "pyfront.distributed.join",
    "torch.distributed.algorithms.ddp_comm_hooks.default_hooks": "pyfront.distributed.comm_hooks",
    "torch.futures": "pyfront.distributed.futures",
    "torch.nn.parallel": "pyfront.nn.parallel",
    "torch.nn.parallel.data_parallel": "pyfront.nn.data_parallel",
    "torch.nn.parallel.distributed": "pyfront.distributed.data_parallel",
    **{f"torch.nn.parallel.{name}": "pyfront.nn.spreading" for name in ("parallel_apply", "replicate", "scatter_gather")},
    "torch.distributed.tensor.placement_types": "pyfront.placements",
    "torch.distributions": "pyfront.distributions",
    **{f"torch.distributions.{name}": f"pyfront.distributions.{name}" for name in _DISTRIBUTIONS.split()},
    "torch.distributions.utils": "pyfront.distributions.parameters",
    "torch.distributions.exp_family": "pyfront.distributions.exponential_family",
    "torch.distributions.fishersnedecor": "pyfront.distributions.fisher_snedecor",
    "torch.distributions.lowrank_multivariate_normal": "pyfront.distributions.low_rank_multivariate_normal",
    "torch.distributions.studentT": "pyfront.distributions.student_t",
    "torch.func": "pyfront.func",
    "torch.nn": "pyfront.nn",
    "torch.nn.functional": "pyfront.nn.functional",
    "torch.nn.grad": "pyfront.nn.grad",
    "torch.nn.init": "pyfront.nn.init",
    "torch.nn.modules": "pyfront.nn",
    "torch.nn.modules.activation": "pyfront.nn.activation",
    "torch.nn.modules.batchnorm": "pyfront.nn.normalization",
    "torch.nn.modules.container": "pyfront.nn.containers",
    "torch.nn.modules.channelshuffle": "pyfront.nn.rearranging",
    "torch.nn.modules.conv": "pyfront.nn.convolution",
    "torch.nn.modules.dropout": "pyfront.nn.dropout",
    "torch.nn.modules.linear": "pyfront.nn.linear",
    "torch.nn.modules.loss": "pyfront.nn.loss",
    "torch.nn.modules.module": "pyfront.nn.module",
    "torch.nn.modules.normalization": "pyfront.nn.normalization",
    "torch.nn.modules.pooling": "pyfront.nn.pooling",
    "torch.nn.modules.rnn": "pyfront.nn.recurrent",
    "torch.nn.modules.sparse": "pyfront.nn.sparse",
    "torch.nn.modules.transformer": "pyfront.nn.transformer",
    "torch.nn.modules.upsampling": "pyfront.nn.rearranging",
    "torch.nn.attention": "pyfront.nn.kernels",
    "torch.nn.attention.flex_attention": "pyfront.nn.flex_attention",
    "torch.nn.modules.adaptive": "pyfront.nn.adaptive",
    "torch.nn.modules.flatten": "pyfront.nn.linear",
    "torch.nn.modules.fold": "pyfront.nn.rearranging",
    "torch.nn.modules.instancenorm": "pyfront.nn.normalization",
    "torch.nn.modules.lazy": "pyfront.nn.lazy",
    "torch.nn.modules.padding": "pyfront.nn.pooling",
    "torch.nn.modules.pixelshuffle": "pyfront.nn.rearranging",
    "torch.nn.modules.distance": "pyfront.nn.loss",
    "torch.nn.modules.utils": "pyfront.nn.tuples",
    "torch.nn.parameter": "pyfront.nn.parameter",
    "torch.nn.utils": "pyfront.nn.utils",
    "torch.nn.utils.clip_grad": "pyfront.nn.utils.clip_grad",
    "torch.nn.utils.convert_parameters": "pyfront.nn.utils.convert_parameters",
    "torch.nn.utils.fusion": "pyfront.nn.utils.fusion",
    "torch.nn.utils.init": "pyfront.nn.utils.init",
    "torch.nn.utils.parametrizations": "pyfront.nn.utils.parametrizations",
    "torch.nn.utils.parametrize": "pyfront.nn.utils.parametrize",
    "torch.nn.utils.prune": "pyfront.nn.utils.prune",
    "torch.nn.utils.rnn": "pyfront.nn.utils.rnn",
    "torch.nn.utils.stateless": "pyfront.nn.utils.stateless",
    "torch.nn.utils.spectral_norm": "pyfront.nn.utils.weight_norm",
    "torch.nn.utils.weight_norm": "pyfront.nn.utils.weight_norm",
    "torch.ao": "pyfront.quantization",
    "torch.ao.nn": "pyfront.quantization.nn",
    "torch.ao.nn.intrinsic": "pyfront.quantization.intrinsic",
    "torch.ao.nn.qat": "pyfront.quantization.qat",
    "torch.ao.quantization.fake_quantize": "pyfront.quantization.fake_quantize",
    "torch.ao.quantization.fuse_modules": "pyfront.quantization.fuse_modules",
    "torch.ao.quantization.stubs": "pyfront.quantization.stubs",
    "torch.ao.nn.quantized": "pyfront.quantization.modules",
    "torch.ao.nn.quantized.modules": "pyfront.quantization.modules",
    "torch.ao.nn.quantized.modules.linear": "pyfront.quantization.modules",
    "torch.ao.nn.quantized.dynamic": "pyfront.quantization.dynamic",
    "torch.ao.nn.quantized.dynamic.modules": "pyfront.quantization.dynamic",
    "torch.ao.quantization": "pyfront.quantization.public",
    "torch.ao.quantization.observer": "pyfront.quantization.observer",
    "torch.ao.quantization.qconfig": "pyfront.quantization.qconfig",
    "torch.ao.quantization.quantize": "pyfront.quantization.quantize",
    "torch.nn.quantized": "pyfront.quantization.modules",
    "torch.nn.quantized.dynamic": "pyfront.quantization.dynamic",
    "torch.quantization": "pyfront.quantization.public",
    "torch.quantization.observer": "pyfront.quantization.observer",
    "torch.fft": "pyfront.fft",
    "torch.fx": "pyfront.fx",
    "torch.fx._symbolic_trace": "pyfront.fx.tracer",
    "torch.fx.graph": "pyfront.fx.graph",
    "torch.fx.graph_module": "pyfront.fx.graph_module",
    "torch.fx.immutable_collections": "pyfront.fx.arguments",
    "torch.fx.interpreter": "pyfront.fx.interpreter",
    "torch.fx.node": "pyfront.fx.node",
    "torch.fx.passes": "pyfront.fx.passes",
    "torch.fx.passes.shape_prop": "pyfront.fx.passes.shape_prop",
    "torch.fx.proxy": "pyfront.fx.proxy",
    "torch.fx.subgraph_rewriter": "pyfront.fx.subgraph_rewriter",
    **{f"torch._higher_order_ops{name}": "pyfront.control_flow" for name in ("", ".associative_scan", ".scan", ".cond", ".while_loop")},
    "torch._ops": "pyfront.torch_library",
    "torch._tensor": "pyfront.tensor",
    "torch._tensor_str": "pyfront.printing",
    "torch._utils": "pyfront.flat_tensors",
    "torch.utils.flop_counter": "pyfront.flop_counter",
    "torch.functional": "",
    "torch.overrides": "pyfront.overrides",
    "torch.onnx": "pyfront.onnx",
    "torch.jit": "pyfront.torch_jit",
    "torch.jit.annotations": "pyfront.annotations",
    "torch._jit_internal": "pyfront.torch_jit",
    "torch.export": "pyfront.torch_export",
    "torch.linalg": "pyfront.linalg",
    "torch.optim": "pyfront.optim",
    "torch.optim.adadelta": "pyfront.optim.adaptive",
    "torch.optim.adagrad": "pyfront.optim.adaptive",
    "torch.optim.adam": "pyfront.optim.adam",
    "torch.optim.adamax": "pyfront.optim.adaptive",
    "torch.optim.adamw": "pyfront.optim.adam",
    "torch.optim.asgd": "pyfront.optim.asgd",
    "torch.optim.lbfgs": "pyfront.optim.lbfgs",
    "torch.optim.lr_scheduler": "pyfront.optim.lr_scheduler",
    "torch.optim.nadam": "pyfront.optim.adaptive",
    "torch.optim.optimizer": "pyfront.optim.optimizer",
    "torch.optim.radam": "pyfront.optim.adaptive",
    "torch.optim.rmsprop": "pyfront.optim.adaptive",
    "torch.optim.rprop": "pyfront.optim.rprop",
    "torch.optim.sgd": "pyfront.optim.sgd",
    "torch.optim.sparse_adam": "pyfront.optim.sparse_adam",
    "torch.optim.swa_utils": "pyfront.optim.swa_utils",
    "torch.multiprocessing": "pyfront.multiprocessing",
    "torch.random": "pyfront.random",
    "torch.testing": "pyfront.testing",
    "torch.profiler": "pyfront.profiler",
    "torch.autograd.profiler": "pyfront.profiler",
    "torch.types": "pyfront.annotations",
    "torch.nn.common_types": "pyfront.annotations",
    "torch.utils.tensorboard": "pyfront.tensorboard",
    "torch.utils.tensorboard.writer": "pyfront.tensorboard",
    "torch.masked": "pyfront.masked",
    "torch.signal": "pyfront.signal",
    "torch.signal.windows": "pyfront.windows",
    "torch.special": "pyfront.special",
    "torch.sparse": "pyfront.sparse",
    "torch.hub": "pyfront.torch_hub",
    "torch.library": "pyfront.torch_library",
    "torch.utils.model_zoo": "pyfront.torch_hub",
    "torch.storage": "pyfront.storages",
    "torch.serialization": "pyfront.files",
    "torch.utils": "pyfront.torch_utils",
    "torch.utils.benchmark": "pyfront.timer",
    "torch.utils.collect_env": "pyfront.environment",
    "torch.utils.dlpack": "pyfront.sharing",
    "torch.utils.checkpoint": "pyfront.checkpoint",
    "torch.utils._foreach_utils": "pyfront.foreach",
    "torch.utils._pytree": "pyfront.pytree",
    "torch.utils.hooks": "pyfront.nn.hooks",
    "torch.utils.data": "pyfront.data",
    "torch.utils.data.dataloader": "pyfront.data.dataloader",
    "torch.utils.data.dataset": "pyfront.data.dataset",
    "torch.utils.data.distributed": "pyfront.data.distributed",
    "torch.utils.data.sampler": "pyfront.data.sampler",
    "torch.utils.data._utils.collate": "pyfront.data.collate",
    "torchvision": "pyfront.vision",
    "torchvision.datasets": "pyfront.vision.datasets",
    "torchvision.datasets.folder": "pyfront.vision.datasets.folder",
    "torchvision.datasets.mnist": "pyfront.vision.datasets.mnist",
    "torchvision.datasets.utils": "pyfront.vision.datasets.fetching",
    "torchvision.datasets.vision": "pyfront.vision.datasets.dataset",
    "torchvision.io": "pyfront.vision.io",
    "torchvision.models": "pyfront.vision.models",
    "torchvision.models._utils": "pyfront.vision.models.inner_layers",
    "torchvision.models.alexnet": "pyfront.vision.models.plain",
    "torchvision.models.convnext": "pyfront.vision.models.modern",
    "torchvision.models.densenet": "pyfront.vision.models.densenet",
    "torchvision.models.detection": "pyfront.vision.models.detection",
    "torchvision.models.detection._utils": "pyfront.vision.models.detection.matching",
    "torchvision.models.detection.anchor_utils": "pyfront.vision.models.detection.anchor_utils",
    "torchvision.models.detection.backbone_utils": "pyfront.vision.models.detection.backbones",
    "torchvision.models.detection.faster_rcnn": "pyfront.vision.models.detection.faster_rcnn",
    "torchvision.models.detection.fcos": "pyfront.vision.models.detection.fcos",
    "torchvision.models.detection.generalized_rcnn": "pyfront.vision.models.detection.generalized_rcnn",
    "torchvision.models.detection.image_list": "pyfront.vision.models.detection.image_list",
    "torchvision.models.detection.keypoint_rcnn": "pyfront.vision.models.detection.keypoint_rcnn",
    "torchvision.models.detection.mask_rcnn": "pyfront.vision.models.detection.mask_rcnn",
    "torchvision.models.detection.retinanet": "pyfront.vision.models.detection.retinanet",
    "torchvision.models.detection.roi_heads": "pyfront.vision.models.detection.roi_heads",
    "torchvision.models.detection.rpn": "pyfront.vision.models.detection.rpn",
    "torchvision.models.detection.ssd": "pyfront.vision.models.detection.ssd",
    "torchvision.models.detection.ssdlite": "pyfront.vision.models.detection.ssdlite",
    "torchvision.models.detection.transform": "pyfront.vision.models.detection.transform",
    "torchvision.models.efficientnet": "pyfront.vision.models.mobile",
    "torchvision.models.feature_extraction": "pyfront.vision.models.feature_extraction",
    "torchvision.models.googlenet": "pyfront.vision.models.googlenet",
    "torchvision.models.inception": "pyfront.vision.models.inception",
    "torchvision.models.mnasnet": "pyfront.vision.models.mnasnet",
    "torchvision.models.mobilenet": "pyfront.vision.models.mobile",
    "torchvision.models.mobilenetv2": "pyfront.vision.models.mobile",
    "torchvision.models.mobilenetv3": "pyfront.vision.models.mobile",
    "torchvision.models.regnet": "pyfront.vision.models.regnet",
    "torchvision.models.resnet": "pyfront.vision.models.resnet",
    "torchvision.models.segmentation": "pyfront.vision.models.segmentation",
    "torchvision.models.segmentation.deeplabv3": "pyfront.vision.models.segmentation",
    "torchvision.models.segmentation.fcn": "pyfront.vision.models.segmentation",
    "torchvision.models.segmentation.lraspp": "pyfront.vision.models.segmentation",
    "torchvision.models.shufflenetv2": "pyfront.vision.models.mobile",
    "torchvision.models.squeezenet": "pyfront.vision.models.plain",
    "torchvision.models.swin_transformer": "pyfront.vision.models.swin",
    "torchvision.models.vgg": "pyfront.vision.models.plain",
    "torchvision.models.video": "pyfront.vision.models.video",
    "torchvision.models.video.resnet": "pyfront.vision.models.video",
    "torchvision.models.vision_transformer": "pyfront.vision.models.modern",
    "torchvision.ops": "pyfront.vision.ops",
    "torchvision.ops.boxes": "pyfront.vision.ops",
    "torchvision.ops.ciou_loss": "pyfront.vision.box_losses",
    "torchvision.ops.deform_conv": "pyfront.vision.deformable",
    "torchvision.ops.diou_loss": "pyfront.vision.box_losses",
    "torchvision.ops.drop_block": "pyfront.vision.drop_block",
    "torchvision.ops.feature_pyramid_network": "pyfront.vision.feature_pyramid",
    "torchvision.ops.focal_loss": "pyfront.vision.ops",
    "torchvision.ops.giou_loss": "pyfront.vision.box_losses",
    "torchvision.ops.misc": "pyfront.vision.layers",
    "torchvision.ops.poolers": "pyfront.vision.poolers",
    "torchvision.ops.ps_roi_align": "pyfront.vision.sensitive_regions",
    "torchvision.ops.ps_roi_pool": "pyfront.vision.sensitive_regions",
    "torchvision.ops.roi_align": "pyfront.vision.regions",
    "torchvision.ops.roi_pool": "pyfront.vision.regions",
    "torchvision.ops.stochastic_depth": "pyfront.vision.layers",
    "torchvision.transforms": "pyfront.vision.transforms",
    "torchvision.transforms._presets": "pyfront.vision.models.presets",
    "torchvision.transforms.autoaugment": "pyfront.vision.transforms.policies",
    "torchvision.transforms.functional": "pyfront.vision.transforms.functional",
    "torchvision.transforms.transforms": "pyfront.vision.transforms",
    "torchvision.transforms.v2": "pyfront.vision.transforms.v2",
    "torchvision.transforms.v2.functional": "pyfront.vision.transforms.v2_functional",
    "torchvision.tv_tensors": "pyfront.vision.tv_tensors",
    "torchvision.utils": "pyfront.vision.pictures",
}
# Modules that are objects of ours: switches and answers, and parts that arrive later.
OBJECTS: dict[str, ModuleType] = {
    room.__name__: room
    for room in (BACKENDS, *[r for r in vars(BACKENDS).values() if isinstance(r, Room)], *rooms.ROOMS)
}


def object_of(name: str) -> ModuleType | None:
    """The object that is this module of torch, if there is one."""
    return OBJECTS.get(name) or later.MODULES.get(name)


class MissingNameError(UnsupportedError, AttributeError):
    """A name of torch or torchvision that lamina does not have; ``hasattr`` sees that it is missing."""


class MissingModuleError(UnsupportedError, ModuleNotFoundError):
    """A module of torch that lamina does not have; programs that guard an import see that it is missing."""


class MissingImportError(UnsupportedError, ImportError):
    """A name that ``from torch import`` asks for and lamina does not have."""


class TorchModule(ModuleType):
    """A module under torch's name, with the contents of one of ours."""

    def __setattr__(self, name: str, value: Any) -> None:
        shared = isinstance(value, ModuleType) and type(vars(self.__dict__.get("_source") or self).get(name)) is FunctionType
        if not shared:  # a file that was imported does not take the place of the function it is for
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        full = f"{self.__name__}.{name}"
        if name == "torch" and full == "torch.torch":  # the module imports itself in PyTorch
            return self
        if name == "__version__" and self.__name__ == "torch":
            return VERSION
        source = self.__dict__.get("_source")
        if full in MODULES and type(vars(source or self).get(name)) is FunctionType:  # a file and what it is for share the name
            found = vars(source)[name]
        elif full in MODULES or object_of(full) is not None:
            return importlib.import_module(full)
        else:
            found = getattr(source, name, _MISSING) if source is not None else _MISSING
        if found is _MISSING and full in _ELSEWHERE:  # behind what the root reads first
            found = getattr(importlib.import_module(f"{ROOT}.{_ELSEWHERE[full]}"), name)
        if found is _MISSING and self.__name__.startswith("torch.nn.modules."):  # our files are cut otherwise
            found = getattr(source_of("torch.nn"), name, _MISSING)
        if found is _MISSING:
            kind = MissingImportError if later.is_import(sys._getframe(1)) else MissingNameError
            raise kind(
                f"module '{self.__name__}' has no attribute '{name}'", at=source_line(origin()),
                help="`lamina check SCRIPT` lists every name of torch a program uses that lamina does not have",
            )  # fmt: skip
        if (self.__name__ in _MADE_OF_OTHERS or name.endswith("_like")) and type(found) is FunctionType and (overrides.state.on or self.__name__ == "torch.linalg"):
            found = overrides.overridable(found)
        if not name.startswith("__"):
            self.__dict__[name] = found
        return found

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self.__dict__.get("_source"))})


_MISSING = object()
_PICKLES = "pyfront.files.plain_pickles"
_ELSEWHERE = {
    "torch.ScriptModule": "pyfront.torch_jit", "torch.Future": "pyfront.distributed.futures", "torch.storage._load_from_bytes": _PICKLES,
    "torch._utils._rebuild_tensor_v2": _PICKLES, "torch._utils._rebuild_parameter": _PICKLES,
    "torch.nn.modules.pooling._MaxUnpoolNd": "pyfront.nn.rearranging", "torch.utils.data.dataloader.get_worker_info": "pyfront.data.worker",
    **{f"torch.{room}quantization.observer.HistogramObserver": "pyfront.quantization.histogram" for room in ("ao.", "")},
}  # names whose files are read when they are asked for
_MADE_OF_OTHERS = ("torch.nn.functional", "torch.linalg", "torch.special", "torch.fft")  # functions that classes are asked about as one


@overrides.when_on
def _ask_classes() -> None:
    """What was handed out of modules until now did not ask: looked up again, it does."""
    for module in [sys.modules[name] for name in (*_MADE_OF_OTHERS, "torch") if type(sys.modules.get(name)) is TorchModule]:
        for name in [n for n, found in vars(module).items() if type(found) is FunctionType and (n.endswith("_like") or module.__name__ != "torch")]:
            del module.__dict__[name]


def _is_own(found: Any, source: ModuleType) -> bool:
    return isinstance(found, (FunctionType, type)) and found.__module__ == source.__name__


def source_of(name: str) -> Any:
    """What stands behind a torch module: a module of ours or an object of the package; None when there is nothing."""
    if name in MODULES:
        path = MODULES[name]
        try:
            return importlib.import_module(f"{ROOT}.{path}" if path else ROOT)
        except ModuleNotFoundError as error:
            if error.name and error.name.startswith(ROOT):
                return None
            raise
    return object_of(name)


class TorchFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds torch, torchvision and their submodules here, before any installed PyTorch."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A spec for their modules; MissingModuleError for those lamina does not have."""
        if fullname.partition(".")[0] not in PACKAGES:
            return None
        known = fullname in MODULES or any(name.startswith(fullname + ".") for name in MODULES)
        known = known or object_of(fullname) is not None
        if not known or (fullname in MODULES and source_of(fullname) is None):
            error = MissingModuleError(
                later.explained(fullname) or f"No module named '{fullname}' in lamina",
                help="`lamina check SCRIPT` lists what a program uses that is missing",
            )
            error.name = fullname  # then `from torch import x` goes on to say which name is missing
            raise error
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """An empty module with our contents behind it."""
        module = TorchModule(spec.name)
        source = source_of(spec.name)
        module.__dict__["_source"] = source
        module.__doc__ = getattr(source, "__doc__", None)
        exported = getattr(source, "__all__", None)
        if exported is None and spec.name in MODULES:  # `from torch.nn.utils.rnn import *` is given what its file defines
            module.__dict__["__all__"] = [n for n, found in vars(source).items() if not n.startswith("_") and _is_own(found, source)]
        if exported is not None:
            module.__dict__["__all__"] = exported
            # programs go through `models.__dict__` for what there is
            module.__dict__.update({n: vars(source)[n] for n in exported if type(vars(source).get(n)) in (FunctionType, type)})
        elif spec.name.startswith("torch.nn.modules."):  # and through the classes of a file
            own = vars(source).items()
            module.__dict__.update({n: c for n, c in own if type(c) is type and not n.startswith("_")})
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run: contents are looked up when asked for. Where the module is an object of ours, that takes its place."""
        found = object_of(module.__name__) if module.__name__ not in MODULES else None
        if found is not None:
            sys.modules[module.__name__] = found


def install() -> None:
    """Serve torch and torchvision from lamina in this process. Doing it twice is harmless."""
    if not any(isinstance(finder, TorchFinder) for finder in sys.meta_path):
        for name in [n for n in sys.modules if n.partition(".")[0] in PACKAGES]:
            del sys.modules[name]
        sys.meta_path.insert(0, TorchFinder())
