"""torchvision.datasets.utils: downloads with checksums that go on where they stopped, and archives taken apart safely."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from typing import Any

from ....dialects.errors import FileError

_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_ALIASES = {".tgz": (".tar", ".gz"), ".tbz": (".tar", ".bz2"), ".tbz2": (".tar", ".bz2")}
_PIECE = 1 << 16


def calculate_md5(fpath: Any, chunk_size: int = 1 << 20) -> str:
    """The MD5 sum of a file, as hexadecimal digits."""
    md5 = hashlib.md5(usedforsecurity=False)
    with open(fpath, "rb") as file:
        while piece := file.read(chunk_size):
            md5.update(piece)
    return md5.hexdigest()


def check_md5(fpath: Any, md5: str) -> bool:
    """Whether a file has this sum."""
    return calculate_md5(fpath) == md5


def check_integrity(fpath: Any, md5: str | None = None) -> bool:
    """Whether a file is there and has this sum."""
    return os.path.isfile(fpath) and (md5 is None or check_md5(fpath, md5))


def download_url(url: str, root: Any, filename: Any = None, md5: str | None = None, max_redirect_hops: int = 3) -> None:
    """Fetch a file into a folder, unless it is there already with the right sum.

    What arrives goes to NAME.part, so that an interrupted download goes on where it stopped; it gets its name when it is
    complete and its sum is right. URLError when the server cannot be reached, RuntimeError for a wrong sum.
    """
    root = os.path.expanduser(root)
    path = os.path.join(root, filename or os.path.basename(url))
    os.makedirs(root, exist_ok=True)
    if check_integrity(path, md5):
        return
    part = f"{path}.part"
    fetch(url, part)
    if not check_integrity(part, md5):
        found = calculate_md5(part)
        os.remove(part)
        raise FileError(
            f"File not found or corrupted: {url} has MD5 sum {found}, expected {md5}",
            help="try again; if it happens again the server holds another file",
        )
    os.replace(part, path)


def fetch(url: str, part: str, progress: bool = True) -> None:
    """Append to `part` what is missing of it. progress: with a bar."""
    have = os.path.getsize(part) if os.path.exists(part) else 0
    headers = {"User-Agent": "lamina"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is missing: the sum decides
            return
        raise
    with response:
        goes_on = response.status == 206
        expected = getattr(response, "length", None)  # file:// says nothing
        with open(part, "ab" if goes_on else "wb") as file, _progress(expected, have if goes_on else 0, progress) as bar:
            done = 0
            while piece := response.read(_PIECE):
                file.write(piece)
                done += len(piece)
                bar.update(len(piece))
    if expected is not None and done < expected:
        raise urllib.error.URLError(f"{url} broke off after {done} of {expected} bytes; calling again goes on from there")


class _Silent:
    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def update(self, _: int) -> None:
        pass


def _progress(total: int | None, initial: int, wanted: bool) -> Any:
    """A bar where tqdm is installed."""
    if not wanted:
        return _Silent()
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return _Silent()
    return tqdm(total=None if total is None else total + initial, initial=initial, unit="B", unit_scale=True)


def _kind(path: Any) -> tuple[str, str | None, str | None]:
    """(suffix, ".tar" or ".zip" or None, compression or None). RuntimeError for names that say nothing."""
    name = os.path.basename(path)
    stem, suffix = os.path.splitext(name)
    if not suffix:
        raise RuntimeError(f"File '{path}' has no suffixes that could be used to detect the archive type and compression.")
    if suffix in _ALIASES:
        return suffix, *_ALIASES[suffix]
    if suffix in (".tar", ".zip"):
        return suffix, suffix, None
    if suffix in _OPENERS:
        inner = os.path.splitext(stem)[1]
        return (inner + suffix, inner, suffix) if inner in (".tar", ".zip") else (suffix, None, suffix)
    known = sorted([*_ALIASES, ".tar", ".zip", *_OPENERS])
    raise RuntimeError(f"Unknown compression or archive type: '{suffix}'.\nKnown suffixes are: '{known}'.")


def extract_archive(from_path: Any, to_path: Any = None, remove_finished: bool = False) -> Any:
    """Take an archive apart beside itself or into a folder; a compressed file becomes the file.

    FileError for members that would land outside the folder, or that are neither files nor folders.
    """
    to_path = os.path.dirname(from_path) if to_path is None else to_path
    suffix, archive, compression = _kind(from_path)
    made = to_path
    if archive == ".tar":
        _untar(from_path, to_path, compression)
    elif archive == ".zip":
        with zipfile.ZipFile(from_path) as packed:
            for member in packed.infolist():
                _inside(to_path, member.filename, from_path)
            packed.extractall(to_path)
    else:
        made = os.path.join(to_path, os.path.basename(from_path).removesuffix(suffix))
        with _OPENERS[str(compression)](from_path, "rb") as source, open(f"{made}.part", "wb") as file:
            shutil.copyfileobj(source, file)
        os.replace(f"{made}.part", made)
    if remove_finished:
        os.remove(from_path)
    return made


def _inside(folder: Any, name: str, archive: Any) -> str:
    """Where a member goes; FileError when that is not below the folder."""
    base = os.path.realpath(folder)
    path = os.path.realpath(os.path.join(base, name))
    if os.path.commonpath([base, path]) != base:
        raise FileError(f"{archive}: member {name!r} would land outside {folder}", help="the archive is damaged or hostile")
    return path


def _untar(from_path: Any, to_path: Any, compression: str | None) -> None:
    with tarfile.open(from_path, f"r:{compression[1:]}" if compression else "r:") as packed:
        for member in packed:
            path = _inside(to_path, member.name, from_path)
            if member.isdir():
                os.makedirs(path, exist_ok=True)
                continue
            source = packed.extractfile(member) if member.isfile() else None
            if source is None:
                raise FileError(f"{from_path}: member {member.name!r} is no plain file", help="the archive is damaged or hostile")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with source, open(path, "wb") as file:
                shutil.copyfileobj(source, file)


def download_and_extract_archive(
    url: str, download_root: Any, extract_root: Any = None, filename: Any = None, md5: str | None = None,
    remove_finished: bool = False,
) -> None:  # fmt: skip
    """download_url, then extract_archive."""
    download_root = os.path.expanduser(download_root)
    filename = filename or os.path.basename(url)
    download_url(url, download_root, filename, md5)
    extract_archive(os.path.join(download_root, filename), extract_root or download_root, remove_finished)


def verify_str_arg(value: Any, arg: str | None = None, valid_values: Any = None, custom_msg: str | None = None) -> Any:
    """The value, a str among the valid ones. ValueError otherwise."""
    if not isinstance(value, str):
        raise ValueError(f"Expected type str{f' for argument {arg}' if arg else ''}, but got type {type(value)}.")
    if valid_values is not None and value not in valid_values:
        allowed = "'" + "', '".join(str(v) for v in valid_values) + "'"
        raise ValueError(custom_msg or f"Unknown value '{value}' for argument {arg}. Valid values are {{{allowed}}}.")
    return value
