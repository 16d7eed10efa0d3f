"""CIFAR-10 and CIFAR-100: pickled batches, read by the allow-list interpreter of checkpoints; nothing is executed."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from ....dialects.errors import FileError
from ...files.unpickle import Unpickler
from .dataset import VisionDataset
from .fetching import check_integrity, download_and_extract_archive


class _DType:
    """A pickled numpy dtype: whole numbers and floats only."""

    def __init__(self, code: str, *_: Any) -> None:
        if str(code)[:1] not in "uifb" or not str(code)[1:].isdigit():
            raise ValueError(f"dtype {code!r} is not a number's")
        self.dtype = np.dtype(str(code))

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(">" if state[1] == ">" else "<")


class _Array:
    """A pickled numpy array: its shape, its dtype and its bytes."""

    def __init__(self, *_: Any) -> None:
        self.array: np.ndarray | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, raw = state
        raw = raw.encode("latin-1") if isinstance(raw, str) else raw
        self.array = np.frombuffer(raw, kind.dtype).reshape(tuple(shape), order="F" if fortran else "C")


def _encode(text: str, coding: str) -> bytes:
    if coding not in ("latin1", "latin-1"):
        raise ValueError(f"text coded as {coding!r}")
    return text.encode("latin-1")


_NAMES: dict[str, Any] = {"numpy ndarray": _Array, "numpy dtype": _DType, "_codecs encode": _encode}
_NAMES |= {f"{room}.multiarray _reconstruct": _Array for room in ("numpy.core", "numpy._core")}


def read_batch(path: Any) -> dict[str, Any]:
    """The dictionary in a pickled batch, arrays as arrays. FileError for anything but numbers, text and containers."""
    with open(path, "rb") as file:
        data = file.read()
    found = Unpickler(data, str(path), _NAMES, lambda _: None).load()
    if not isinstance(found, dict):
        raise FileError(f"{path}: holds a {type(found).__name__}, not a dictionary", help="download the data set again")
    text = {key.decode("latin-1") if isinstance(key, bytes) else key: value for key, value in found.items()}
    return {key: value.array if isinstance(value, _Array) else value for key, value in text.items()}


class CIFAR10(VisionDataset):
    """32 x 32 colour pictures in ten classes. RuntimeError when they are not there or damaged."""

    base_folder = "cifar-10-batches-py"
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    filename = "cifar-10-python.tar.gz"
    tgz_md5 = "c58f30108f718f92721af3b95e74349a"
    train_list = [
        ["data_batch_1", "c99cafc152244af753f735de768cd75f"], ["data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"],
        ["data_batch_3", "54ebc095f3ab1f0389bbae665268c751"], ["data_batch_4", "634d18415352ddfa80567beed471001a"],
        ["data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"],
    ]  # fmt: skip
    test_list = [["test_batch", "40351d587109b95175f43aff81a1287e"]]
    meta = {"filename": "batches.meta", "key": "label_names", "md5": "5ff9c542aee3614f3951f8cda6e48888"}

    def __init__(
        self, root: Any, train: bool = True, transform: Callable | None = None, target_transform: Callable | None = None,
        download: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.train = train
        if download:
            self.download()
        if not self._check_integrity():
            raise FileError(
                f"Dataset not found or corrupted. You can use download=True to download it, or unpack {self.filename} in {self.root}"
            )
        batches = [read_batch(self._path(name)) for name, _ in (self.train_list if train else self.test_list)]
        self.data = np.vstack([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        self.targets = [int(t) for batch in batches for t in batch.get("labels", batch.get("fine_labels"))]
        if not check_integrity(self._path(self.meta["filename"]), self.meta["md5"]):
            raise FileError("Dataset metadata file not found or corrupted. You can use download=True to download it")
        self.classes = read_batch(self._path(self.meta["filename"]))[self.meta["key"]]
        self.class_to_idx = {name: i for i, name in enumerate(self.classes)}

    def _path(self, name: str) -> str:
        return os.path.join(self.root, self.base_folder, name)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.transformed(Image.fromarray(np.ascontiguousarray(self.data[index])), self.targets[index])

    def __len__(self) -> int:
        return len(self.data)

    def _check_integrity(self) -> bool:
        return all(check_integrity(self._path(name), md5) for name, md5 in [*self.train_list, *self.test_list])

    def download(self) -> None:
        """Fetch and unpack the archive, unless its files are there."""
        if not self._check_integrity():
            download_and_extract_archive(self.url, self.root, filename=self.filename, md5=self.tgz_md5)

    def extra_repr(self) -> str:
        """Which half."""
        return f"Split: {'Train' if self.train else 'Test'}"


class CIFAR100(CIFAR10):
    """32 x 32 colour pictures in a hundred classes."""

    base_folder = "cifar-100-python"
    url = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
    filename = "cifar-100-python.tar.gz"
    tgz_md5 = "eb9058c3a382ffc7106e4002c42a8d85"
    train_list = [["train", "16019d7e3df5f24257cddd939b257f8d"]]
    test_list = [["test", "f0ef6b0ae62326f3e7ffdfab6717acfc"]]
    meta = {"filename": "meta", "key": "fine_label_names", "md5": "7973b15100ade9c7d40fb424638fde48"}
