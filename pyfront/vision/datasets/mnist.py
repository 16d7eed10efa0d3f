"""MNIST and its relatives: IDX files of bytes."""

from __future__ import annotations

import os
import shutil
import string
from collections.abc import Callable
from typing import Any
from urllib.error import URLError

import numpy as np

from ....dialects.errors import FileError
from ...tensor import Tensor
from ..images import picture, tensor_of
from .dataset import VisionDataset
from .fetching import check_integrity, download_and_extract_archive, extract_archive, verify_str_arg

_IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx(path: Any) -> np.ndarray:
    """An IDX file: two zero bytes, a type, a rank, big-endian sizes, the elements. FileError when it is none or damaged."""
    with open(path, "rb") as file:
        data = file.read()
    bad = None
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES or not 1 <= data[3] <= 3:
        bad = "its first four bytes are not an IDX file's"
    else:
        start = 4 * (data[3] + 1)
        sizes = np.frombuffer(data[4:start], ">u4").astype(int).tolist()
        kind = np.dtype(_IDX_TYPES[data[2]])
        if len(sizes) != data[3] or len(data) != start + int(np.prod(sizes)) * kind.itemsize:
            bad = f"it has {len(data)} bytes where its header promises {sizes} elements of {kind.itemsize}"
    if bad:
        raise FileError(f"{path}: {bad}", help="download the data set again")
    return np.frombuffer(data, kind, offset=start).reshape(sizes).astype(kind.newbyteorder("="))


def _row(values: Any, index: Any) -> np.ndarray:
    """One row on the host, whether the user left a tensor there or put something else."""
    return np.asarray(values._value()[index] if isinstance(values, Tensor) else values[index])


class MNIST(VisionDataset):
    """28 x 28 grey pictures of digits (root/MNIST/raw); download=True fetches them. RuntimeError when they are not there."""

    mirrors = ["https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"]
    resources = [
        ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
        ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
        ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
    ]
    classes = [
        "0 - zero", "1 - one", "2 - two", "3 - three", "4 - four", "5 - five", "6 - six", "7 - seven", "8 - eight", "9 - nine",
    ]  # fmt: skip

    def __init__(
        self, root: Any, train: bool = True, transform: Callable | None = None, target_transform: Callable | None = None,
        download: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.train = train
        if download:
            self.download()
        if not self._check_exists():
            raise FileError(
                f"Dataset not found. You can use download=True to download it, or put {', '.join(self._names())} into {self.raw_folder}"
            )
        images, labels = (os.path.join(self.raw_folder, name) for name in self._names())
        self.data, self.targets = self._read(images, 3), self._read(labels, 1).long()

    def _names(self) -> tuple[str, str]:
        """The images' and the labels' file."""
        prefix = "train" if self.train else "t10k"
        return f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"

    def _read(self, path: str, rank: int) -> Tensor:
        array = read_idx(path)
        if array.dtype != np.uint8:
            raise TypeError(f"x should be of dtype torch.uint8 instead of torch.{array.dtype}")
        if array.ndim != rank:
            raise ValueError(f"x should have {rank} dimension instead of {array.ndim}")
        return tensor_of(array)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.transformed(picture(_row(self.data, index), "L"), int(_row(self.targets, index)))

    def __len__(self) -> int:
        return len(self.data)

    @property
    def raw_folder(self) -> str:
        """Where the IDX files are."""
        return os.path.join(self.root, type(self).__name__, "raw")

    @property
    def processed_folder(self) -> str:
        """Where old versions of torchvision kept tensors."""
        return os.path.join(self.root, type(self).__name__, "processed")

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Numbers of the classes."""
        return {name: i for i, name in enumerate(self.classes)}

    def _check_exists(self) -> bool:
        return all(check_integrity(os.path.join(self.raw_folder, name)) for name in self._names())

    def download(self) -> None:
        """Fetch what is missing, from the first mirror that answers. FileError when none does."""
        os.makedirs(self.raw_folder, exist_ok=True)
        for filename, md5 in self.resources:
            if check_integrity(os.path.join(self.raw_folder, filename.removesuffix(".gz"))):
                continue
            failures = []
            for mirror in self.mirrors:
                try:
                    download_and_extract_archive(f"{mirror}{filename}", self.raw_folder, filename=filename, md5=md5)
                    break
                except (RuntimeError, URLError, OSError) as error:
                    failures.append(f"Tried {mirror}, got:\n{error}")
            else:
                raise FileError(f"Error downloading {filename}:\n" + "\n".join(failures))

    def extra_repr(self) -> str:
        """Which half."""
        return f"Split: {'Train' if self.train else 'Test'}"


class FashionMNIST(MNIST):
    """28 x 28 grey pictures of clothes."""

    mirrors = ["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"]
    resources = [
        ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
        ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    ]
    classes = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


class KMNIST(MNIST):
    """28 x 28 grey pictures of cursive hiragana."""

    mirrors = ["http://codh.rois.ac.jp/kmnist/dataset/kmnist/"]
    resources = [
        ("train-images-idx3-ubyte.gz", "bdb82020997e1d708af4cf47b453dcf7"),
        ("train-labels-idx1-ubyte.gz", "e144d726b3acfaa3e44228e80efcd344"),
        ("t10k-images-idx3-ubyte.gz", "5c965bf0a639b31b8f53240b1b52f4d7"),
        ("t10k-labels-idx1-ubyte.gz", "7320c461ea6c1c855c0b718fb2a4b134"),
    ]
    classes = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]


_MERGED = set("cijklmopsuvwxyz")
_ALL = set(string.digits + string.ascii_letters)


class EMNIST(MNIST):
    """28 x 28 grey pictures of letters and digits, in six splits."""

    url = "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip"
    md5 = "58c8d27c78d21e728a6bc7b3cc06412e"
    splits = ("byclass", "bymerge", "balanced", "letters", "digits", "mnist")
    classes_split_dict = {
        "byclass": sorted(_ALL), "bymerge": sorted(_ALL - _MERGED), "balanced": sorted(_ALL - _MERGED),
        "letters": ["N/A", *string.ascii_lowercase], "digits": list(string.digits), "mnist": list(string.digits),
    }  # fmt: skip

    def __init__(self, root: Any, split: str, **options: Any) -> None:
        self.split = verify_str_arg(split, "split", self.splits)
        super().__init__(root, **options)
        self.classes = self.classes_split_dict[self.split]

    def _names(self) -> tuple[str, str]:
        prefix = f"emnist-{self.split}-{'train' if self.train else 'test'}"
        return f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"

    def download(self) -> None:
        """Fetch and unpack all splits."""
        if self._check_exists():
            return
        os.makedirs(self.raw_folder, exist_ok=True)
        download_and_extract_archive(self.url, self.raw_folder, md5=self.md5)
        packed = os.path.join(self.raw_folder, "gzip")
        for name in sorted(os.listdir(packed)):
            if name.endswith(".gz"):
                extract_archive(os.path.join(packed, name), self.raw_folder)
        shutil.rmtree(packed)
