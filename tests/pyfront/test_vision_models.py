"""Models: torchvision's keys, shapes, printed form, initial weights bit for bit, and outputs; weights from files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

import lamina
from lamina.dialects.errors import FileError

pytest.importorskip("PIL")
from lamina.pyfront.vision import models  # noqa: E402

from .torchvision_oracle import torchvision  # noqa: E402

# One of each construction; the others are other rows of the same tables.
BUILT = [
    "alexnet", "convnext_tiny", "densenet121", "densenet161", "efficientnet_b0", "efficientnet_b5", "efficientnet_v2_s", "googlenet",
    "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "resnet18", "resnet34", "resnet50", "resnext50_32x4d",
    "shufflenet_v2_x0_5", "shufflenet_v2_x1_5", "squeezenet1_0", "squeezenet1_1", "vit_b_32", "wide_resnet50_2",
]  # fmt: skip
RUN = ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1"]


def options(name: str) -> dict[str, object]:
    return {"num_classes": 10} | ({"init_weights": True} if name == "googlenet" else {})


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("name", BUILT)
def test_built_as_torchvision_builds(name: str) -> None:
    import torch

    torch.manual_seed(1)
    theirs = torchvision().models.get_model(name, **options(name))
    lamina.manual_seed(1)
    mine = models.get_model(name, **options(name))
    wanted, made = theirs.state_dict(), mine.state_dict()
    assert list(made) == list(wanted)
    for key, value in wanted.items():
        np.testing.assert_array_equal(made[key].numpy(), value.numpy(), err_msg=key)
    assert repr(mine) == repr(theirs)
    assert lamina.rand(1).item() == torch.rand(1).item()


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("name", RUN)
def test_same_outputs(name: str) -> None:
    import torch

    torch.manual_seed(1)
    theirs = torchvision().models.get_model(name, **options(name))
    lamina.manual_seed(1)
    mine = models.get_model(name, **options(name))
    x = np.random.RandomState(0).randn(4, 3, 64, 64).astype(np.float32)
    for mode in (False, True):  # training: statistics of the batch, and the dropout's random numbers
        theirs.train(mode), mine.train(mode)
        with torch.no_grad(), lamina.no_grad():
            wanted, made = theirs(torch.from_numpy(x)).numpy(), mine(lamina.from_numpy(x)).numpy()
        np.testing.assert_allclose(made, wanted, atol=(1e-3 if mode else 1e-4) * np.abs(wanted).max())


@pytest.mark.slow
@pytest.mark.torch
def test_the_catalogue_is_torchvisions() -> None:
    theirs = torchvision().models
    assert set(models.list_models()) <= set(theirs.list_models(module=theirs)) and len(models.list_models()) > 50
    for name in models.list_models():
        mine, wanted = models.get_model_weights(name), theirs.get_model_weights(name)
        assert mine.__name__ == wanted.__name__
        for member in mine:
            other = wanted[member.name]
            assert member.url == other.url and repr(member.transforms()) == repr(other.transforms())
            assert member.meta["categories"] == other.meta["categories"]
            assert member.meta["num_params"] == other.meta["num_params"] and member.meta["min_size"] == other.meta["min_size"]
        assert mine.DEFAULT.name == wanted.DEFAULT.name
    assert models.list_models(include="resnet*", exclude="*1*") == theirs.list_models(theirs, include="resnet*", exclude="*1*")


def test_weights_from_a_file(tmp_path: Path) -> None:
    lamina.manual_seed(0)
    trained = models.squeezenet1_1(num_classes=3)
    lamina.save(trained.state_dict(), tmp_path / "trained.pth")
    again = models.squeezenet1_1(weights=str(tmp_path / "trained.pth"), num_classes=3)
    for key, value in trained.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[key].numpy(), value.numpy())
    with pytest.raises(FileError, match="no weights at"):
        models.squeezenet1_1(weights=str(tmp_path / "other.pth"))
    with pytest.raises(KeyError, match="IMAGENET1K_V1"):
        models.squeezenet1_1(weights="NOTHING")


def test_weights_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They come from the hub's folder, checked; where they are not, the error says what to do."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = models.SqueezeNet1_1_Weights.DEFAULT
    assert weights is models.SqueezeNet1_1_Weights.IMAGENET1K_V1 and len(weights.meta["categories"]) == 1000
    assert models.get_weight("SqueezeNet1_1_Weights.IMAGENET1K_V1") is weights
    with pytest.raises(FileError, match=r"download https://.*squeezenet1_1-b8a52dc0.pth into that folder"):
        models.squeezenet1_1(weights=weights)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    lamina.manual_seed(0)
    trained = models.squeezenet1_1()
    lamina.save(trained.state_dict(), folder / "squeezenet1_1-b8a52dc0.pth")
    with pytest.raises(FileError, match="SHA-256"):
        models.squeezenet1_1(weights="DEFAULT")
    digest = hashlib.sha256((folder / "squeezenet1_1-b8a52dc0.pth").read_bytes()).hexdigest()[:8]
    (folder / "squeezenet1_1-b8a52dc0.pth").rename(folder / f"squeezenet1_1-{digest}.pth")
    monkeypatch.setattr(weights.value, "url", f"https://127.0.0.1/squeezenet1_1-{digest}.pth")
    loaded = models.squeezenet1_1(weights="DEFAULT")
    np.testing.assert_array_equal(loaded.classifier[1].weight.detach().numpy(), trained.classifier[1].weight.detach().numpy())
    with pytest.raises(ValueError, match="num_classes"):
        models.squeezenet1_1(weights="DEFAULT", num_classes=5)


def test_transforms_of_weights() -> None:
    prepare = models.ResNet50_Weights.IMAGENET1K_V2.transforms()
    from PIL import Image

    assert prepare(Image.new("RGB", (300, 260))).shape == (3, 224, 224)
    assert prepare(lamina.zeros(2, 3, 240, 250, dtype=lamina.uint8)).shape == (2, 3, 224, 224)
