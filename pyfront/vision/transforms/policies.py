"""Learned and random augmentation policies: AutoAugment, RandAugment, TrivialAugmentWide, AugMix."""

from __future__ import annotations

import math
from enum import Enum
from typing import Any

import numpy as np

from ... import draws, random
from ...random_tensors import rand, randint
from ...sequences import linspace
from ...tensor import Tensor
from .. import images
from ..images import dimensions
from . import drawing
from . import functional
from .transform import Transform


class AutoAugmentPolicy(Enum):
    """The data sets policies were learned on."""

    IMAGENET = "imagenet"
    CIFAR10 = "cifar10"
    SVHN = "svhn"


# Two steps a policy: operation, probability, which of ten magnitudes (https://arxiv.org/abs/1805.09501, appendix).
_POLICIES = {
    "imagenet": """
        Posterize .4 8 Rotate .6 9 | Solarize .6 5 AutoContrast .6 - | Equalize .8 - Equalize .6 - | Posterize .6 7 Posterize .6 6
        Equalize .4 - Solarize .2 4 | Equalize .4 - Rotate .8 8 | Solarize .6 3 Equalize .6 - | Posterize .8 5 Equalize 1 -
        Rotate .2 3 Solarize .6 8 | Equalize .6 - Posterize .4 6 | Rotate .8 8 Color .4 0 | Rotate .4 9 Equalize .6 -
        Equalize 0 - Equalize .8 - | Invert .6 - Equalize 1 - | Color .6 4 Contrast 1 8 | Rotate .8 8 Color 1 2
        Color .8 8 Solarize .8 7 | Sharpness .4 7 Invert .6 - | ShearX .6 5 Equalize 1 - | Color .4 0 Equalize .6 -
        Equalize .4 - Solarize .2 4 | Solarize .6 5 AutoContrast .6 - | Invert .6 - Equalize 1 - | Color .6 4 Contrast 1 8
        Equalize .8 - Equalize .6 -""",
    "cifar10": """
        Invert .1 - Contrast .2 6 | Rotate .7 2 TranslateX .3 9 | Sharpness .8 1 Sharpness .9 3 | ShearY .5 8 TranslateY .7 9
        AutoContrast .5 - Equalize .9 - | ShearY .2 7 Posterize .3 7 | Color .4 3 Brightness .6 7 | Sharpness .3 9 Brightness .7 9
        Equalize .6 - Equalize .5 - | Contrast .6 7 Sharpness .6 5 | Color .7 7 TranslateX .5 8 | Equalize .3 - AutoContrast .4 -
        TranslateY .4 3 Sharpness .2 6 | Brightness .9 6 Color .2 8 | Solarize .5 2 Invert 0 - | Equalize .2 - AutoContrast .6 -
        Equalize .2 - Equalize .6 - | Color .9 9 Equalize .6 - | AutoContrast .8 - Solarize .2 8 | Brightness .1 3 Color .7 0
        Solarize .4 5 AutoContrast .9 - | TranslateY .9 9 TranslateY .7 9 | AutoContrast .9 - Solarize .8 3 | Equalize .8 - Invert .1 -
        TranslateY .7 9 AutoContrast .9 -""",
    "svhn": """
        ShearX .9 4 Invert .2 - | ShearY .9 8 Invert .7 - | Equalize .6 - Solarize .6 6 | Invert .9 - Equalize .6 -
        Equalize .6 - Rotate .9 3 | ShearX .9 4 AutoContrast .8 - | ShearY .9 8 Invert .4 - | ShearY .9 5 Solarize .2 6
        Invert .9 - AutoContrast .8 - | Equalize .6 - Rotate .9 3 | ShearX .9 4 Solarize .3 3 | ShearY .8 8 Invert .7 -
        Equalize .9 - TranslateY .6 6 | Invert .9 - Equalize .6 - | Contrast .3 3 Rotate .8 4 | Invert .8 - TranslateY 0 2
        ShearY .7 6 Solarize .4 8 | Invert .6 - Rotate .8 4 | ShearY .3 7 TranslateX .9 3 | ShearX .1 6 Invert .6 -
        Solarize .7 2 TranslateY .6 7 | ShearY .8 4 Invert .8 - | ShearX .7 9 TranslateY .8 3 | ShearY .8 5 AutoContrast .7 -
        ShearX .7 2 Invert .1 -""",
}  # fmt: skip


