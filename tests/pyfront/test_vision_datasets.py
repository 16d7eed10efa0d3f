"""Data sets: downloads over HTTP (a server of our own), checksums, resume, archives, IDX, pickled batches, folders of images."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import os
import pickle
import struct
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lamina
from lamina.dialects.errors import FileError
from lamina.pyfront.data import DataLoader
from lamina.pyfront.vision import datasets
from lamina.pyfront.vision.datasets import fetching
from lamina.pyfront.vision.datasets.cifar import read_batch
from lamina.pyfront.vision.datasets.mnist import read_idx

Image = pytest.importorskip("PIL.Image")


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves bytes with ranges; `broken` answers stop in the middle."""

    files: dict[str, bytes] = {}
    broken = 0
    asked: list[str | None] = []

    def do_GET(self) -> None:
        data = self.files.get(self.path)
        self.asked.append(self.headers.get("Range"))
        if data is None:
            self.send_error(404)
            return
        start = int(self.headers["Range"][6:-1]) if self.headers.get("Range") else 0
        if start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.broken:
            type(self).broken -= 1
            self.wfile.write(data[start : start + 1000])
            return
        self.wfile.write(data[start:])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture()
def server() -> Iterator[str]:
    """http://127.0.0.1:PORT/, serving _Handler.files."""
    _Handler.files, _Handler.broken, _Handler.asked = {}, 0, []
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}/"
    running.shutdown()
    running.server_close()


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def idx(array: np.ndarray) -> bytes:
    return struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def digits() -> dict[str, bytes]:
    """MNIST's four files, small."""
    r = np.random.RandomState(0)
    files = {}
    for name, n in (("train", 30), ("t10k", 10)):
        files[f"{name}-images-idx3-ubyte"] = idx(r.randint(0, 256, (n, 28, 28)).astype(np.uint8))
        files[f"{name}-labels-idx1-ubyte"] = idx((np.arange(n) % 10).astype(np.uint8))
    return files


def test_mnist_is_downloaded_checked_and_read(server: str, tmp_path: Path) -> None:
    files = {name: gzip.compress(data) for name, data in digits().items()}
    _Handler.files = {f"/{name}.gz": data for name, data in files.items()}

    class Small(datasets.MNIST):
        mirrors = ["http://127.0.0.1:9/", server]  # the first does not answer
        resources = [(f"{name}.gz", md5(data)) for name, data in files.items()]

    with pytest.raises(RuntimeError, match="download=True"):
        Small(str(tmp_path))
    train = Small(str(tmp_path), download=True)
    picture, label = train[3]
    assert picture.mode == "L" and picture.size == (28, 28) and label == 3 and type(label) is int
    assert len(train) == 30 and train.data.shape == (30, 28, 28) and train.targets.dtype is lamina.int64
    assert "Split: Train" in repr(train) and train.class_to_idx["2 - two"] == 2
    asked = len(_Handler.asked)
    assert len(Small(str(tmp_path), train=False, download=True)) == 10 and len(_Handler.asked) == asked  # nothing is fetched again
    images, labels = next(iter(DataLoader(Small(str(tmp_path), transform=lamina.vision.transforms.ToTensor()), batch_size=5)))
    assert images.shape == (5, 1, 28, 28) and labels.tolist() == [0, 1, 2, 3, 4]


def test_an_interrupted_download_goes_on(server: str, tmp_path: Path) -> None:
    data = bytes(range(256)) * 40
    _Handler.files, _Handler.broken = {"/f.bin": data}, 1
    with pytest.raises(OSError):
        fetching.download_url(f"{server}f.bin", tmp_path, md5=md5(data))
    assert not (tmp_path / "f.bin").exists()
    have = (tmp_path / "f.bin.part").stat().st_size
    assert 0 < have < len(data)
    fetching.download_url(f"{server}f.bin", tmp_path, md5=md5(data))
    assert (tmp_path / "f.bin").read_bytes() == data and _Handler.asked[-1] == f"bytes={have}-"


def test_a_wrong_sum_is_refused(server: str, tmp_path: Path) -> None:
    _Handler.files = {"/f.bin": b"something else"}
    with pytest.raises(RuntimeError, match="corrupted.*MD5"):
        fetching.download_url(f"{server}f.bin", tmp_path, md5="0" * 32)
    assert os.listdir(tmp_path) == []


def packed(members: dict[str, bytes | None], path: Path) -> Path:
    with tarfile.open(path, "w:gz") as out:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            if data is None:
                entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
                out.addfile(entry)
            else:
                entry.size = len(data)
                out.addfile(entry, io.BytesIO(data))
    return path


