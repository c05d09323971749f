"""The pretrained backbone is the network it says it is, from the shipped weights or torchvision's."""

import shutil
from functools import partial
from urllib.error import URLError

import pytest
import torch
import torch.nn.functional as F
import torchvision
from sklearn.datasets import load_sample_image
from torch import nn
from torchvision.transforms.functional import normalize

from refusals import refused
from tdnn_helpers.core import data_dir
from tdnn_helpers.models import backbone as module
from tdnn_helpers.models.backbone import pretrained, stage_maps, weights_of
from tdnn_helpers.models.efficientnet import SameConv2d

WEIGHTS = torchvision.models.WeightsEnum


def test_it_has_the_size_of_efficientnet_lite0_and_repeats_grey_images(backbone):
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 4_652_008
    assert list(backbone.stages) == ["stem", *(f"stage{i}" for i in range(1, 8)), "top"]
    assert not backbone.training and all(parameter.requires_grad for parameter in backbone.parameters())
    grey = torch.rand(2, 1, 33, 40)
    with torch.no_grad():
        assert backbone(grey).shape == (2, 1280) and backbone.classify(grey).shape == (2, 1000)
        torch.testing.assert_close(backbone(grey), backbone(grey.repeat(1, 3, 1, 1)))
        stage_maps(backbone, grey, ["stem"])
    assert not any(part._forward_hooks for part in backbone.modules()), "a hook is left behind"


@pytest.mark.parametrize(
    ("photograph", "plausible"),
    [("china.jpg", {"palace", "monastery", "bell cote", "stupa"}), ("flower.jpg", {"daisy", "bee", "pot"})],
)
def test_it_recognises_a_photograph(backbone, photograph, plausible):
    image = torch.from_numpy(load_sample_image(photograph).copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        logits = backbone.classify(F.interpolate(image, size=(224, 224), mode="bilinear", antialias=True))
    best = {backbone.categories[i] for i in logits[0].topk(5).indices}
    assert len(best & plausible) >= 2, best


def test_images_that_are_not_what_it_takes_are_named(backbone):
    with pytest.raises(TypeError, match="uint8: divide"):
        backbone(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"N×1×H×W, but their shape is \(1, 4, 32, 32\)"):
        backbone(torch.zeros(1, 4, 32, 32))


@pytest.mark.parametrize("side", [1, 6, 7, 8])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_padding_is_that_of_tensorflow(side, kernel, stride):
    """TensorFlow's rule: centre the windows on the image; if they cannot be centred, the odd pixel is at the end."""
    convolution, image = SameConv2d(1, 1, kernel, stride, bias=False), torch.rand(side, side + 1)
    with torch.no_grad():
        found, weight = convolution(image[None, None])[0, 0], convolution.weight[0, 0].detach()
    assert found.shape == tuple((n + stride - 1) // stride for n in image.shape)
    framed = torch.zeros(side + 10, side + 11)  # zeros on all sides
    framed[5:-5, 5:-5] = image
    top, left = (5 - max((m - 1) * stride + kernel - n, 0) // 2 for m, n in zip(found.shape, image.shape))
    for row, column in torch.cartesian_prod(*map(torch.arange, found.shape)):
        y, x = top + row * stride, left + column * stride
        expected = float((weight * framed[y : y + kernel, x : x + kernel]).sum())
        assert float(found[row, column]) == pytest.approx(expected, abs=1e-5)


def test_all_of_it_can_be_trained():
    model = nn.Sequential(pretrained(), nn.Linear(1280, 2)).train()
    for part in list(model[0].stages.values())[:-1]:
        part.requires_grad_(False)
    model(torch.rand(4, 3, 32, 32)).sum().backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained == {"0.body.top.0.weight", "0.body.top.1.weight", "0.body.top.1.bias", "1.weight", "1.bias"}


@pytest.mark.parametrize(
    ("altered", "error", "words"), [(False, FileNotFoundError, "missing"), (True, ValueError, "damaged.*5793")]
)
def test_missing_or_damaged_weights_are_refused(monkeypatch, tmp_path, altered, error, words):
    (tmp_path / "pretrained").mkdir()
    shutil.copy(data_dir() / "checksums.json", tmp_path)
    content = bytearray((data_dir() / module._LITE0_FILE).read_bytes())
    content[len(content) // 2] ^= 1
    if altered:
        (tmp_path / module._LITE0_FILE).write_bytes(content)
    monkeypatch.setenv("TDNN_DATA", str(tmp_path))
    with pytest.raises(error, match=words):
        pretrained()


@pytest.mark.parametrize("change", [lambda w: w.popitem(), lambda w: w.update(a=torch.zeros(1))])
def test_weights_of_another_shape_are_refused(backbone, change):
    weights = torch.load(data_dir() / module._LITE0_FILE, weights_only=True)
    change(weights)
    with pytest.raises(ValueError, match="another architecture"):
        module._load_in_order(backbone, weights)


test_an_unknown_name_is_named_with_the_nearest = refused(
    *((partial(ask, "resnet81"), 'network "resnet81". Did you mean "resnet18"') for ask in (pretrained, weights_of)),
    *((partial(ask, "efficientnet-lite"), 'mean "efficientnet-lite0"') for ask in (pretrained, weights_of)),
)


def test_no_network_is_a_clear_error(monkeypatch):
    def refuse(self, **settings):
        raise URLError("Name or service not known")

    monkeypatch.setattr(WEIGHTS, "get_state_dict", refuse)
    with pytest.raises(ConnectionError, match=r'"shufflenet_v2_x0_5" \(5 MB\) could not be downloaded'):
        pretrained("shufflenet_v2_x0_5")


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "mobilenet_v3_small", "squeezenet1_1"])
def test_the_classifier_of_a_torchvision_network_is_cut_off_if_it_is_linear(monkeypatch, name):
    original = torchvision.models.get_model(name).eval()
    monkeypatch.setattr(WEIGHTS, "get_state_dict", lambda self, **s: original.state_dict())
    if name == "squeezenet1_1":
        with pytest.raises(ValueError, match='"squeezenet1_1" is not a linear layer'):
            pretrained(name)
        return
    backbone, images = pretrained(name), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        inputs = normalize(images, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        torch.testing.assert_close(backbone.classify(images), original(inputs), rtol=1e-4, atol=1e-5)
        assert backbone(images).shape == (2, backbone.head.in_features)
    assert len(backbone.stages) > 2 and len(backbone.categories) == 1000
