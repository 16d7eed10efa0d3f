"""torchvision's feature extraction on our models: the names of PyTorch's torchvision, and values of inner layers."""

import subprocess
import sys

import pytest

import lamina
from lamina.vision import models
from lamina.vision.models.feature_extraction import create_feature_extractor, get_graph_node_names
from lamina.vision.models.inner_layers import IntermediateLayerGetter

from .torchvision_oracle import torchvision

PROGRAM = """
import torchvision.models as models
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names
for name in ("resnet18", "vgg11", "mobilenet_v2", "squeezenet1_1", "efficientnet_b0"):
    print(get_graph_node_names(getattr(models, name)()))
e = create_feature_extractor(models.resnet18(), {"layer1": "a", "layer2.0": "b"})
print(e)
e = create_feature_extractor(models.vgg11(), train_return_nodes=["features.2"], eval_return_nodes=["features.3"])
print(e.code, e.eval().code, e.train().code)
"""


@pytest.mark.slow
@pytest.mark.torch
def test_names_and_graphs_are_torchvisions(tmp_path):
    torchvision()  # or there is none
    script = tmp_path / "names.py"
    script.write_text(PROGRAM)
    # torchvision's compiled part may have been built for another PyTorch; its Python part is asked
    alone = "import runpy, sys, types; sys.modules['torchvision._meta_registrations'] = types.ModuleType('_'); runpy.run_path(sys.argv[1])"
    runs = [[sys.executable, "-c", alone, str(script)], [sys.executable, "-m", "lamina", "run", str(script)]]
    theirs, ours = (subprocess.run(run, capture_output=True, text=True, check=False) for run in runs)
    assert theirs.returncode == 0 and ours.stdout == theirs.stdout, ours.stderr


@pytest.mark.slow
def test_values_are_those_of_the_layers():
    model = models.squeezenet1_1().eval()
    extractor = create_feature_extractor(model, {"features.3": "a", "features": "b"})
    x = lamina.rand(1, 3, 32, 32)
    with lamina.no_grad():
        found, inner = extractor(x), model.features[:4](x)
    assert lamina.allclose(found["a"], inner, atol=1e-5) and not extractor.training and found["b"].shape == model.features(x).shape
    with pytest.raises(ValueError, match="node: 'nope' is not present in model"):
        create_feature_extractor(model, ["nope"])
    with pytest.raises(ValueError, match="should be specified"):
        create_feature_extractor(model)
    assert "encoder.layers.encoder_layer_3.mlp" in get_graph_node_names(models.vit_b_16())[1]


@pytest.mark.slow
def test_inner_layers_by_other_names():
    model = models.resnet18().eval()
    getter = IntermediateLayerGetter(model, {"layer1": "feat1", "layer3": "feat2"})
    x = lamina.rand(1, 3, 32, 32)
    with lamina.no_grad():
        found = getter(x)
        inner = model.layer1(model.maxpool(model.relu(model.bn1(model.conv1(x)))))
    assert list(found) == ["feat1", "feat2"] and lamina.equal(found["feat1"], inner) and found["feat2"].shape == (1, 256, 2, 2)
    assert list(getter) == ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3"] and getter.layer3 is model.layer3
    with pytest.raises(ValueError, match="return_layers are not present in model"):
        IntermediateLayerGetter(model, {"layer9": "feat"})