def test_archives_stay_inside(tmp_path: Path) -> None:
    into = tmp_path / "into"
    fetching.extract_archive(packed({"a/b.txt": b"hello"}, tmp_path / "good.tar.gz"), into)
    assert (into / "a" / "b.txt").read_bytes() == b"hello"
    for members, why in (({"../out": b"x"}, "outside"), ({"/abs": b"x"}, "outside"), ({"link": None}, "no plain file")):
        with pytest.raises(FileError, match=why):
            fetching.extract_archive(packed(members, tmp_path / "bad.tgz"), into)
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as out:
        out.writestr("../out", "x")
    with pytest.raises(FileError, match="outside"):
        fetching.extract_archive(tmp_path / "bad.zip", into)
    assert not (tmp_path / "out").exists()


def test_damaged_idx_files(tmp_path: Path) -> None:
    good = idx(np.zeros((3, 4, 4), np.uint8))
    for data in (b"", good[:3], good[:-1], good + b"x", b"\1" + good[1:], good[:2] + b"\7" + good[3:], good[:3] + b"\x09" + good[4:]):
        (tmp_path / "f").write_bytes(data)
        with pytest.raises(FileError):
            read_idx(tmp_path / "f")


class _Evil:
    def __reduce__(self) -> Any:
        return os.system, ("echo executed",)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_pickled_batches_are_read_not_run(tmp_path: Path, protocol: int) -> None:
    data = np.random.RandomState(0).randint(0, 256, (4, 3072)).astype(np.uint8)
    whole = {b"data": data, b"labels": [1, 2, 3, 4], b"batch_label": b"x"}
    (tmp_path / "batch").write_bytes(pickle.dumps(whole, protocol))
    found = read_batch(tmp_path / "batch")
    np.testing.assert_array_equal(found["data"], data)
    assert found["labels"] == [1, 2, 3, 4]
    (tmp_path / "batch").write_bytes(pickle.dumps({"data": _Evil()}, protocol))
    with pytest.raises(FileError, match="system"):
        read_batch(tmp_path / "batch")


def test_cifar(tmp_path: Path, server: str) -> None:
    r = np.random.RandomState(0)
    names = ["data_batch_1", "test_batch", "batches.meta"]
    contents = [{"data": r.randint(0, 256, (6, 3072)).astype(np.uint8), "labels": [i % 10 for i in range(6)]} for _ in range(2)]
    files = dict(zip(names, [pickle.dumps(c, 2) for c in [*contents, {"label_names": list("abcdefghij")}]], strict=True))
    archive = packed({f"cifar-10-batches-py/{name}": data for name, data in files.items()}, tmp_path / "cifar-10-python.tar.gz")
    _Handler.files = {"/cifar-10-python.tar.gz": archive.read_bytes()}

    class Small(datasets.CIFAR10):
        url = f"{server}cifar-10-python.tar.gz"
        tgz_md5 = md5(archive.read_bytes())
        train_list = [["data_batch_1", md5(files["data_batch_1"])]]
        test_list = [["test_batch", md5(files["test_batch"])]]
        meta = {"filename": "batches.meta", "key": "label_names", "md5": md5(files["batches.meta"])}

    root = tmp_path / "root"
    train = Small(str(root), download=True)
    picture, label = train[2]
    assert picture.size == (32, 32) and label == 2 and train.classes[2] == "c" and train.data.shape == (6, 32, 32, 3)
    np.testing.assert_array_equal(np.asarray(picture).transpose(2, 0, 1).ravel(), contents[0]["data"][2])
    (root / "cifar-10-batches-py" / "test_batch").write_bytes(b"damaged")
    with pytest.raises(RuntimeError, match="corrupted"):
        Small(str(root), train=False)


def test_image_folder(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name / "deeper").mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (5, 4), (i, 0, 0)).save(tmp_path / name / ("deeper" if i else ".") / f"{i}.png")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    found = datasets.ImageFolder(tmp_path, transform=lamina.vision.transforms.ToTensor())
    assert found.classes == ["cat", "dog"] and found.targets == [0, 0, 1, 1] and found[3][1] == 1
    assert found[0][0].shape == (3, 4, 5) and found.imgs is found.samples
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty"):
        datasets.ImageFolder(tmp_path)
    assert len(datasets.ImageFolder(tmp_path, allow_empty=True)) == 4


@pytest.mark.slow
@pytest.mark.torch
def test_fake_data_as_torchvision() -> None:
    import torch

    from .torchvision_oracle import torchvision

    theirs = torchvision().datasets
    mine, other = (d.FakeData(4, (3, 8, 8), random_offset=5) for d in (datasets, theirs))
    lamina.manual_seed(0)
    before = lamina.get_rng_state()
    for i in range(4):
        a, b = mine[i], other[i]
        np.testing.assert_array_equal(np.asarray(a[0]), np.asarray(b[0]))
        assert a[1] == b[1]
    assert lamina.equal(before, lamina.get_rng_state())
    assert repr(mine) == repr(other) and torch is not None
