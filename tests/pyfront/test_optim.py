"""Optimizers and schedules against PyTorch: parameters after several steps, state, rates to the last bit."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest

import lamina
from lamina.backends import driver
from lamina.pyfront import recorder
from lamina.pyfront.optim import lbfgs

torch = pytest.importorskip("torch")

# Rates with a momentum are small: at 0.125 eight steps of this bumpy loss make one rounding a thousand of them.
OPTIMIZERS: list[tuple[str, dict]] = [
    ("SGD", {"lr": 0.1}), ("SGD", {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.02, "momentum": 0.9, "nesterov": True}), ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.5}),
    ("SGD", {"lr": 0.1, "maximize": True}), ("Adam", {}), ("Adam", {"weight_decay": 0.1, "amsgrad": True}),
    ("AdamW", {}), ("AdamW", {"amsgrad": True, "lr": 0.01}), ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.9, "centered": True, "weight_decay": 0.1}), ("Adagrad", {"lr_decay": 0.1}), ("Adadelta", {}),
    ("Adamax", {"weight_decay": 0.1}), ("NAdam", {}), ("NAdam", {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("RAdam", {"lr": 0.01}), ("ASGD", {}), ("Rprop", {}), ("Adafactor", {}),
    ("SGD", {"lr": np.float32(0.015625), "momentum": np.float64(0.9), "nesterov": np.True_}),
]  # fmt: skip
MORE: list[tuple[str, dict]] = [
    ("RAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    ("Adam", {"maximize": True, "foreach": True}), ("RMSprop", {"maximize": True, "alpha": 0.5}),
    ("Adagrad", {"weight_decay": 0.1, "initial_accumulator_value": 0.5, "maximize": True}),
    ("Adadelta", {"weight_decay": 0.1, "rho": 0.5, "maximize": True}), ("NAdam", {"momentum_decay": 0.1, "maximize": True}),
    ("ASGD", {"t0": 3, "lambd": 0.01, "weight_decay": 0.1, "alpha": 0.5, "maximize": True}),
    ("Rprop", {"etas": (0.3, 1.5), "step_sizes": (1e-3, 0.1), "maximize": True}),
    ("Adafactor", {"lr": 0.1, "weight_decay": 0.1, "beta2_decay": -0.5, "d": 1.5, "eps": (1e-6, 1e-2), "maximize": True}),
    ("Muon", {}), ("Muon", {"nesterov": False, "adjust_lr_fn": "match_rms_adamw", "lr": 0.01}),
]  # fmt: skip
EACH = OPTIMIZERS + [pytest.param(*each, marks=pytest.mark.slow) for each in MORE]
START = np.random.RandomState(0).randn(5, 3)


def trained(lib: Any, name: str, options: dict, steps: int = 8, dtype: Any = np.float32) -> tuple[Any, Any]:
    p = lib.nn.Parameter(lib.from_numpy(START.astype(dtype)))
    q = lib.nn.Parameter(lib.from_numpy(START[:1].astype(dtype) if name == "Muon" else START[0].astype(dtype)))
    optimizer = getattr(lib.optim, name)([p, q], **options)
    for _ in range(steps):
        optimizer.zero_grad()
        ((p * p).sum() + (p * q).cos().sum()).backward()
        optimizer.step()
    return [p, q], optimizer


@pytest.mark.parametrize("name, options", EACH, ids=str)
def test_steps(name: str, options: dict) -> None:
    (ours, a), (theirs, b) = (trained(lib, name, options, dtype=np.float64) for lib in (lamina, torch))
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), 1e-9, 1e-10)
    assert repr(a) == repr(b)
    mine, other = a.state_dict(), b.state_dict()
    assert mine["param_groups"] == other["param_groups"]
    assert {k: list(v) for k, v in mine["state"].items()} == {k: list(v) for k, v in other["state"].items()}
    for number, entries in other["state"].items():
        for key, value in entries.items():
            np.testing.assert_allclose(mine["state"][number][key].numpy(), value.numpy(), 1e-5, 1e-6, err_msg=key)


@pytest.mark.slow
@pytest.mark.parametrize("name, options", EACH, ids=str)
def test_steps_in_single_precision(name: str, options: dict) -> None:
    (ours, _), (theirs, _) = (trained(lib, name, options) for lib in (lamina, torch))
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), 1e-5, 1e-6)


def fitted(lib: Any, options: dict) -> tuple[list[float], dict]:
    lib.manual_seed(0)
    x, y = (lib.from_numpy(np.random.RandomState(seed).randn(20, n)) for seed, n in ((1, 4), (2, 1)))
    net = lib.nn.Sequential(lib.nn.Linear(4, 5), lib.nn.Tanh(), lib.nn.Linear(5, 1)).double()
    optimizer = lib.optim.LBFGS(net.parameters(), **options)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = ((net(x) - y) ** 2).mean()
        loss.backward()
        return loss

    return [float(optimizer.step(closure)) for _ in range(3)] + [float(closure())], optimizer.state_dict()["state"][0]


@pytest.mark.parametrize("options", [
    pytest.param({"lr": 0.3, "max_iter": 4}, marks=pytest.mark.slow),
    {"line_search_fn": "strong_wolfe", "history_size": 3, "max_iter": 7},
])  # fmt: skip
@pytest.mark.parametrize("many", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_lbfgs(options: dict, many: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """many: vectors are tensors in a step, as those of many elements are."""
    if many:
        monkeypatch.setattr(lbfgs, "_MANY", 0)
    (ours, a), (theirs, b) = fitted(lamina, options), fitted(torch, options)
    assert {k for k, v in a.items() if isinstance(v, lamina.Tensor)} == {k for k, v in b.items() if isinstance(v, torch.Tensor)}
    assert all(isinstance(v, lamina.Tensor) for k in ("old_dirs", "old_stps", "ro") for v in a[k])
    np.testing.assert_allclose(ours, theirs, 1e-9)
    assert list(a) == list(b) or set(a) == set(b)
    assert (a["func_evals"], a["n_iter"]) == (b["func_evals"], b["n_iter"])


def test_lbfgs_fits_a_number() -> None:
    """A parameter without dimensions, as coefficients of equations are: numpy makes numbers of sums of such arrays."""

    def fit(lib: Any) -> list[float]:
        a, w = lib.nn.Parameter(lib.tensor(0.02)), lib.nn.Parameter(lib.ones(3))
        optimizer = lib.optim.LBFGS([w, a], max_iter=3, line_search_fn="strong_wolfe")

        def closure() -> Any:
            optimizer.zero_grad()
            loss = ((w * a - 1) ** 2).sum()
            loss.backward()
            return loss

        return [optimizer.step(closure).item(), optimizer.step(closure).item(), a.item()]

    np.testing.assert_allclose(fit(lamina), fit(torch), 1e-3, 1e-6)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_state_moves_between_the_two(name: str) -> None:
    options = {"lr": 0.1, **({"momentum": 0.9} if name == "SGD" else {})}
    (theirs, b) = trained(torch, name, options)
    file = io.BytesIO()
    torch.save({"p": [p.detach() for p in theirs], "o": b.state_dict()}, file)
    file.seek(0)
    saved = lamina.load(file)
    ours = [lamina.nn.Parameter(p) for p in saved["p"]]
    a = getattr(lamina.optim, name)(ours, lr=1.0)
    a.load_state_dict(saved["o"])
    for params, optimizer in ((ours, a), (theirs, b)):
        optimizer.zero_grad()
        (params[0] * params[1]).sum().backward()
        optimizer.step()
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), 1e-5, 1e-6)
    back = io.BytesIO()
    lamina.save(a.state_dict(), back)
    back.seek(0)
    b.load_state_dict(torch.load(back))


def test_numbers_that_change_are_not_in_the_program() -> None:
    p = lamina.nn.Parameter(lamina.ones(40, 40))
    optimizer = lamina.optim.Adam([p], lr=0.1)
    schedule = lamina.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    counts = []
    for _ in range(6):
        optimizer.zero_grad()
        (p * p).sum().backward()
        optimizer.step()
        schedule.step()
        counts.append(driver.stats.compiles + driver.stats.oracle_runs + driver.stats.disk_hits)
    assert counts[-1] == counts[2]


@pytest.mark.parametrize("name, options", [
    ("SGD", {"momentum": 0.9, "dampening": 0.1}), ("Adagrad", {"lr_decay": 0.1}), ("Adadelta", {}), ("Adamax", {}), ("NAdam", {}),
    ("RAdam", {}), ("ASGD", {}), ("Rprop", {}), ("Adafactor", {}), ("Muon", {}), ("RMSprop", {}),
])  # fmt: skip
def test_a_step_is_one_program_for_all_steps(name: str, options: dict) -> None:
    parameters = [lamina.nn.Parameter(lamina.ones(3, 3)), lamina.nn.Parameter(lamina.ones(2, 3))]
    optimizer = getattr(lamina.optim, name)(parameters, **options)
    seen, runs = set(), []
    run = recorder.state.run or driver.run
    recorder.state.run = lambda graph, *rest: (seen.add(graph), runs.append(1), run(graph, *rest))[2]
    try:
        for step in range(9):
            for p in parameters:
                p.grad = lamina.from_numpy(np.full(tuple(p.shape), 0.1 + step, np.float32))
            for group in optimizer.param_groups:
                group["lr"] = 0.1 / (1 + step)
            optimizer.step()
    finally:
        recorder.state.run = run
    assert len(runs) == 9
    assert len(seen) == 1 + (name == "SGD")  # with dampening, the first step of SGD is another formula


def test_swa_and_ema() -> None:
    found = []
    for lib in (lamina, torch):
        lib.manual_seed(0)
        utils = lib.optim.swa_utils
        model = lib.nn.Sequential(lib.nn.Linear(3, 4), lib.nn.BatchNorm1d(4))
        models = [
            utils.AveragedModel(model), utils.AveragedModel(model, multi_avg_fn=utils.get_ema_multi_avg_fn(0.9)),
            utils.AveragedModel(model, avg_fn=utils.get_ema_avg_fn(0.5), use_buffers=True),
        ]  # fmt: skip
        optimizer = lib.optim.SGD(model.parameters(), lr=0.5)
        schedule = utils.SWALR(optimizer, swa_lr=0.05, anneal_epochs=3)
        batches = [lib.from_numpy(np.random.RandomState(i).randn(8, 3).astype(np.float32)) for i in range(4)]
        rates = []
        for batch in batches:
            optimizer.zero_grad()
            model(batch).square().mean().backward()
            optimizer.step()
            schedule.step()
            rates.append(optimizer.param_groups[0]["lr"])
            for m in models:
                m.update_parameters(model)
        utils.update_bn([(b, 0) for b in batches], models[0])
        found.append((rates, [{k: v.numpy() for k, v in m.state_dict().items()} for m in models]))
    assert found[0][0] == found[1][0]
    for ours, theirs in zip(found[0][1], found[1][1], strict=True):
        assert list(ours) == list(theirs)
        for key, value in theirs.items():
            np.testing.assert_allclose(ours[key], value, 2e-6, 2e-6, err_msg=key)


def test_hooks_and_steps_of_ones_own() -> None:
    texts = []
    for lib in (lamina, torch):
        seen = []

        class Signed(lib.optim.Optimizer):
            def __init__(self, params: Any, lr: float = 0.1) -> None:
                super().__init__(params, {"lr": lr})

            @lib.no_grad()
            def step(self, closure: Any = None) -> None:
                for group in self.param_groups:
                    for p in group["params"]:
                        self.state[p]["count"] = self.state[p].get("count", 0) + 1
                        p.add_(p.grad.sign(), alpha=-group["lr"])

        p = lib.nn.Parameter(lib.ones(2))
        optimizer = Signed([p])
        optimizer.register_step_pre_hook(lambda o, a, k: seen.append(("pre", o is a[0], k)))
        handle = optimizer.register_step_post_hook(lambda o, a, k: seen.append("post"))
        optimizer.register_state_dict_post_hook(lambda o, s: {**s, "extra": 1})
        optimizer.register_load_state_dict_pre_hook(lambda o, s: {k: v for k, v in s.items() if k != "extra"})
        optimizer.register_load_state_dict_post_hook(lambda o: seen.append("loaded"))
        schedule = lib.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
        for _ in range(2):
            p.grad = lib.ones(2)
            optimizer.step()
            schedule.step()
            handle.remove()
        optimizer.load_state_dict(optimizer.state_dict())
        copied = copy.deepcopy(optimizer)
        texts.append((seen, p.tolist(), optimizer.state_dict(), copied.param_groups[0]["lr"]))
    assert str(texts[0]) == str(texts[1])


@pytest.mark.parametrize("options", [{"lr": -1}, {"betas": (1.0, 0.9)}, {"eps": -1}])
def test_bad_options(options: dict) -> None:
    texts = []
    for lib in (lamina, torch):
        with pytest.raises(ValueError) as caught:
            lib.optim.Adam([lib.nn.Parameter(lib.ones(1))], **options)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]


def test_data_prepared_before_the_loop_is_no_part_of_its_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    run = lamina.pyfront.recorder.driver()
    monkeypatch.setattr(lamina.pyfront.recorder.state, "run", lambda graph, *rest: (seen.append(graph), run(graph, *rest))[1])
    x = lamina.linspace(-1, 1, 40).reshape(20, 2) * 3
    y = lamina.sin(x).sum(1, keepdim=True)
    model = lamina.nn.Linear(2, 1)
    with lamina.no_grad():
        model.weight.mul_(0.5)
    optimizer = lamina.optim.SGD(model.parameters(), lr=0.1)
    seen.clear()
    for _ in range(3):
        optimizer.zero_grad()
        ((model(x) - y) ** 2).mean().backward()
        optimizer.step()
    assert len(seen) == 3 and len({*seen}) == 1


@pytest.mark.parametrize("name, options", [("Adam", {}), ("AdamW", {"amsgrad": True}), ("SGD", {"momentum": 0.9, "dampening": 0.5}), ("SGD", {})])
def test_all_parameters_at_once_are_each_on_its_own(name, options):
    """Parameters of one group and of a group each: the same numbers; also where some are behind by a step or have no gradient."""

    def trained(apart):
        lamina.manual_seed(4)
        parameters = [lamina.nn.Parameter(lamina.randn(shape)) for shape in ((3, 2), (4,), (3, 2), ())]
        groups = [{"params": [p]} for p in parameters] if apart else parameters
        optimizer = getattr(lamina.optim, name)(groups, lr=0.1, **options)
        for step in range(5):
            optimizer.zero_grad()
            loss = sum([(p * (i + 1.0)).square().sum() for i, p in enumerate(parameters) if step != 1 or i != 2])
            loss.backward()
            optimizer.step()
        return parameters, optimizer.state_dict()["state"]

    (one, first), (other, second) = trained(False), trained(True)
    for p, q in zip(one, other, strict=True):
        assert lamina.equal(p, q)
    assert all(lamina.equal(first[i][key], second[i][key]) for i in first for key in first[i] if first[i][key] is not None)