def _policies(policy: AutoAugmentPolicy) -> list[tuple[tuple[str, float, int | None], ...]]:
    if not isinstance(policy, AutoAugmentPolicy):
        raise ValueError(f"The provided policy {policy} is not recognized.")
    words = _POLICIES[policy.value].replace("|", " ").split()
    steps = [
        (words[i], float(words[i + 1]), None if words[i + 2] == "-" else int(words[i + 2])) for i in range(0, len(words), 3)
    ]  # fmt: skip
    return [tuple(steps[i : i + 2]) for i in range(0, len(steps), 2)]


def apply_step(F: Any, img: Any, name: str, strength: float, interpolation: Any, fill: Any) -> Any:
    """One operation of a policy, by the functions of the v1 or the v2 interface."""
    moves = {
        "ShearX": ([0, 0], 0), "ShearY": ([0, 0], 1), "TranslateX": ([int(strength), 0], None),
        "TranslateY": ([0, int(strength)], None),
    }  # fmt: skip
    if name in moves:
        shift, axis = moves[name]
        lean = [math.degrees(math.atan(strength)) if axis == i else 0.0 for i in (0, 1)]
        center = None if axis is None else [0, 0]
        return F.affine(img, 0.0, shift, 1.0, lean, interpolation=interpolation, fill=fill, center=center)
    if name == "Rotate":
        return F.rotate(img, strength, interpolation=interpolation, fill=fill)
    factors = {
        "Brightness": F.adjust_brightness, "Color": F.adjust_saturation, "Contrast": F.adjust_contrast,
        "Sharpness": F.adjust_sharpness,
    }  # fmt: skip
    if name in factors:
        return factors[name](img, 1.0 + strength)
    plain = {"AutoContrast": F.autocontrast, "Equalize": F.equalize, "Invert": F.invert}
    if name in plain:
        return plain[name](img)
    if name == "Posterize":
        return F.posterize(img, int(strength))
    if name == "Solarize":
        return F.solarize(img, strength)
    if name == "Identity":
        return img
    raise ValueError(f"The provided operator {name} is not recognized.")


def _linear(high: float, n: int, low: float = 0.0) -> np.ndarray:
    return np.asarray(linspace(low, high, n)._value())


Space = dict[str, tuple[np.ndarray | None, bool]]  # operation -> its magnitudes, and whether their sign is drawn


def _space(n: int, lean: float, right: float, down: float, turn: float, colour: float, top: int, drop: float, bright: float) -> Space:
    """The operations of a policy in their order, with n magnitudes each."""
    bits = top - np.rint(np.arange(n, dtype=np.float32) / np.float32((n - 1) / drop)).astype(np.int64)
    signed = {"ShearX": lean, "ShearY": lean, "TranslateX": right, "TranslateY": down, "Rotate": turn,
              **dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), colour)}  # fmt: skip
    made: Space = {"Identity": (None, False), **{name: (_linear(high, n), True) for name, high in signed.items()}}
    made |= {"Posterize": (bits, False), "Solarize": (_linear(0.0, n, bright), False)}
    return made | dict.fromkeys(("AutoContrast", "Equalize", "Invert"), (None, False))


def _pick(space: Space, names: Any) -> Space:
    return {name: space[name] for name in names}


