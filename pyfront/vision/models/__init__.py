"""torchvision.models: the public names."""

from __future__ import annotations

from .api import BUILTIN_MODELS, get_model, get_model_builder, get_model_weights, get_weight, list_models
from .densenet import DenseNet
from .mobile import EfficientNet, MobileNetV2, MobileNetV3, ShuffleNetV2
from .modern import ConvNeXt, GoogLeNet, GoogLeNetOutputs, VisionTransformer
from .plain import VGG, AlexNet, SqueezeNet
from .resnet import ResNet
from .weights import Weights, WeightsEnum, catalogue

globals().update(BUILTIN_MODELS)
globals().update({enum.__name__: enum for enum in catalogue().values()})

__all__ = [
    "AlexNet", "ConvNeXt", "DenseNet", "EfficientNet", "GoogLeNet", "GoogLeNetOutputs", "MobileNetV2", "MobileNetV3", "ResNet",
    "ShuffleNetV2", "SqueezeNet", "VGG", "VisionTransformer", "Weights", "WeightsEnum", "get_model", "get_model_builder",
    "get_model_weights", "get_weight", "list_models", *BUILTIN_MODELS, *[enum.__name__ for enum in catalogue().values()],
]  # fmt: skip
