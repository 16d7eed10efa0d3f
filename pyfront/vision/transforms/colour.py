"""Transforms that change values: colours, grey, sharpness, blur, erasing, normalisation."""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Sequence
from typing import Any

from ...random_tensors import randn
from ...creation import tensor as _tensor
from ...linear_algebra import matmul
from ...tensor import Tensor
from ..images import dimensions
from . import drawing
from . import functional as F
from .transform import Sometimes, Transform, two


class Normalize(Transform):
    """(x - mean) / std by channel."""

    def __init__(self, mean: Any, std: Any, inplace: bool = False) -> None:
        super().__init__()
        self.mean = mean
        self.std = std
        self.inplace = inplace

    def apply(self, img: Any) -> Any:
        """The normalised tensor."""
        return F.normalize(img, self.mean, self.std, self.inplace)

    def shown(self) -> str:
        """Mean and deviation."""
        return f"mean={self.mean}, std={self.std}"


_ADJUST = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)


class ColorJitter(Transform):
    """Brightness, contrast, saturation and hue changed at random, in random order."""

    def __init__(self, brightness: Any = 0, contrast: Any = 0, saturation: Any = 0, hue: Any = 0) -> None:
        super().__init__()
        self.brightness = _range(brightness, "brightness")
        self.contrast = _range(contrast, "contrast")
        self.saturation = _range(saturation, "saturation")
        self.hue = _range(hue, "hue", 0, (-0.5, 0.5))

    @staticmethod
    def get_params(brightness: Any, contrast: Any, saturation: Any, hue: Any) -> tuple[Any, ...]:
        """The order, and a factor or None for each."""
        order = drawing.order(4)
        factors = [None if r is None else drawing.between(*r) for r in (brightness, contrast, saturation, hue)]
        return (_tensor(order), *factors)

    def draw(self, img: Any) -> dict[str, Any]:
        """Order and factors."""
        order, *factors = self.get_params(self.brightness, self.contrast, self.saturation, self.hue)
        return {"order": order.tolist(), "factors": factors}

    def apply(self, img: Any, order: list[int], factors: list[float | None]) -> Any:
        """The changed image."""
        for i in order:
            if factors[i] is not None:
                img = _ADJUST[i](img, factors[i])
        return img

    def shown(self) -> str:
        """The four ranges."""
        return f"brightness={self.brightness}, contrast={self.contrast}, saturation={self.saturation}, hue={self.hue}"


def _range(value: Any, name: str, center: float = 1, bound: tuple[float, float] = (0, math.inf)) -> tuple[float, float] | None:
    """The range of a factor around `center`; None when it leaves images alone."""
    if value is None:
        return None
    if isinstance(value, numbers.Number):
        if value < 0:  # type: ignore[operator]  # a number
            raise ValueError(f"If {name} is a single number, it must be non negative.")
        low, high = center - float(value), center + float(value)  # type: ignore[arg-type]  # a number
        low = max(low, 0.0) if center else low
    elif isinstance(value, (tuple, list)) and len(value) == 2:
        low, high = float(value[0]), float(value[1])
    else:
        raise TypeError(f"{name} should be a single number or a list/tuple with length 2.")
    if not bound[0] <= low <= high <= bound[1]:
        raise ValueError(f"{name} values should be between {bound}, but got {[low, high]}.")
    return None if low == high == center else (low, high)


class Grayscale(Transform):
    """Grey, in one channel or three."""

    def __init__(self, num_output_channels: int = 1) -> None:
        super().__init__()
        self.num_output_channels = num_output_channels

    def apply(self, img: Any) -> Any:
        """The grey image."""
        return F.rgb_to_grayscale(img, num_output_channels=self.num_output_channels)

    def shown(self) -> str:
        """How many channels."""
        return f"num_output_channels={self.num_output_channels}"


class RandomGrayscale(Sometimes):
    """Grey in as many channels, sometimes."""

    def __init__(self, p: float = 0.1) -> None:
        super().__init__(p)

    def apply(self, img: Any) -> Any:
        """The grey image."""
        return F.rgb_to_grayscale(img, num_output_channels=dimensions(img)[0])


