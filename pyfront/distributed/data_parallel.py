"""torch.nn.parallel.DistributedDataParallel: one model in several processes, each with its share of every batch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np

from .. import recorder
from ..nn.module import Module
from ..nn.parameter import is_lazy
from ..tensor import Tensor
from .buckets import MEGABYTE
from .errors import DistError
from .join import Join, Joinable, JoinHook
from .objects import all_gather_object
from .patterns import Combination
from .process_group import ProcessGroup
from .reduce_ops import ReduceOp, combine_of
from .reducer import Hook, Reducer
from .tensors import cut, flat, put
from .world import default_group

_STATE = "DistributedDataParallel: parameters and buffers"
_CAPACITY = 25


class DistributedDataParallel(Module, Joinable):
    """A module whose parameters are the same in all processes of a group: rank 0's at first, and moved by gradients that are the average of
    all ranks'. Each process gives it its own inputs; results, and every method but `forward`, are those of ``module``.

    device_ids, output_device: of one GPU; None for modules on the CPU. broadcast_buffers: rank 0's buffers are everybody's at each
    forward. bucket_cap_mb: how many gradients go round at once. find_unused_parameters: a backward may leave parameters without a gradient.
    static_graph: and always the same ones.

    RuntimeError for a module without trained parameters, or with other ones on another rank; ValueError for devices it is not on, and where
    ``init_process_group`` was not called.
    """

    def __init__(
        self, module: Module, device_ids: Sequence[Any] | None = None, output_device: Any = None, dim: int = 0, broadcast_buffers: bool = True,
        init_sync: bool = True, process_group: ProcessGroup | None = None, bucket_cap_mb: float | None = None,
        find_unused_parameters: bool = False, check_reduction: bool = False, gradient_as_bucket_view: bool = False, static_graph: bool = False,
        delay_all_reduce_named_params: Any = None, param_to_hook_all_reduce: Any = None, mixed_precision: Any = None, device_mesh: Any = None,
        skip_all_reduce_unused_params: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        Joinable.__init__(self)
        ignored = set(getattr(module, "_ddp_params_and_buffers_to_ignore", ()))
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad and name not in ignored]
        if not named:
            raise RuntimeError("DistributedDataParallel is not needed when a module doesn't have any parameter that requires a gradient.")
        if any(is_lazy(p) for _, p in named):
            raise RuntimeError(
                "Modules with uninitialized parameters can't be used with `DistributedDataParallel`. Run a dummy forward pass to correctly "
                "initialize the modules"
            )
        self.device_ids, self.output_device = _checked_devices(device_ids, output_device, [p for _, p in named])
        self.module, self.dim = module, dim
        self.process_group = process_group or default_group()
        self.broadcast_buffers, self.find_unused_parameters, self.static_graph = broadcast_buffers, find_unused_parameters, static_graph
        self.gradient_as_bucket_view = gradient_as_bucket_view
        self.require_backward_grad_sync = self.require_forward_param_sync = True
        self.parameters_to_ignore = ignored
        self.bucket_bytes_cap = int((_CAPACITY if bucket_cap_mb is None else bucket_cap_mb) * MEGABYTE)
        self._buffers_of_module = [b for name, b in module.named_buffers() if name not in ignored]
        self._check_alike(named)
        if init_sync:
            self._synchronize([p for name, p in module.named_parameters() if name not in ignored] + self._buffers_of_module, 0)
        self._listen()

    def _listen(self) -> None:
        named = [(name, p) for name, p in self.module.named_parameters() if p.requires_grad and name not in self.parameters_to_ignore]
        self.reducer = Reducer(
            [p for _, p in named], [name for name, _ in named], self.process_group, self.bucket_bytes_cap, self.find_unused_parameters,
            self.static_graph,
        )  # fmt: skip

    def _check_alike(self, named: list[tuple[str, Tensor]]) -> None:
        """DistError, on every rank, where another rank's module has other parameters."""
        own = [[name, tuple(p.shape), p.dtype.name] for name, p in named]
        every: list[Any] = [None] * self.process_group.size()
        all_gather_object(every, own, self.process_group)
        for rank, other in enumerate(every):
            if other == every[0]:
                continue
            differing = next((a, b) for a, b in zip([*every[0], None], [*other, None], strict=False) if a != b)
            facts = [(f"rank {r}", "no such parameter" if d is None else f"{d[2]}{list(d[1])} {d[0]}", "") for r, d in zip((0, rank), differing, strict=True)]
            raise DistError(
                f"DDP expects same model across all ranks, but Rank 0 has {len(every[0])} params, while rank {rank} has inconsistent {len(other)} params.",
                facts, help="build the module from the same options in every process",
            )  # fmt: skip

    # -- the call ---------------------------------------------------------------------------------------------

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """What the module gives, after rank 0's buffers have come."""
        work = Join.notify_join_context(self)
        trains = recorder.state.grad and self.require_backward_grad_sync
        if trains:
            self.reducer.prepare()
        elif recorder.state.grad:
            self.reducer.armed = False
        if recorder.state.grad:
            self.reducer.listen()
        if work is not None:
            work.wait()
            self.reducer.divisor = self.process_group.size() if self._divides_by_all else int(work.result()[0].item())
        if self.require_forward_param_sync and self.broadcast_buffers and self._buffers_of_module:
            self._synchronize_buffers()
        if self._join_config.enable:
            self._any_trains(trains)
        self.require_forward_param_sync = trains or not recorder.state.grad
        return self.module(*inputs, **kwargs)

    def _synchronize_buffers(self, joined: bool = False) -> None:
        root = 0
        if self._join_config.enable or joined:  # the first ranks may have no batches any more
            mine = np.array([-1 if joined else self.process_group.rank()], np.int64)
            root = int(self._largest(mine)[0])
            if root < 0:
                return
        self._buffers_of_module = [b for name, b in self.module.named_buffers() if name not in self.parameters_to_ignore]
        self._synchronize(self._buffers_of_module, root)

    def _synchronize(self, tensors: Sequence[Tensor], root: int) -> None:
        """Give tensors the values they have on a rank of the group."""
        group = self.process_group
        if group.size() == 1:
            return
        mine = group.rank() == root
        by_dtype: dict[str, list[Tensor]] = {}
        for one in tensors:
            by_dtype.setdefault(one.dtype.name, []).append(one)
        if mine:
            recorder.flush()
        for some in by_dtype.values():
            count = sum(one.numel() for one in some)
            whole = np.concatenate([flat(one) for one in some]) if mine else np.empty(count, some[0].dtype.numpy)
            told = group.told(_STATE, whole)
            group.run(lambda whole=whole, told=told: group.patterns.broadcast(told, whole, root), lambda: None, False)  # type: ignore[misc]  # called at once
            if not mine:
                for one, values in zip(some, cut(whole, some), strict=True):
                    put(one, values)

    def _largest(self, values: np.ndarray) -> np.ndarray:
        told, by = self.process_group.told(_STATE, values, ReduceOp.MAX), Combination(combine_of(ReduceOp.MAX, values.dtype), None)
        self.process_group.run(lambda: self.process_group.patterns.all_reduce(told, values, values, by), lambda: None, False)
        return values

    def _any_trains(self, own: bool) -> bool:
        return bool(self._largest(np.array([own], np.int64))[0])

    # -- what programs set ------------------------------------------------------------------------------------

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Inside, gradients of this process are accumulated; the first backward of a forward outside averages all of them."""
        before = self.require_backward_grad_sync
        self.require_backward_grad_sync = False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    def register_comm_hook(self, state: object, hook: Hook) -> None:
        """Let ``hook(state, bucket)`` do what the all-reduce does: it returns a Future of the bucket's new buffer, divided already."""
        if not callable(hook):
            raise TypeError("Communication hook must be callable.")
        if self.reducer.hook is not None:
            raise RuntimeError("register_comm_hook or register_builtin_comm_hook can only be called once.")
        self.reducer.hook = state, hook

    def _set_static_graph(self) -> None:
        """The same parameters are without a gradient in every backward."""
        self.static_graph = self.reducer.settled = True

    def join(self, divide_by_initial_world_size: bool = True, enable: bool = True, throw_on_early_termination: bool = False) -> AbstractContextManager[Any]:
        """A region in which ranks may have different numbers of batches: those that have run out go along with the others.

        divide_by_initial_world_size: gradients are divided by the number of all ranks, else by that of those which still have batches.
        throw_on_early_termination: all stop, with RuntimeError, when the first has run out.
        """
        return Join([self], enable, throw_on_early_termination, divide_by_initial_world_size=divide_by_initial_world_size)

    def join_hook(self, **options: Any) -> JoinHook:
        """What this process does in place of forward and backward once it has run out of batches."""
        self._divides_by_all = options.get("divide_by_initial_world_size", True)
        return _GoesAlong(self)

    _divides_by_all = True

    @property
    def join_device(self) -> Any:
        """Where its parameters are."""
        return self.reducer.params[0].device

    @property
    def join_process_group(self) -> ProcessGroup:
        """Its group."""
        return self.process_group

    def train(self, mode: bool = True) -> DistributedDataParallel:
        """Training mode for the module."""
        super().train(mode)
        return self

    def __getstate__(self) -> dict[str, Any]:
        if self.process_group is not default_group():
            raise RuntimeError("DDP Pickling/Unpickling are only supported when using DDP with the default process group.")
        return {name: value for name, value in self.__dict__.items() if name not in ("process_group", "reducer", "_buffers_of_module")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.process_group = default_group()
        self._buffers_of_module = [b for name, b in self.module.named_buffers() if name not in self.parameters_to_ignore]
        self._listen()


class _GoesAlong(JoinHook):
    """The calls a rank without batches makes so that the others can go on."""

    def __init__(self, model: DistributedDataParallel) -> None:
        self.model = model

    def main_hook(self) -> None:
        """One forward and one backward, of nothing."""
        model = self.model
        if model.require_forward_param_sync and model.broadcast_buffers and model._buffers_of_module:
            model._synchronize_buffers(joined=True)
        model.require_forward_param_sync = model._any_trains(False)
        if model.require_forward_param_sync:
            before = [p._grad for p in model.reducer.params]
            model.reducer.average(set())
            for p, gradient in zip(model.reducer.params, before, strict=True):
                p._grad = gradient

    def post_hook(self, is_last_joiner: bool) -> None:
        """The module of a rank that had batches to the end is everybody's."""
        model, group = self.model, self.model.process_group
        root = int(model._largest(np.array([group.rank() if is_last_joiner else -1], np.int64))[0])
        model._synchronize([*model.module.parameters(), *model._buffers_of_module], root)
        model.reducer.divisor = group.size()


def _checked_devices(device_ids: Any, output_device: Any, params: list[Tensor]) -> tuple[Any, Any]:
    """Both as PyTorch keeps them. ValueError for devices the module is not on."""
    if device_ids is not None and len(device_ids) > 1:
        raise ValueError("device_ids can only be None or contain a single element.")
    kinds = OrderedDict.fromkeys(p.device.type for p in params)
    if len(kinds) != 1:
        raise ValueError(
            f"DistributedDataParallel's input module must be on the same type of devices, but input module parameters locate in {set(kinds)}."
        )
    if next(iter(kinds)) == "cpu" or not device_ids:
        if device_ids or output_device is not None:
            raise ValueError(
                "DistributedDataParallel device_ids and output_device arguments only work with single-device/multiple-device GPU modules or "
                f"CPU modules, but got device_ids {device_ids}, output_device {output_device}, and module parameters "
                f"{ {p.device for p in params} }. (device_ids=None is right on the CPU)"
            )
        return None, None
    return list(device_ids), device_ids[0] if output_device is None else output_device
