"""torchvision.transforms: the public names."""

from __future__ import annotations

from ..images import InterpolationMode
from . import functional, v2
from .colour import (
    ColorJitter, GaussianBlur, Grayscale, LinearTransformation, Normalize, RandomAdjustSharpness, RandomAutocontrast,
    RandomEqualize, RandomErasing, RandomGrayscale, RandomInvert, RandomPosterize, RandomSolarize,
)  # fmt: skip
from .containers import (
    Compose, ConvertImageDtype, Lambda, PILToTensor, RandomApply, RandomChoice, RandomOrder, ToPILImage, ToTensor,
)  # fmt: skip
from .geometry import (
    CenterCrop, ElasticTransform, FiveCrop, Pad, RandomAffine, RandomCrop, RandomHorizontalFlip, RandomPerspective,
    RandomResizedCrop, RandomRotation, RandomVerticalFlip, Resize, TenCrop,
)  # fmt: skip
from .policies import AugMix, AutoAugment, AutoAugmentPolicy, RandAugment, TrivialAugmentWide

__all__ = [
    "AugMix", "AutoAugment", "AutoAugmentPolicy", "CenterCrop", "ColorJitter", "Compose", "ConvertImageDtype",
    "ElasticTransform", "FiveCrop", "GaussianBlur", "Grayscale", "InterpolationMode", "Lambda", "LinearTransformation",
    "Normalize", "PILToTensor", "Pad", "RandAugment", "RandomAdjustSharpness", "RandomAffine", "RandomApply",
    "RandomAutocontrast", "RandomChoice", "RandomCrop", "RandomEqualize", "RandomErasing", "RandomGrayscale",
    "RandomHorizontalFlip", "RandomInvert", "RandomOrder", "RandomPerspective", "RandomPosterize", "RandomResizedCrop",
    "RandomRotation", "RandomSolarize", "RandomVerticalFlip", "Resize", "TenCrop", "ToPILImage", "ToTensor",
    "TrivialAugmentWide", "functional", "v2",
]  # fmt: skip