class RandomInvert(Sometimes):
    """The negative, sometimes."""

    def apply(self, img: Any) -> Any:
        """The negative."""
        return F.invert(img)


class RandomAutocontrast(Sometimes):
    """Darkest to black and brightest to white, sometimes."""

    def apply(self, img: Any) -> Any:
        """The changed image."""
        return F.autocontrast(img)


class RandomEqualize(Sometimes):
    """All values about equally frequent, sometimes."""

    def apply(self, img: Any) -> Any:
        """The changed image."""
        return F.equalize(img)


class RandomPosterize(Sometimes):
    """Only the highest bits, sometimes."""

    def __init__(self, bits: int, p: float = 0.5) -> None:
        super().__init__(p)
        self.bits = bits

    def apply(self, img: Any) -> Any:
        """The changed image."""
        return F.posterize(img, self.bits)

    def shown(self) -> str:
        """Bits and p."""
        return f"bits={self.bits},p={self.p}"


class RandomSolarize(Sometimes):
    """The negative of bright pixels, sometimes."""

    def __init__(self, threshold: float, p: float = 0.5) -> None:
        super().__init__(p)
        self.threshold = threshold

    def apply(self, img: Any) -> Any:
        """The changed image."""
        return F.solarize(img, self.threshold)

    def shown(self) -> str:
        """Threshold and p."""
        return f"threshold={self.threshold},p={self.p}"


class RandomAdjustSharpness(Sometimes):
    """Sharper or softer, sometimes."""

    def __init__(self, sharpness_factor: float, p: float = 0.5) -> None:
        super().__init__(p)
        self.sharpness_factor = sharpness_factor

    def apply(self, img: Any) -> Any:
        """The changed image."""
        return F.adjust_sharpness(img, self.sharpness_factor)

    def shown(self) -> str:
        """Factor and p."""
        return f"sharpness_factor={self.sharpness_factor},p={self.p}"


class GaussianBlur(Transform):
    """Blurred with a random deviation."""

    def __init__(self, kernel_size: Any, sigma: Any = (0.1, 2.0)) -> None:
        super().__init__()
        self.kernel_size = two(kernel_size, "Kernel size should be a tuple/list of two integers")
        if any(k <= 0 or k % 2 == 0 for k in self.kernel_size):
            raise ValueError("Kernel size value should be an odd and positive number.")
        if isinstance(sigma, numbers.Number):
            if sigma <= 0:  # type: ignore[operator]  # a number
                raise ValueError("If sigma is a single number, it must be positive.")
            sigma = (sigma, sigma)
        elif not (isinstance(sigma, Sequence) and len(sigma) == 2):
            raise ValueError("sigma should be a single number or a list/tuple with length 2.")
        elif not 0.0 < sigma[0] <= sigma[1]:
            raise ValueError("sigma values should be positive and of the form (min, max).")
        self.sigma = sigma

    @staticmethod
    def get_params(sigma_min: float, sigma_max: float) -> float:
        """A deviation."""
        return drawing.between(sigma_min, sigma_max)

    def draw(self, img: Any) -> dict[str, Any]:
        """The deviation."""
        return {"sigma": self.get_params(self.sigma[0], self.sigma[1])}

    def apply(self, img: Any, sigma: float) -> Any:
        """The blurred image."""
        return F.gaussian_blur(img, self.kernel_size, [sigma, sigma])

    def shown(self) -> str:
        """Sizes and range."""
        return f"kernel_size={self.kernel_size}, sigma={self.sigma}"


