"""torch.random: generators and seeding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..dialects.types import dtype_of
from . import recorder
from .mersenne import Engine, fresh_seed
from .philox import Sequence
from .size import require
from .tensor import Tensor, wrap


class Generator:
    """A source of random numbers with a state of its own."""

    def __init__(self, device: Any = "cpu") -> None:
        self._device = require(device)
        self.engine = Engine(67280421310721)  # PyTorch's default seed
        self.sequence = Sequence(67280421310721)  # of tensors on the GPU

    @property
    def device(self) -> Any:
        """For tensors on which device."""
        return self._device

    def manual_seed(self, seed: int) -> Generator:
        """Start the sequence of `seed`."""
        self.engine.reseed(int(seed))
        self.sequence.reseed(int(seed))
        return self

    def seed(self) -> int:
        """Start a sequence nobody can guess; gives its seed."""
        return self.manual_seed(fresh_seed()).initial_seed()

    def initial_seed(self) -> int:
        """The seed the sequence started from."""
        return self.engine.initial_seed

    def get_state(self) -> Tensor:
        """The whole state, uint8[5056]; uint8[16] for the GPU."""
        state = self.engine.state() if self._device.type == "cpu" else self.sequence.state()
        return wrap(recorder.leaf(state, (state.shape, dtype_of(state))))

    def set_state(self, new_state: Tensor) -> None:
        """Go on from a state."""
        if not isinstance(new_state, Tensor):
            raise TypeError(f"expected a torch.ByteTensor, but got {type(new_state).__name__}")
        state = np.asarray(new_state._value())
        if self._device.type == "cpu":
            self.engine.restore(state)
        else:
            self.sequence.restore(state)

    def clone_state(self) -> Generator:
        """Another generator that goes on from here."""
        clone = Generator(self._device)
        clone.engine.restore(self.engine.state())
        clone.sequence.restore(self.sequence.state())
        return clone


default_generator = Generator().manual_seed(fresh_seed())


class DefaultOnGpu(Generator):
    """The GPU's side of the default generator. NoDeviceError where there is no GPU."""

    def __init__(self) -> None:
        self._device = require("cuda:0")

    @property
    def sequence(self) -> Sequence:
        """The default generator's."""
        return default_generator.sequence

    def manual_seed(self, seed: int) -> Generator:
        """Start the sequence of `seed`; numbers on the CPU go on as they would."""
        self.sequence.reseed(int(seed))
        return self

    def initial_seed(self) -> int:
        """The seed the sequence started from."""
        return self.sequence.seed

    def clone_state(self) -> Generator:
        """A generator of its own that goes on from here."""
        clone = Generator(self._device).manual_seed(self.initial_seed())
        clone.sequence.restore(self.sequence.state())
        return clone


def engine_of(generator: Generator | None) -> Engine:
    """Numbers of a generator on the host; None: the default one's."""
    return default_generator.engine if generator is None else generator.engine


def sequence_of(generator: Generator | None) -> Sequence:
    """Numbers of a generator on GPUs; None: the default one's."""
    return default_generator.sequence if generator is None else generator.sequence


def manual_seed(seed: int) -> Generator:
    """Seed all random numbers."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seed all random numbers with something nobody can guess."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed in force."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """State of the default generator, uint8[5056]."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Put the default generator into a state."""
    default_generator.set_state(new_state)


@contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, **_: Any) -> Iterator[None]:
    """Random numbers drawn inside do not count outside."""
    state = default_generator.engine.state()
    try:
        yield
    finally:
        if enabled:
            default_generator.engine.restore(state)
