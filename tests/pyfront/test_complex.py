"""Complex tensors and Fourier transforms: the same programs under lamina and under PyTorch, on the oracle and compiled."""

from __future__ import annotations

import lamina
import numpy as np
import pytest
from lamina.dialects import flags
from lamina.dialects.errors import LaminaError

from .witness import agree

FUNCTIONS = (
    "exp expm1 exp2 log log2 log10 log1p sqrt rsqrt reciprocal sin cos tan sinh cosh tanh sigmoid asin acos atan asinh acosh atanh "
    "abs angle sgn square neg real imag conj isreal isfinite"
).split()


@pytest.fixture(params=["oracle", pytest.param("compiled", marks=pytest.mark.slow)])
def where(request: pytest.FixtureRequest) -> None:
    """Both ways a small program may run."""
    if request.param == "oracle":
        with flags.device("numpy"):
            yield
    else:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("lamina.backends.driver.ORACLE_WORK", 0)
            yield


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_and_their_derivatives(name: str) -> None:
    def program(torch):
        z = torch.randn(5, dtype=torch.complex128, requires_grad=True)
        y = getattr(torch, name)(z)
        if not y.requires_grad:
            return y.resolve_conj()
        y.backward(torch.randn(5, dtype=y.dtype))
        return y.detach().resolve_conj(), z.grad.resolve_conj()

    agree(program)


PROGRAMS = {
    "arithmetic": lambda torch, a, b: [a @ b, a / a.flip(0), a**3, a**-1, a - 2j, 1 / a, a * 2 + 1, -a, a ** a.mean(), a == a.clone(), a != 0],
    "views": lambda torch, a, b: [a.T, a.mH.resolve_conj(), a[:, 1], a[[0, 2], 1], a.roll(1, 0), torch.view_as_real(a), a.real, a.imag, a.reshape(2, -1)],
    "joining": lambda torch, a, b: [torch.cat([a, a.conj()]), torch.stack([a, a * 1j]), a.repeat(1, 2), torch.nn.functional.pad(a, (1, 2))],
    "choosing": lambda torch, a, b: [torch.where(a.real > 0, a, 0), a.masked_fill(a.imag > 0, 1 - 1j), a.gather(1, torch.tensor([[0], [1], [2]]))],
    "adding": lambda torch, a, b: [torch.zeros(3, 4, dtype=a.dtype).index_add(0, torch.tensor([0, 0, 2]), a), a.sum(1), a.mean(0), a.cumsum(1)],
    "reducing": lambda torch, a, b: [a.prod(1), a.norm(), a.var(), a.std(0), torch.vdot(a[0], b[:, 0]), torch.dot(a[0], b[:, 0])],
    "products": lambda torch, a, b: [torch.einsum("ij,jk->k", a, b), torch.outer(a[0], b[:, 0]), torch.nn.functional.linear(a, b.mT), torch.kron(a, b), torch.linalg.vecdot(a, a * 1j)],
    "converting": lambda torch, a, b: [a.to(torch.complex64).to(a.dtype), a.real.to(a.dtype), a.abs().softmax(-1), torch.polar(a.abs(), a.angle())],
    "promoting": lambda torch, a, b: [torch.ones(2) * 1j, torch.ones(2, dtype=torch.double) * 1j, torch.tensor([1, 2]) * 1j, torch.tensor(2.5) * a, a.to(torch.complex64) + a.real],
    "creating": lambda torch, a, b: [torch.full((2,), 1 - 1j), torch.eye(2, dtype=torch.cfloat), torch.zeros(2, dtype=torch.cdouble), torch.tensor([1, 2j]), torch.arange(3) + 0j],
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.usefixtures("where")
def test_programs(name: str) -> None:
    def program(torch):
        a, b = (torch.randn(s, dtype=torch.cdouble, requires_grad=True) for s in ((3, 4), (4, 2)))
        results = PROGRAMS[name](torch, a, b)
        tracked = [r for r in results if r.requires_grad]
        if tracked:
            sum((r.abs() ** 2).sum() for r in tracked).backward()
        return [r.detach().resolve_conj() for r in results], a.grad, b.grad

    agree(program)


@pytest.mark.usefixtures("where")
def test_memory_is_shared_between_complex_numbers_and_their_parts() -> None:
    def program(torch):
        z = torch.zeros(3, dtype=torch.complex64)
        z.real = torch.arange(3.0)
        z.imag[1] = 5
        z[0] = 2 - 1j
        r = torch.zeros(4, 2)
        c = torch.view_as_complex(r)
        c += 1 + 2j
        c[1] *= 1j
        torch.view_as_real(z)[2, 1] += 7
        return z, r, c, z.real.stride(), z.imag.storage_offset(), torch.view_as_real(z).is_contiguous()

    agree(program, 1e-6)


@pytest.mark.usefixtures("where")
def test_writes_through_parts_are_differentiated() -> None:
    def program(torch):
        p = torch.randn(3, dtype=torch.cdouble, requires_grad=True)
        q = p * 2
        q.real.mul_(3)
        q.imag[1] = 4
        q.abs().sum().backward()
        return q.detach(), p.grad

    agree(program)


def test_numpy_arrays_share_their_memory() -> None:
    array = np.array([1 + 2j, 3j], np.complex64)
    z = lamina.from_numpy(array)
    z.real.mul_(2)
    array[1] = 7
    assert z.tolist() == [2 + 2j, 7] and array[0] == 2 + 2j
    assert z.imag.tolist() == [2, 0]


@pytest.mark.usefixtures("where")
def test_random_complex_numbers_are_those_of_pytorch() -> None:
    def program(torch):
        made = [torch.randn(5, dtype=torch.cfloat), torch.rand(3, 2, dtype=torch.cdouble), torch.randn_like(torch.zeros(2, dtype=torch.cfloat))]
        return [*made, torch.empty(4, dtype=torch.cfloat).normal_(1, 2), torch.empty(4, dtype=torch.cfloat).uniform_(-1, 1)]

    agree(program, 1e-6)


def test_optimizers_move_parts() -> None:
    def program(torch):
        found = []
        for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.NAdam, torch.optim.Adadelta):
            p = torch.tensor([1 + 1j, 2 - 1j], dtype=torch.cdouble, requires_grad=True)
            optimizer = kind([p], lr=0.1)
            for _ in range(3):
                optimizer.zero_grad()
                (p.abs() ** 2 + p.real).sum().backward()
                optimizer.step()
            found.append(p.detach())
        return found

    agree(program, 1e-6)


