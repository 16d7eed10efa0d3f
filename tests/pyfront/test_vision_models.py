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
    "alexnet", "convnext_tiny", "deeplabv3_mobilenet_v3_large", "deeplabv3_resnet50", "densenet121", "densenet161", "efficientnet_b0",
    "efficientnet_b5", "efficientnet_v2_s", "fcn_resnet50", "googlenet", "inception_v3", "lraspp_mobilenet_v3_large", "mc3_18", "mnasnet0_5",
    "mnasnet1_3", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "r2plus1d_18", "r3d_18", "regnet_x_1_6gf", "regnet_x_400mf",
    "regnet_y_400mf", "regnet_y_3_2gf", "resnet18", "resnet34", "resnet50", "resnext50_32x4d", "shufflenet_v2_x0_5", "shufflenet_v2_x1_5",
    "squeezenet1_0", "squeezenet1_1", "swin_s", "swin_t", "swin_v2_t", "vit_b_32", "wide_resnet50_2",
]  # fmt: skip
RUN = ["lraspp_mobilenet_v3_large", "mc3_18", "mobilenet_v3_small", "resnet18", "shufflenet_v2_x0_5", "squeezenet1_1"]


def options(name: str) -> dict[str, object]:
    if name in models.segmentation.__all__:
        return {"num_classes": 10, "weights_backbone": None} | ({} if name.startswith("lraspp") else {"aux_loss": True})
    return {"num_classes": 10} | ({"init_weights": True} if name in ("googlenet", "inception_v3") else {})


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
    shape = (2, 3, 4, 32, 32) if name in models.video.__all__ else (2 if name in models.segmentation.__all__ else 4, 3, 64, 64)
    x = np.random.RandomState(0).randn(*shape).astype(np.float32)
    for mode in (False, True):  # training: statistics of the batch, and the dropout's random numbers
        theirs.train(mode), mine.train(mode)
        with torch.no_grad(), lamina.no_grad():
            wanted, made = theirs(torch.from_numpy(x)), mine(lamina.from_numpy(x))
        parts = [(made[key], wanted[key]) for key in wanted] if isinstance(wanted, dict) else [(made, wanted)]
        for mine_, theirs_ in parts:
            np.testing.assert_allclose(mine_.numpy(), theirs_.numpy(), atol=(1e-3 if mode else 1e-4) * theirs_.abs().max().item())


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("block,merging", [("SwinTransformerBlock", "PatchMerging"), ("SwinTransformerBlockV2", "PatchMergingV2")])
def test_small_swin(block: str, merging: str) -> None:
    """Windows that are shifted, and maps that are no multiples of them."""
    import torch

    from lamina.pyfront.vision.models import swin

    made = []
    for t, room in ((torch, torchvision().models.swin_transformer), (lamina, swin)):
        t.manual_seed(1)
        kinds = {"block": getattr(room, block), "downsample_layer": getattr(room, merging)}
        made.append(room.SwinTransformer([4, 4], 12, [2, 2], [2, 3], [4, 4], num_classes=5, **kinds).eval())
    theirs, mine = made
    assert list(mine.state_dict()) == list(theirs.state_dict())
    x = np.random.RandomState(0).randn(1, 3, 36, 44).astype(np.float32)
    with torch.no_grad(), lamina.no_grad():
        np.testing.assert_allclose(mine(lamina.from_numpy(x)).numpy(), theirs(torch.from_numpy(x)).numpy(), atol=1e-5)


@pytest.mark.slow
@pytest.mark.torch
def test_the_catalogue_is_torchvisions() -> None:
    theirs = torchvision().models
    assert set(theirs.list_models(module=theirs)) - set(models.list_models(module=models)) == {"maxvit_t"}
    assert models.list_models(module=models.segmentation) == theirs.list_models(module=theirs.segmentation)
    assert set(models.list_models(module=models.video)) < set(theirs.list_models(module=theirs.video))
    assert set(models.list_models()) <= set(theirs.list_models())
    for name in models.list_models():
        mine, wanted = models.get_model_weights(name), theirs.get_model_weights(name)
        assert mine.__name__ == wanted.__name__
        for member in mine:
            other = wanted[member.name]
            assert member.url == other.url and repr(member.transforms()) == repr(other.transforms())
            assert member.meta["categories"] == other.meta["categories"]
            assert member.meta["num_params"] == other.meta["num_params"] and member.meta["min_size"] == other.meta["min_size"]
        assert mine.DEFAULT.name == wanted.DEFAULT.name
    assert models.list_models(models, include="resnet*", exclude="*1*") == theirs.list_models(theirs, include="resnet*", exclude="*1*")


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


def test_transforms_of_pixels_and_clips() -> None:
    for_pixels = models.segmentation.FCN_ResNet50_Weights.DEFAULT.transforms()
    assert for_pixels(lamina.zeros(3, 240, 320, dtype=lamina.uint8)).shape == (3, 520, 693)
    for_clips = models.video.R3D_18_Weights.DEFAULT.transforms()
    assert for_clips(lamina.zeros(2, 5, 3, 140, 180, dtype=lamina.uint8)).shape == (2, 3, 5, 112, 112)
    assert len(models.video.R3D_18_Weights.DEFAULT.meta["categories"]) == 400
    assert models.segmentation.FCN_ResNet50_Weights.DEFAULT.meta["categories"][0] == "__background__"


@pytest.mark.slow
def test_a_segmenters_backbone_comes_from_its_own_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileError, match="resnet50-0676ba61.pth"):
        models.segmentation.fcn_resnet50()
    lamina.manual_seed(0)
    backbone = models.mobilenet_v3_large(num_classes=1000)
    lamina.save(backbone.state_dict(), tmp_path / "backbone.pth")
    made = models.segmentation.lraspp_mobilenet_v3_large(weights_backbone=str(tmp_path / "backbone.pth"), num_classes=3)
    np.testing.assert_array_equal(made.backbone["0"][0].weight.detach().numpy(), backbone.features[0][0].weight.detach().numpy())
    lamina.save(made.state_dict(), tmp_path / "trained.pth")
    again = models.segmentation.lraspp_mobilenet_v3_large(weights=str(tmp_path / "trained.pth"), num_classes=3)
    np.testing.assert_array_equal(again.classifier.low_classifier.weight.detach().numpy(), made.classifier.low_classifier.weight.detach().numpy())


def test_widths_of_regnets_are_checked() -> None:
    from lamina.pyfront.vision.models.regnet import BlockParams

    assert BlockParams.from_init_params(16, 48, 27.89, 2.09, 8).widths == [48, 104, 208, 440]
    with pytest.raises(ValueError, match="Invalid RegNet settings"):
        BlockParams.from_init_params(16, 47, 27.89, 2.09, 8)