class Policy(Transform):
    """What the policies share. The v1 and the v2 interface draw signs in different ways: `coin` says how."""

    def __init__(self, interpolation: Any, fill: Any) -> None:
        super().__init__()
        self.interpolation = self.mode(interpolation)
        self.fill = fill

    def coin(self) -> bool:
        """Whether a magnitude turns negative."""
        return bool(drawing.below(2))

    def stepped(self, img: Any, space: Space, name: str, index: Any) -> Any:
        """One operation at the magnitude `index()` gives."""
        magnitudes, signed = space[name]
        strength = 0.0
        if magnitudes is not None:
            strength = float(magnitudes[index()])
            strength = -strength if signed and self.coin() else strength
        return self.work(img, name, strength)

    def work(self, img: Any, name: str, strength: float) -> Any:
        """One operation, of a strength."""
        if name == "Solarize" and self.bright == 1.0:
            strength *= images.largest(img.dtype.numpy) if isinstance(img, Tensor) else 255.0
        return apply_step(self.functions, img, name, strength, self.interpolation, self.fill_for(img))

    functions: Any = functional
    bright = 255.0  # thresholds count from here; where it is 1, they follow the range of the image's dtype

    def shown(self) -> str:
        """The policy's own numbers, then interpolation and fill."""
        names = [n for n in self.__dict__ if not n.startswith("_") and n not in ("training", "interpolation", "fill")]
        return ", ".join(f"{n}={getattr(self, n)}" for n in [*names, "interpolation", "fill"])


class AutoAugment(Policy):
    """A learned policy (https://arxiv.org/abs/1805.09501)."""

    def __init__(
        self, policy: AutoAugmentPolicy = AutoAugmentPolicy.IMAGENET, interpolation: Any = "nearest", fill: Any = None
    ) -> None:  # fmt: skip
        super().__init__(interpolation, fill)
        self.policy = policy
        self._policies = _policies(policy)

    @staticmethod
    def get_params(transform_num: int) -> tuple[int, Tensor, Tensor]:
        """Which policy, and for its two steps a chance and a sign."""
        return drawing.below(transform_num), rand(2), randint(2, (2,))

    def space(self, img: Any) -> Space:
        """Ten magnitudes for an image."""
        _, height, width = dimensions(img)
        return _space(10, 0.3, 150.0 / 331.0 * width, 150.0 / 331.0 * height, 30.0, 0.9, 8, 4, self.bright)

    def apply(self, img: Any) -> Any:
        """The changed image."""
        chosen, chances, signs = self.get_params(len(self._policies))
        space, chances, signs = self.space(img), chances.tolist(), signs.tolist()
        for i, (name, p, at) in enumerate(self._policies[chosen]):
            if chances[i] <= np.float32(p):
                magnitudes, signed = space[name]
                strength = 0.0 if at is None or magnitudes is None else float(magnitudes[at])
                img = self.work(img, name, -strength if signed and signs[i] == 0 else strength)
        return img

    def shown(self) -> str:
        """Policy and fill."""
        return f"policy={self.policy}, fill={self.fill}"


class RandAugment(Policy):
    """A few operations at one magnitude (https://arxiv.org/abs/1909.13719)."""

    def __init__(
        self, num_ops: int = 2, magnitude: int = 9, num_magnitude_bins: int = 31, interpolation: Any = "nearest", fill: Any = None
    ) -> None:  # fmt: skip
        super().__init__(interpolation, fill)
        self.num_ops = num_ops
        self.magnitude = magnitude
        self.num_magnitude_bins = num_magnitude_bins

    def apply(self, img: Any) -> Any:
        """The changed image."""
        _, height, width = dimensions(img)
        space = _space(self.num_magnitude_bins, 0.3, 150.0 / 331.0 * width, 150.0 / 331.0 * height, 30.0, 0.9, 8, 4, self.bright)
        names = [name for name in space if name != "Invert"]
        for _ in range(self.num_ops):
            img = self.stepped(img, space, names[drawing.below(len(names))], lambda: self.magnitude)
        return img