class RandomErasing(Sometimes):
    """A random rectangle of a tensor image filled, sometimes (https://arxiv.org/abs/1708.04896)."""

    def __init__(
        self, p: float = 0.5, scale: Any = (0.02, 0.33), ratio: Any = (0.3, 3.3), value: Any = 0, inplace: bool = False
    ) -> None:  # fmt: skip
        super().__init__(p)
        if not isinstance(value, (numbers.Number, str, tuple, list)):
            raise TypeError("Argument value should be either a number or str or a sequence")
        if isinstance(value, str) and value != "random":
            raise ValueError("If value is str, it should be 'random'")
        if not isinstance(scale, Sequence):
            raise TypeError("Scale should be a sequence")
        if not isinstance(ratio, Sequence):
            raise TypeError("Ratio should be a sequence")
        if scale[0] > scale[1] or ratio[0] > ratio[1]:
            warnings.warn("Scale and ratio should be of kind (min, max)", stacklevel=2)
        if scale[0] < 0 or scale[1] > 1:
            raise ValueError("Scale should be between 0 and 1")
        if p < 0 or p > 1:
            raise ValueError("Random erasing probability should be between 0 and 1")
        self.scale = scale
        self.ratio = ratio
        self.value = value
        self.inplace = inplace

    @staticmethod
    def get_params(img: Tensor, scale: Any, ratio: Any, value: list[float] | None = None) -> tuple[Any, ...]:
        """(top, left, height, width, filling): ten tries, then the image itself."""
        channels, height, width = dimensions(img)
        for _ in range(10):
            area = height * width * drawing.between(scale[0], scale[1])
            shape = drawing.ratio(ratio[0], ratio[1])
            h, w = int(round(math.sqrt(area * shape))), int(round(math.sqrt(area / shape)))
            if h >= height or w >= width:
                continue
            filling = randn(channels, h, w) if value is None else _tensor(value)[:, None, None]
            top = drawing.whole(0, height - h + 1)
            return top, drawing.whole(0, width - w + 1), h, w, filling
        return 0, 0, height, width, img

    def draw(self, img: Any) -> dict[str, Any]:
        """The rectangle."""
        value = self.value
        if isinstance(value, (int, float)):
            value = [float(value)]
        elif value is not None:
            value = None if isinstance(value, str) else [float(v) for v in value]
        channels = dimensions(img)[0]
        if value is not None and len(value) not in (1, channels):
            raise ValueError(
                f"If value is a sequence, it should have either a single value or {channels} (number of input channels)"
            )
        return dict(zip("ijhwv", self.get_params(img, self.scale, self.ratio, value), strict=True))

    def apply(self, img: Any, **rectangle: Any) -> Any:
        """The image with a hole."""
        return img if rectangle["v"] is img else F.erase(img, **rectangle, inplace=self.inplace)

    def shown(self) -> str:
        """All arguments."""
        return f"p={self.p}, scale={self.scale}, ratio={self.ratio}, value={self.value}, inplace={self.inplace}"


class LinearTransformation(Transform):
    """(x - mean) times a matrix, x flattened: whitening."""

    def __init__(self, transformation_matrix: Tensor, mean_vector: Tensor) -> None:
        super().__init__()
        n = transformation_matrix.size(0)
        if n != transformation_matrix.size(1):
            raise ValueError(
                f"transformation_matrix should be square. Got {tuple(transformation_matrix.size())} rectangular matrix."
            )
        if mean_vector.size(0) != n:
            raise ValueError(
                f"mean_vector should have the same length {mean_vector.size(0)} as any one of the dimensions of the "
                f"transformation_matrix [{tuple(transformation_matrix.size())}]"
            )
        if transformation_matrix.dtype != mean_vector.dtype:
            raise ValueError(
                f"Input tensors should have the same dtype. Got {transformation_matrix.dtype} and {mean_vector.dtype}"
            )
        self.transformation_matrix = transformation_matrix
        self.mean_vector = mean_vector

    def apply(self, img: Any) -> Any:
        """The transformed tensor."""
        c, h, w = img.shape[-3:]
        n = self.transformation_matrix.shape[0]
        if c * h * w != n:
            raise ValueError(f"Input tensor and transformation matrix have incompatible shape.[{c} x {h} x {w}] != {n}")
        flat = img.reshape(-1, n) - self.mean_vector
        return matmul(flat, self.transformation_matrix.to(flat.dtype)).reshape(img.shape)

    def shown(self) -> str:
        """Matrix and mean."""
        return f"transformation_matrix={self.transformation_matrix.tolist()}, mean_vector={self.mean_vector.tolist()}"