def test_transforms_of_functions() -> None:
    def program(torch):
        z = torch.randn(3, 4, dtype=torch.cdouble)
        power = lambda v: (v * v.conj()).real.sum()  # noqa: E731
        return torch.vmap(power)(z), torch.func.grad(power)(z), torch.func.vmap(torch.func.grad(power))(z)

    agree(program)


def test_compiled_functions_are_replayed() -> None:
    f = lamina.compile(lambda z, w: (z * w).exp().abs())
    z, w = np.array([1 + 2j, -0.5j], np.complex64), np.array([0.3j, 1 - 1j], np.complex64)
    for k in range(5):
        np.testing.assert_allclose(f(lamina.tensor(z * k), lamina.tensor(w)).numpy(), np.abs(np.exp(z * k * w)), rtol=1e-5)


@pytest.mark.filterwarnings("ignore:A window was not provided")
@pytest.mark.parametrize(
    "line",
    [
        "torch.ones(2, dtype=torch.cfloat, requires_grad=True).sum().backward()", "torch.view_as_complex(torch.ones(3))", "torch.ones(2).imag",
        "torch.complex(torch.ones(1), torch.ones(1, dtype=torch.float64))", "torch.view_as_real(torch.ones(2))", "float(torch.tensor(1 + 2j))",
        "torch.view_as_complex(torch.ones(2, 3).T)", "torch.tensor([1.0])[0].add_(1j)", "torch.fft.rfft(torch.ones(2, dtype=torch.cfloat))",
        "torch.fft.fft(torch.ones(2), norm='other')", "torch.fft.fft(torch.ones(2), n=0)", "torch.fft.fft2(torch.ones(2, 2), dim=(0, 0))",
        "torch.stft(torch.ones(16), 4)", "torch.fft.fft(torch.ones(4).half())", "torch.ones(2, dtype=torch.cfloat).nansum()",
        "torch.nn.functional.cosine_similarity(torch.ones(1, 2) * 1j, torch.ones(1, 2))",
    ],
)  # fmt: skip
def test_errors_are_those_of_pytorch(line: str) -> None:
    agree(lambda torch: eval(line, {"torch": torch}), sentence=20)  # noqa: S307  # our own lines


@pytest.mark.parametrize("line", ["z.relu()", "z < 1", "z.max()", "z.softmax(0)", "z.floor()", "z.sort()", "z.clamp(0, 1)", "z // 2", "z.atan2(z)", "z.histc()", "F.mse_loss(z, z)", "F.layer_norm(z, (2,))"])
def test_what_is_not_defined_is_refused_where_it_is_written(line: str) -> None:
    with pytest.raises(LaminaError, match="complex64"):
        eval(line, {"z": lamina.ones(2, dtype=lamina.cfloat), "F": lamina.nn.functional})  # noqa: S307  # our own lines


def test_half_precision_is_there_to_compare_with() -> None:
    assert lamina.zeros(2).dtype not in (lamina.complex32, lamina.chalf) and lamina.complex32.is_complex
    for line in ("torch.zeros(2, dtype=torch.complex32)", "torch.zeros(2).to(torch.chalf)", "torch.complex(torch.ones(1).half(), torch.ones(1).half())"):
        with pytest.raises(LaminaError, match="half precision"):
            eval(line, {"torch": lamina})  # noqa: S307  # our own lines


