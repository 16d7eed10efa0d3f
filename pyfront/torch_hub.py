"""torch.hub: weights fetched from a server once, checked, and kept in a folder."""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any
from urllib.parse import urlparse

from ..dialects.errors import FileError, UnsupportedError
from .files import MAP_LOCATION, load as load_file
from .origin import origin, source_line

__all__ = ["download_url_to_file", "get_dir", "help", "list", "load", "load_state_dict_from_url", "set_dir"]

HASH_REGEX = re.compile(r"-([a-f0-9]*)\.")  # in a file's name: how its SHA-256 sum begins
_folder: list[str] = []  # what `set_dir` said


def get_dir() -> str:
    """The folder of what was fetched: `set_dir`'s, else ``$TORCH_HOME/hub``, else ``~/.cache/torch/hub``."""
    if _folder:
        return _folder[0]
    return os.path.join(_get_torch_home(), "hub")


def _get_torch_home() -> str:
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return os.path.expanduser(os.environ.get("TORCH_HOME", os.path.join(cache, "torch")))


def set_dir(d: str | os.PathLike[str]) -> None:
    """Fetch into this folder from now on."""
    _folder[:] = [os.path.expanduser(d)]


def download_url_to_file(url: str, dst: str, hash_prefix: str | None = None, progress: bool = True) -> None:
    """Fetch a file. What arrives goes to DST.part and gets its name when it is complete and its SHA-256 sum begins as it must.

    URLError when the server cannot be reached, FileError (a RuntimeError) for another sum.
    """
    from .vision.datasets.fetching import fetch

    dst = os.path.expanduser(dst)
    os.makedirs(os.path.dirname(dst) or ".", exist_ok=True)
    part = f"{dst}.part"
    fetch(url, part, progress)
    if hash_prefix:
        with open(part, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if not found.startswith(hash_prefix):
            os.remove(part)
            raise FileError(
                f'invalid hash value (expected "{hash_prefix}", got "{found}")', [("url", url, "")],
                help="try again; if it happens again the server holds another file",
            )  # fmt: skip
    os.replace(part, dst)


def load_state_dict_from_url(
    url: str, model_dir: str | None = None, map_location: MAP_LOCATION = None, progress: bool = True, check_hash: bool = False,
    file_name: str | None = None, weights_only: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """The weights a URL leads to, fetched once into ``model_dir`` (``get_dir()/checkpoints``).

    check_hash: the name of the file holds the begin of its SHA-256 sum (``resnet18-f37072fd.pth``), which must be right.
    """
    folder = model_dir or os.path.join(get_dir(), "checkpoints")
    name = file_name or os.path.basename(urlparse(url).path)
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        found = HASH_REGEX.search(name) if check_hash else None
        download_url_to_file(url, path, found.group(1) if found else None, progress)
    return load_file(path, map_location=map_location, weights_only=weights_only)


load_url = load_state_dict_from_url  # its name in torch.utils.model_zoo


def _refuse(name: str) -> Any:
    raise UnsupportedError(
        f"torch.hub.{name} would run a repository's hubconf.py", at=source_line(origin()),
        help="get the repository and import the model from it; load_state_dict_from_url fetches weights",
    )  # fmt: skip


def load(repo_or_dir: str, model: str, *args: Any, **kwargs: Any) -> Any:
    """UnsupportedError: what is fetched is never run."""
    return _refuse("load")


def list(github: str, *args: Any, **kwargs: Any) -> Any:  # noqa: A001  # PyTorch's name
    """UnsupportedError: what is fetched is never run."""
    return _refuse("list")


def help(github: str, model: str, *args: Any, **kwargs: Any) -> Any:  # noqa: A001  # PyTorch's name
    """UnsupportedError: what is fetched is never run."""
    return _refuse("help")