class TrivialAugmentWide(Policy):
    """One operation at a random magnitude (https://arxiv.org/abs/2103.10158)."""

    def __init__(self, num_magnitude_bins: int = 31, interpolation: Any = "nearest", fill: Any = None) -> None:
        super().__init__(interpolation, fill)
        self.num_magnitude_bins = num_magnitude_bins

    def apply(self, img: Any) -> Any:
        """The changed image."""
        n = self.num_magnitude_bins
        space = _space(n, 0.99, 32.0, 32.0, 135.0, 0.99, 8, 6, self.bright)
        names = [name for name in space if name != "Invert"]
        return self.stepped(img, space, names[drawing.below(len(names))], lambda: drawing.below(n))


_BINS = 10
_MIXED = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Posterize", "Solarize", "AutoContrast", "Equalize")


class AugMix(Policy):
    """Chains of operations, mixed (https://arxiv.org/abs/1912.02781)."""

    def __init__(
        self, severity: int = 3, mixture_width: int = 3, chain_depth: int = -1, alpha: float = 1.0, all_ops: bool = True,
        interpolation: Any = "bilinear", fill: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(interpolation, fill)
        if not 1 <= severity <= _BINS:
            raise ValueError(f"The severity must be between [1, {_BINS}]. Got {severity} instead.")
        self.severity = severity
        self.mixture_width = mixture_width
        self.chain_depth = chain_depth
        self.alpha = alpha
        self.all_ops = all_ops

    def apply(self, img: Any) -> Any:
        """The mixture."""
        if images.is_pil(img):
            return images.to_pil_image(self.apply(images.pil_to_tensor(img)))
        space = _space(_BINS, 0.3, img.shape[-1] / 3.0, img.shape[-2] / 3.0, 30.0, 0.9, 4, 4, self.bright)
        names = [*_MIXED, *(("Brightness", "Color", "Contrast", "Sharpness") if self.all_ops else ())]
        batch = img.reshape(*[1] * (4 - img.ndim), *img.shape)
        shape = (batch.shape[0], 1, 1, 1)
        shares = np.stack([_dirichlet([self.alpha] * 2) for _ in range(shape[0])])
        weights = np.stack([_dirichlet([self.alpha] * self.mixture_width) for _ in range(shape[0])]) * shares[:, 1:]
        mixed = shares[:, 0].reshape(shape) * images.array_of(batch)
        for i in range(self.mixture_width):
            chain = batch
            for _ in range(self.chain_depth if self.chain_depth > 0 else drawing.whole(1, 4)):
                chain = self.stepped(chain, space, names[drawing.below(len(names))], lambda: drawing.below(self.severity))
            mixed = mixed + weights[:, i].reshape(shape) * images.array_of(chain)
        return images.tensor_of(mixed.reshape(img.shape).astype(img.dtype.numpy), img)


def _dirichlet(alpha: list[float]) -> np.ndarray:
    """float32 shares that sum to one: gamma variates (Marsaglia and Tsang, 2000) over their sum."""
    engine = random.default_generator.engine
    variates = np.array([_gamma(engine, float(a)) for a in alpha], np.float32)
    return variates / variates.sum()


def _gamma(engine: Any, alpha: float) -> float:
    def unit() -> float:
        return 1.0 - float(draws.doubles(engine, 1)[0])

    scale = 1.0
    if alpha < 1.0:
        scale, alpha = unit() ** (1.0 / alpha), alpha + 1.0
    d = alpha - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        y = -1.0
        while y <= 0.0:
            x = float(draws.normal(engine, 1, np.dtype(np.float64))[0])
            y = 1.0 + c * x
        v, u, xx = y * y * y, unit(), x * x
        if u < 1.0 - 0.0331 * xx * xx or math.log(u) < 0.5 * xx + d * (1.0 - v + math.log(v)):
            return scale * d * v