def test_printing() -> None:
    z = lamina.tensor([1 + 2j, -0.5 - 100j])
    assert str(z) == "tensor([ 1.0000+2.j, -0.5000-100.j])"
    assert str(lamina.tensor(1j, dtype=lamina.complex128)) == "tensor(0.+1.j, dtype=torch.complex128)"


# -- Fourier transforms


@pytest.mark.parametrize("n", [1, 2, 7, 32, 48, 101, 257, pytest.param(1024, marks=pytest.mark.slow)])
def test_one_dimension(n: int) -> None:
    def program(torch):
        fft = torch.fft
        x, z = torch.randn(2, n, dtype=torch.double), torch.randn(2, n, dtype=torch.cdouble)
        found = [fft.fft(x), fft.ifft(x), fft.rfft(x), fft.ihfft(x), fft.fft(z, norm="ortho"), fft.ifft(z, n=n + 3), fft.fft(z, dim=0)]
        if n > 1:
            found += [fft.irfft(z), fft.irfft(z, n=n), fft.hfft(z, n=2 * n - 1, norm="forward")]
        return [f.resolve_conj() for f in found]

    agree(program, 1e-10)


def test_several_dimensions() -> None:
    def program(torch):
        fft = torch.fft
        x, z = torch.randn(2, 8, 12, dtype=torch.double), torch.randn(2, 8, 7, dtype=torch.cdouble)
        real = [f(x, s=(4, 6), dim=(1, 2)) for f in (fft.fft2, fft.ifft2, fft.rfft2, fft.fftn, fft.ifftn, fft.rfftn, fft.ihfft2, fft.ihfftn)]
        whole = [f(z) for f in (fft.irfft2, fft.irfftn, fft.hfft2, fft.hfftn)] + [fft.irfft2(z, s=(8, 12), norm="ortho")]
        return [f.resolve_conj() for f in real + whole], fft.fftshift(x), fft.fftfreq(7, 0.5), fft.rfftfreq(6)

    agree(program, 1e-7)


@pytest.mark.usefixtures("where")
def test_derivatives_of_transforms() -> None:
    def program(torch):
        x = torch.randn(3, 70, dtype=torch.double, requires_grad=True)
        spectrum = torch.fft.rfft(x)
        y = torch.fft.irfft(spectrum * torch.randn(36, dtype=torch.cdouble), n=70)
        ((y**3).sum() + spectrum.abs().sum()).backward()
        return y.detach(), x.grad

    agree(program, 1e-8)


def test_spectrograms_and_back() -> None:
    def program(torch):
        signal = torch.randn(2, 200, dtype=torch.double, requires_grad=True)
        window = torch.hann_window(32, dtype=torch.double)
        made = torch.stft(signal, 32, 8, window=window, return_complex=True)
        back = torch.istft(made * 2, 32, 8, window=window, length=190)
        (made.abs().sum() + (back**2).sum()).backward()
        short = torch.stft(signal.detach()[0], 32, win_length=20, window=torch.hamming_window(20, dtype=torch.double), center=False, normalized=True, onesided=False, return_complex=True)
        return made.detach(), back.detach(), signal.grad, short

    agree(program, 1e-8)


@pytest.mark.usefixtures("where")
def test_a_fourier_neural_operator_trains() -> None:
    def program(torch):
        weight = (torch.rand(1, 2, 3, 3, dtype=torch.cfloat) / 2).requires_grad_()
        optimizer = torch.optim.Adam([weight], 1e-2)
        x = torch.randn(2, 1, 8, 8)
        losses = []
        for _ in range(3):
            spectrum = torch.fft.rfft2(x)
            out = torch.zeros(2, 2, 8, 5, dtype=torch.cfloat)
            out[:, :, :3, :3] = torch.einsum("bixy,ioxy->boxy", spectrum[:, :, :3, :3], weight)
            loss = (torch.fft.irfft2(out, s=(8, 8)) - x.roll(1, -1)).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return losses, weight.detach()

    agree(program, 1e-4)


@pytest.mark.usefixtures("where")
def test_rotary_positions_as_complex_products() -> None:
    def program(torch):
        turns = torch.polar(torch.ones(6, 4), torch.outer(torch.arange(6.0), 1 / 100 ** (torch.arange(4) / 4)))
        q = torch.randn(2, 6, 3, 8, requires_grad=True)
        turned = torch.view_as_real(torch.view_as_complex(q.reshape(2, 6, 3, 4, 2)) * turns[None, :, None]).flatten(3)
        turned.pow(3).sum().backward()
        return turned.detach(), q.grad

    agree(program, 1e-4)
