"""torch.utils.tensorboard: a SummaryWriter over the tensorboard package, where that is installed."""

from __future__ import annotations

import io
import os
import socket
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np

from ..dialects.errors import UnsupportedError
from .origin import origin, source_line
from .tensor import Tensor

__all__ = ["SummaryWriter"]


def _parts() -> tuple[Any, Any, Any]:
    """What is used of tensorboard. UnsupportedError where it is not installed."""
    try:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError as error:
        raise UnsupportedError(
            f"torch.utils.tensorboard needs the package tensorboard ({error})", at=source_line(origin()),
            help="pip install tensorboard",
        ) from None  # fmt: skip
    return event_pb2, summary_pb2, EventFileWriter


class SummaryWriter:
    """Writes numbers, pictures, texts and distributions for TensorBoard into a folder."""

    def __init__(
        self, log_dir: Any = None, comment: str = "", purge_step: int | None = None, max_queue: int = 10,
        flush_secs: int = 120, filename_suffix: str = "",
    ) -> None:  # fmt: skip
        if not log_dir:
            now = time.strftime("%b%d_%H-%M-%S")
            log_dir = os.path.join("runs", f"{now}_{socket.gethostname()}{comment}")
        self._event, self._summary, writer = _parts()
        self.log_dir = os.fspath(log_dir)
        self._file = writer(self.log_dir, max_queue, flush_secs, filename_suffix)

    def get_logdir(self) -> str:
        """The folder."""
        return self.log_dir

    def _add(self, value: Any, step: int | None, walltime: float | None) -> None:
        event = self._event.Event(summary=self._summary.Summary(value=[value]), wall_time=walltime or time.time())
        if step is not None:
            event.step = int(step)
        self._file.add_event(event)

    def add_scalar(
        self, tag: str, scalar_value: Any, global_step: int | None = None, walltime: float | None = None,
        new_style: bool = False, double_precision: bool = False,
    ) -> None:  # fmt: skip
        """One number."""
        self._add(self._summary.Summary.Value(tag=tag, simple_value=float(scalar_value)), global_step, walltime)

    def add_scalars(
        self, main_tag: str, tag_scalar_dict: Mapping[str, Any], global_step: int | None = None, walltime: float | None = None
    ) -> None:
        """Several numbers, under ``main_tag/name``."""
        for name, value in tag_scalar_dict.items():
            self.add_scalar(f"{main_tag}/{name}", value, global_step, walltime)

    def add_text(
        self, tag: str, text_string: str, global_step: int | None = None, walltime: float | None = None
    ) -> None:
        """A text."""
        from tensorboard.plugins.text.summary import text_pb

        proto = text_pb(tag, text_string)
        self._add(proto.value[0], global_step, walltime)

    def add_histogram(
        self, tag: str, values: Any, global_step: int | None = None, bins: Any = 64, walltime: float | None = None,
        max_bins: int | None = None,
    ) -> None:  # fmt: skip
        """The distribution of the values."""
        held = _array(values).astype(np.float64).reshape(-1)
        if not held.size:
            raise ValueError("The histogram is empty, please file a bug report.")
        counts, edges = np.histogram(held, 64 if isinstance(bins, str) else bins)
        proto = self._summary.HistogramProto(
            min=held.min(), max=held.max(), num=held.size, sum=held.sum(), sum_squares=(held * held).sum(),
            bucket_limit=edges[1:].tolist(), bucket=counts.tolist(),
        )  # fmt: skip
        self._add(self._summary.Summary.Value(tag=tag, histo=proto), global_step, walltime)

    def add_image(
        self, tag: str, img_tensor: Any, global_step: int | None = None, walltime: float | None = None,
        dataformats: str = "CHW",
    ) -> None:  # fmt: skip
        """A picture: uint8, or floats from 0 to 1."""
        from PIL import Image

        held = _array(img_tensor)
        held = np.moveaxis(held, dataformats.upper().index("C"), -1) if "C" in dataformats.upper() else held[:, :, None]
        if held.dtype != np.uint8:
            held = (np.clip(held.astype(np.float64), 0, 1) * 255).astype(np.uint8)
        held = held[:, :, 0] if held.shape[2] == 1 else held
        out = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(held)).save(out, "PNG")
        proto = self._summary.Summary.Image(
            height=held.shape[0], width=held.shape[1], colorspace=1 if held.ndim == 2 else held.shape[2],
            encoded_image_string=out.getvalue(),
        )  # fmt: skip
        self._add(self._summary.Summary.Value(tag=tag, image=proto), global_step, walltime)

    def add_hparams(
        self, hparam_dict: Mapping[str, Any], metric_dict: Mapping[str, Any], *_: Any, **__: Any
    ) -> None:
        """Options and what came of them: the options as a text, the results as numbers."""
        self.add_text("hparams", "\n".join(f"    {key}: {value}" for key, value in hparam_dict.items()))
        for key, value in metric_dict.items():
            self.add_scalar(key, value)

    def add_graph(self, model: Any, input_to_model: Any = None, verbose: bool = False, **_: Any) -> None:
        """The model's layers as a text; `lamina run --dump DIR` shows its program at every stage."""
        self.add_text("graph", "\n".join("    " + line for line in repr(model).split("\n")))

    def flush(self) -> None:
        """Write what waits."""
        self._file.flush()

    def close(self) -> None:
        """Write what waits, and close the file."""
        self._file.close()

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _array(values: Any) -> np.ndarray:
    if not isinstance(values, Tensor):
        return np.asarray(values)
    held = values.detach().cpu()
    return held.float().numpy() if held.is_floating_point() else held.numpy()
