"""Classes that programs test for or derive from: PyTorch's own bases of layers, losses and optimizers, Variable among them."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import lamina as torch
import pytest
from lamina import nn
from lamina.pyfront.nn import convolution, dropout, loss, normalization, pooling

BASES = {
    convolution._ConvNd: ("Conv1d Conv3d ConvTranspose2d LazyConv2d", "Linear"),
    convolution._ConvTransposeNd: ("ConvTranspose1d LazyConvTranspose3d", "Conv2d"),
    normalization._NormBase: ("BatchNorm1d InstanceNorm2d SyncBatchNorm", "LayerNorm GroupNorm"),
    dropout._DropoutNd: ("Dropout Dropout3d AlphaDropout", "Identity"),
    pooling._MaxPoolNd: ("MaxPool1d MaxPool3d", "AvgPool2d"),
    pooling._AvgPoolNd: ("AvgPool1d AvgPool2d AvgPool3d", "MaxPool2d LPPool2d"),
    pooling._LPPoolNd: ("LPPool1d LPPool3d", "AvgPool1d"),
    pooling._AdaptiveAvgPoolNd: ("AdaptiveAvgPool1d AdaptiveAvgPool2d", "AdaptiveMaxPool2d"),
    pooling._AdaptiveMaxPoolNd: ("AdaptiveMaxPool1d AdaptiveMaxPool3d", "AdaptiveAvgPool2d"),
    pooling._ConstantPadNd: ("ConstantPad1d ZeroPad2d", "ReflectionPad1d"),
    pooling._ReflectionPadNd: ("ReflectionPad1d ReflectionPad3d", "ZeroPad2d"),
    pooling._ReplicationPadNd: ("ReplicationPad2d", "CircularPad2d"),
    pooling._CircularPadNd: ("CircularPad1d", "ReplicationPad1d"),
    loss._Loss: ("L1Loss HuberLoss CTCLoss GaussianNLLLoss TripletMarginWithDistanceLoss", "CosineSimilarity"),
    loss._WeightedLoss: ("NLLLoss BCELoss CrossEntropyLoss MultiMarginLoss MultiLabelSoftMarginLoss", "BCEWithLogitsLoss MSELoss"),
}


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.__name__)
def test_layers_derive_from_the_bases_programs_test_for(base: type) -> None:
    ours, others = (names.split() for names in BASES[base])
    assert all(issubclass(getattr(nn, name), base) for name in ours)
    assert not any(issubclass(getattr(nn, name), base) for name in others)


def test_a_loss_of_ones_own() -> None:
    class Smoothed(loss._WeightedLoss):
        def __init__(self, weight: Any = None, size_average: Any = None, reduce: Any = None, reduction: str = "mean") -> None:
            super().__init__(weight, size_average, reduce, reduction)

        def forward(self, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return nn.functional.cross_entropy(x, target, self.weight, reduction=self.reduction, label_smoothing=0.1)

    made = Smoothed(torch.tensor([1.0, 2.0, 4.0]), reduction="sum")
    x, target = torch.eye(3), torch.arange(3)
    assert list(made.state_dict()) == ["weight"] and Smoothed().weight is None
    torch.testing.assert_close(made(x, target), nn.CrossEntropyLoss(made.weight, reduction="sum", label_smoothing=0.1)(x, target))


def test_every_tensor_is_a_variable() -> None:
    Variable = torch.autograd.Variable  # noqa: N806  # PyTorch's name
    data = torch.ones(2)
    made = Variable(data, requires_grad=True)
    assert type(made) is torch.Tensor and made.is_leaf and made.requires_grad and made.data_ptr() == data.data_ptr()
    assert isinstance(made, Variable) and isinstance(nn.Parameter(data), Variable) and not isinstance(2.0, Variable)


def test_an_optimizer_around_another_needs_no_init_of_ours() -> None:
    class Around(torch.optim.Optimizer):
        def __init__(self, inner: torch.optim.Optimizer) -> None:
            self.inner, self.param_groups = inner, inner.param_groups
            self.state = defaultdict(dict)

        def step(self) -> None:
            self.inner.step()
            for group in self.param_groups:
                for p in group["params"]:
                    self.state[p]["seen"] = True

    layer = nn.Linear(2, 1)
    before = layer.weight.detach().clone()
    around = Around(torch.optim.SGD(layer.parameters(), lr=0.5))
    layer(torch.ones(1, 2)).sum().backward()
    around.step()
    torch.testing.assert_close(layer.weight.detach(), before - 0.5)
    assert all(entry == {"seen": True} for entry in around.state.values()) and len(around.state) == 2


def test_indices_as_often_as_a_vector_says() -> None:
    assert torch.repeat_interleave(torch.tensor([1, 0, 3])).tolist() == [0, 2, 2, 2]
    assert torch.repeat_interleave(torch.tensor([2, 1], dtype=torch.int32)).dtype == torch.int32
    for wrong, message in ((torch.ones(2, 2, dtype=torch.int64), "1D"), (torch.ones(2), "Long or Int"), (torch.tensor([-1]), "negative")):
        with pytest.raises(RuntimeError, match=message):
            torch.repeat_interleave(wrong)


def test_numpys_names_of_arguments_in_linalg() -> None:
    x = torch.arange(6.0).reshape(2, 3)
    assert torch.linalg.norm(x, axis=1, keepdims=True).shape == (2, 1)
    assert torch.equal(torch.linalg.norm(x, axis=0), torch.linalg.norm(x, dim=0))


def test_a_factor_in_front_of_what_it_multiplies() -> None:
    """As old optimizers step."""
    p, g, v = torch.ones(3), torch.tensor([1.0, 2.0, 3.0]), torch.full((3,), 2.0)
    assert p.clone().add_(-0.5, g).tolist() == [0.5, 0.0, -0.5] and torch.add(p, 2, g).tolist() == [3.0, 5.0, 7.0]
    assert p.clone().sub_(0.5, g).tolist() == [0.5, 0.0, -0.5]
    assert p.clone().mul_(0.5).addcmul_(0.5, g, g).tolist() == [1.0, 2.5, 5.0]
    assert p.clone().addcdiv_(-1, g, v).tolist() == [0.5, 0.0, -0.5]
    assert p.add(2).tolist() == [3.0] * 3 and p.add(g, alpha=2).tolist() == [3.0, 5.0, 7.0]
    assert torch.addcmul(p, 0.5, g, g).tolist() == [1.5, 3.0, 5.5]
    with pytest.raises(TypeError):
        p.add(1, g, g)
    b, m, n = torch.ones(2, 2), torch.full((2, 2), 2.0), torch.full((2, 2), 3.0)
    for made, entry in (
        (torch.addmm(0.5, b, 2, m, n), 24.5), (torch.addmm(0.5, b, m, n), 12.5), (b.addmm(0.5, 2, m, n), 24.5), (b.clone().addmm_(0.5, m, n), 12.5),
        (torch.baddbmm(0.5, b[None], 2, m[None], n[None]), 24.5), (b.addr(0.5, 2, p[:2], p[:2]), 2.5), (torch.addmv(0.5, b[0], 2, m, p[:2]), 8.5),
    ):  # fmt: skip
        assert set(made.flatten().tolist()) == {entry}
    with pytest.raises(TypeError, match="'mat2' .* must be Tensor"):
        torch.addmm(b, m, 2.0)


def test_a_distribution_of_ones_own_is_expanded() -> None:
    class Shifted(torch.distributions.Normal):
        def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
            made = self._get_checked_instance(Shifted, _instance)
            made.offset = 1.0
            return super().expand(batch_shape, made)

    assert Shifted(torch.zeros(1), 1.0).expand((4,)).sample().shape == (4,)

    class Other(Shifted):
        def __init__(self) -> None:
            super().__init__(torch.zeros(1), 1.0)

    with pytest.raises(NotImplementedError, match="custom .expand"):
        Other().expand((4,))


def test_ranges_for_profilers_decorate_functions() -> None:
    @torch.cuda.nvtx.range("doubling")
    def double(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    assert double(torch.ones(1)).item() == 2.0


def test_what_a_view_is_a_view_of() -> None:
    leaf = torch.randn(4, requires_grad=True)
    y = leaf * 2
    v = y[1:3].view(2, 1)
    assert v._is_view() and v._base.tolist() == y.tolist() and v._base.grad_fn.name() == "MulBackward0"
    assert not y._is_view() and y._base is None and leaf[1:]._base.is_leaf and not v.detach()._is_view()
    v._base.sum().backward()
    assert leaf.grad.tolist() == [2.0] * 4
