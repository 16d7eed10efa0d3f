"""torchvision.models: the public names."""

from __future__ import annotations

from .api import BUILTIN_MODELS, get_model, get_model_builder, get_model_weights, get_weight, list_models
from .densenet import DenseNet
from .googlenet import GoogLeNet, GoogLeNetOutputs
from .inception import Inception3, InceptionOutputs
from .mnasnet import MNASNet
from .mobile import EfficientNet, MobileNetV2, MobileNetV3, ShuffleNetV2
from .modern import ConvNeXt, VisionTransformer
from .plain import VGG, AlexNet, SqueezeNet
from .regnet import RegNet
from .resnet import ResNet
from .swin import SwinTransformer
from .weights import Weights, WeightsEnum, catalogue

_CLASSIFIERS = dict(BUILTIN_MODELS)
globals().update(_CLASSIFIERS)
globals().update({catalogue()[name].__name__: catalogue()[name] for name in _CLASSIFIERS})

from . import detection, segmentation, video  # noqa: E402, F401  # their models have names of their own modules

__all__ = [
    "AlexNet", "ConvNeXt", "DenseNet", "EfficientNet", "GoogLeNet", "GoogLeNetOutputs", "Inception3",
    "InceptionOutputs", "MNASNet", "MobileNetV2", "MobileNetV3", "RegNet", "ResNet", "ShuffleNetV2", "SqueezeNet", "SwinTransformer", "VGG", "VisionTransformer", "Weights", "WeightsEnum", "detection", "get_model", "get_model_builder",
    "get_model_weights", "get_weight", "list_models", "segmentation", "video", *_CLASSIFIERS, *[catalogue()[name].__name__ for name in _CLASSIFIERS],
]  # fmt: skip
