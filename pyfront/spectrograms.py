"""Spectrograms: ``torch.stft`` and ``torch.istft``: transforms of overlapping windows of a signal, and back.

Conventions: https://docs.pytorch.org/docs/stable/generated/torch.stft.html.
"""

from __future__ import annotations

from . import fft
from .complex_numbers import view_as_real
from .creation import ones
from .definitions import define
from .recorder import record
from .tensor import Tensor, wrap


def _window(window: Tensor | None, n_fft: int, length: int, like: Tensor) -> Tensor:
    """The window in the middle of n_fft points. RuntimeError for one of another length."""
    if window is None:
        window = ones(length, dtype=like.real.dtype, device=like.device)
    if window.dim() != 1 or window.shape[0] != length:
        raise RuntimeError(f"expected a 1D window tensor of size equal to win_length={length}, but got window with size {list(window.shape)}")
    left = (n_fft - length) // 2
    return wrap(record("pad", (window._read(),), ((left,), (n_fft - length - left,), (0,), 0.0))) if length < n_fft else window


@define("stft")
def stft(
    input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window: Tensor | None = None,
    center: bool = True, pad_mode: str = "reflect", normalized: bool = False, onesided: bool | None = None,
    return_complex: bool | None = None, align_to_window: bool | None = None,
) -> Tensor:  # fmt: skip
    """Transforms of windows ``hop_length`` apart: [batch, frequencies, frames] of a signal [batch, time]."""
    hop, length = hop_length or n_fft // 4, win_length or n_fft
    is_complex = input.dtype.is_complex or window is not None and window.dtype.is_complex
    if return_complex is None:
        if not is_complex:
            raise RuntimeError(
                "stft requires the return_complex parameter be given for real inputs, and will further require that "
                "return_complex=True in a future PyTorch release."
            )
        return_complex = True
    if input.dim() not in (1, 2):
        raise RuntimeError(f"stft(input, n_fft={n_fft}): expected a 1D or 2D tensor, but got {input.dim()}D")
    if hop <= 0:
        raise RuntimeError(f"stft: expected hop_length > 0, but got hop_length={hop}")
    if not 0 < length <= n_fft:
        raise RuntimeError(f"stft: expected 0 < win_length <= n_fft, but got win_length={length}")
    x = input if input.dim() == 2 else input.unsqueeze(0)
    if center:
        from .nn.functions.convolution import pad

        x = pad(x.unsqueeze(1), (n_fft // 2, n_fft // 2), pad_mode).squeeze(1)
    if not 0 < n_fft <= x.shape[1]:
        raise RuntimeError(f"stft: expected 0 < n_fft < {x.shape[1]}, but got n_fft={n_fft}")
    frames = x.unfold(1, n_fft, hop) * _window(window, n_fft, length, input)
    onesided = not is_complex if onesided is None else onesided
    transform = fft.rfft if onesided else fft.fft
    made = transform(frames, norm="ortho" if normalized else None).transpose(1, 2)
    made = made if input.dim() == 2 else made.squeeze(0)
    return made if return_complex else view_as_real(made)


@define("istft")
def istft(
    input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window: Tensor | None = None,
    center: bool = True, normalized: bool = False, onesided: bool | None = None, length: int | None = None,
    return_complex: bool = False,
) -> Tensor:  # fmt: skip
    """The signal of least squared distance whose ``stft`` this is: overlapping windows added up, divided by the sum of their squares."""
    hop, width = hop_length or n_fft // 4, win_length or n_fft
    if not input.dtype.is_complex:
        raise RuntimeError(
            "istft requires a complex-valued input tensor matching the output from stft with return_complex=True."
        )
    x = input if input.dim() == 3 else input.unsqueeze(0)
    onesided = x.shape[1] != n_fft if onesided is None else onesided
    if x.shape[1] != (n_fft // 2 + 1 if onesided else n_fft):
        raise RuntimeError(
            f"istft expected the frequency dimension (3rd to the last) of the input tensor to match "
            f"{'n_fft / 2 + 1 when onesided=True' if onesided else 'n_fft when onesided=False'}, but got {x.shape[1]}"
        )
    shape = _window(window, n_fft, width, input)
    frames = x.transpose(1, 2)
    norm = "ortho" if normalized else None
    made = fft.ifft(frames, norm=norm) if return_complex else fft.irfft(frames, n_fft, norm=norm)
    count = frames.shape[1]
    total = _added((made * shape), n_fft, hop)
    weight = _added((shape * shape).expand(1, count, n_fft), n_fft, hop)
    begin = n_fft // 2 if center else 0
    end = total.shape[1] - begin if center else total.shape[1]
    end = min(begin + length, total.shape[1]) if length is not None else end
    total, weight = total[:, begin:end], weight[:, begin:end]
    if float(weight.abs().min()) < 1e-11:
        raise RuntimeError("istft: the windows leave a point of the signal out (window overlap add min: 0); use a smaller hop_length or another window")
    result = total / weight
    if length is not None and length > result.shape[1]:
        result = wrap(record("pad", (result._read(),), ((0, 0), (0, length - result.shape[1]), (0, 0), 0.0)))
    return result if input.dim() == 3 else result.squeeze(0)


def _added(frames: Tensor, n_fft: int, hop: int) -> Tensor:
    """Frames [batch, count, n_fft] added where they overlap: [batch, time]."""
    time = n_fft + hop * (frames.shape[1] - 1)
    return wrap(record("unwindow", (frames._read(),), ((time,), (n_fft,), (hop,), (1,))))
