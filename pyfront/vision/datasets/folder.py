"""Data sets in folders: one folder per class, files inside."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from PIL import Image

from .dataset import VisionDataset

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def has_file_allowed_extension(filename: str, extensions: str | tuple[str, ...]) -> bool:
    """Whether a name ends in one of the extensions, in whatever case."""
    return filename.lower().endswith(extensions if isinstance(extensions, str) else tuple(extensions))


def is_image_file(filename: str) -> bool:
    """Whether a name ends like an image's."""
    return has_file_allowed_extension(filename, IMG_EXTENSIONS)


def find_classes(directory: Any) -> tuple[list[str], dict[str, int]]:
    """Folder names in order, and their numbers. FileNotFoundError when there are none."""
    classes = sorted(entry.name for entry in os.scandir(directory) if entry.is_dir())
    if not classes:
        raise FileNotFoundError(f"Couldn't find any class folder in {directory}.")
    return classes, {name: i for i, name in enumerate(classes)}


def make_dataset(
    directory: Any, class_to_idx: dict[str, int] | None = None, extensions: Any = None,
    is_valid_file: Callable[[str], bool] | None = None, allow_empty: bool = False,
) -> list[tuple[str, int]]:  # fmt: skip
    """(path, class) of every file that counts, in order. FileNotFoundError for a class without any."""
    directory = os.path.expanduser(directory)
    if class_to_idx is None:
        _, class_to_idx = find_classes(directory)
    elif not class_to_idx:
        raise ValueError("'class_to_index' must have at least one entry to collect any samples.")
    if (extensions is None) == (is_valid_file is None):
        raise ValueError("Both extensions and is_valid_file cannot be None or not None at the same time")
    counts = is_valid_file or (lambda path: has_file_allowed_extension(path, extensions))
    found, empty = [], []
    for name in sorted(class_to_idx):
        before = len(found)
        for root, _, files in sorted(os.walk(os.path.join(directory, name), followlinks=True)):
            paths = [os.path.join(root, file) for file in sorted(files)]
            found += [(path, class_to_idx[name]) for path in paths if counts(path)]
        if len(found) == before:
            empty.append(name)
    if empty and not allow_empty:
        supported = ""
        if extensions is not None:
            supported = f"Supported extensions are: {extensions if isinstance(extensions, str) else ', '.join(extensions)}"
        raise FileNotFoundError(f"Found no valid file for the classes {', '.join(empty)}. {supported}")
    return found


class DatasetFolder(VisionDataset):
    """root/class/.../file: samples through `loader`, targets are the classes' numbers."""

    def __init__(
        self, root: Any, loader: Callable[[str], Any], extensions: Any = None, transform: Callable | None = None,
        target_transform: Callable | None = None, is_valid_file: Callable[[str], bool] | None = None, allow_empty: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.classes, self.class_to_idx = self.find_classes(self.root)
        self.samples = self.make_dataset(self.root, self.class_to_idx, extensions, is_valid_file, allow_empty)
        self.loader = loader
        self.extensions = extensions
        self.targets = [target for _, target in self.samples]

    @staticmethod
    def make_dataset(
        directory: Any, class_to_idx: dict[str, int], extensions: Any = None, is_valid_file: Any = None, allow_empty: bool = False
    ) -> list[tuple[str, int]]:
        """The samples; subclasses may find others."""
        if class_to_idx is None:
            raise ValueError("The class_to_idx parameter cannot be None.")
        return make_dataset(directory, class_to_idx, extensions, is_valid_file, allow_empty)

    def find_classes(self, directory: Any) -> tuple[list[str], dict[str, int]]:
        """The classes; subclasses may find others."""
        return find_classes(directory)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        path, target = self.samples[index]
        return self.transformed(self.loader(path), target)

    def __len__(self) -> int:
        return len(self.samples)


def pil_loader(path: Any) -> Image.Image:
    """A file as an RGB picture."""
    with open(path, "rb") as file:
        return Image.open(file).convert("RGB")


default_loader = pil_loader


class ImageFolder(DatasetFolder):
    """root/class/.../image."""

    def __init__(
        self, root: Any, transform: Callable | None = None, target_transform: Callable | None = None,
        loader: Callable[[str], Any] = default_loader, is_valid_file: Callable[[str], bool] | None = None, allow_empty: bool = False,
    ) -> None:  # fmt: skip
        extensions = IMG_EXTENSIONS if is_valid_file is None else None
        super().__init__(root, loader, extensions, transform, target_transform, is_valid_file, allow_empty)
        self.imgs = self.samples
