"""CorrCholeskyTransform against PyTorch: values, inverse, the determinant of its derivative."""

import pytest

pytest.importorskip("torch")
import lamina
import torch
from lamina.pyfront.distributions.transforms import CorrCholeskyTransform
from torch.distributions.transforms import CorrCholeskyTransform as Reference


def test_as_pytorch():
    numbers = [0.3, -0.2, 0.9, 1.4, -1.1, 0.5]
    mine, reference = CorrCholeskyTransform(), Reference()
    x, t = lamina.tensor(numbers), torch.tensor(numbers)
    y, u = mine(x), reference(t)
    torch.testing.assert_close(torch.from_numpy(y.numpy()), u)
    torch.testing.assert_close(torch.from_numpy(mine.inv(y).numpy()), t, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.from_numpy(mine.log_abs_det_jacobian(x, y).numpy()), reference.log_abs_det_jacobian(t, u))
