"""The pretrained backbone is the network it says it is, and its features are computed once, for the right key."""

import shutil
from urllib.error import URLError

import pytest
import torch
import torch.nn.functional as F
import torchvision
from sklearn.datasets import load_sample_image
from torch import nn

from tdnn_helpers.core import data_dir
from tdnn_helpers.data.sets import load
from tdnn_helpers.evidence import store
from tdnn_helpers.measures import frozen
from tdnn_helpers.measures.frozen import pretrained_features
from tdnn_helpers.models import backbone as room
from tdnn_helpers.models.backbone import pretrained
from tdnn_helpers.models.efficientnet import SameConv2d


@pytest.fixture(scope="module")
def backbone():
    return pretrained()


@pytest.fixture(scope="module")
def emoji():
    return load("emoji", design="noto").take(6, seed=0)


@pytest.fixture
def runs(monkeypatch):
    """How many images each run of the network saw."""
    seen = []
    forward = room.Backbone.forward
    monkeypatch.setattr(room.Backbone, "forward", lambda self, x: seen.append(len(x)) or forward(self, x))
    return seen


# --- the network ------------------------------------------------------------------------------------------------------


def test_it_has_the_size_of_efficientnet_lite0(backbone):
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 4_652_008
    assert list(backbone.stages) == ["stem", *(f"stage{i}" for i in range(1, 8)), "top"]
    assert not backbone.training and all(parameter.requires_grad for parameter in backbone.parameters())
    with torch.no_grad():
        assert backbone(torch.rand(2, 3, 33, 40)).shape == (2, 1280)
        assert backbone.classify(torch.rand(2, 3, 33, 40)).shape == (2, 1000)


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


def test_grey_images_are_repeated(backbone):
    grey = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(backbone(grey), backbone(grey.repeat(1, 3, 1, 1)))


def test_images_that_are_not_what_it_takes_are_named(backbone):
    with pytest.raises(TypeError, match="uint8: divide"):
        backbone(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"N×1×H×W, but their shape is \(1, 4, 32, 32\)"):
        backbone(torch.zeros(1, 4, 32, 32))


@pytest.mark.parametrize("side", [1, 6, 7, 8])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_padding_is_that_of_tensorflow(side, kernel, stride):
    convolution, images = SameConv2d(1, 1, kernel, stride, bias=False), torch.rand(1, 1, side, side + 1)
    with torch.no_grad():
        found, weight = convolution(images)[0, 0], convolution.weight[0, 0]
        assert found.shape == tuple((n + stride - 1) // stride for n in (side, side + 1))
        # TensorFlow's rule: centre the windows on the image; if they cannot be centred, the odd pixel is at the end.
        first = [-(max((m - 1) * stride + kernel - n, 0) // 2) for m, n in zip(found.shape, (side, side + 1))]
        for row in range(found.shape[0]):
            for column in range(found.shape[1]):
                total = 0.0
                for i in range(kernel):
                    for j in range(kernel):
                        y, x = first[0] + row * stride + i, first[1] + column * stride + j
                        if 0 <= y < side and 0 <= x < side + 1:
                            total += float(weight[i, j] * images[0, 0, y, x])
                assert float(found[row, column]) == pytest.approx(total, abs=1e-5)


def test_all_of_it_can_be_trained(backbone):
    model = nn.Sequential(pretrained(), nn.Linear(1280, 2)).train()
    for part in list(model[0].stages.values())[:-1]:
        part.requires_grad_(False)
    model(torch.rand(4, 3, 32, 32)).sum().backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained == {"0.body.top.0.weight", "0.body.top.1.weight", "0.body.top.1.bias", "1.weight", "1.bias"}


# --- the file of weights ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["remove", "alter"])
def test_missing_or_damaged_weights_are_refused(monkeypatch, tmp_path, change):
    (tmp_path / "pretrained").mkdir()
    shutil.copy(data_dir() / "checksums.json", tmp_path)
    content = bytearray((data_dir() / room._LITE0_FILE).read_bytes())
    content[len(content) // 2] ^= 1
    if change == "alter":
        (tmp_path / room._LITE0_FILE).write_bytes(content)
    monkeypatch.setenv("TDNN_DATA", str(tmp_path))
    with pytest.raises((FileNotFoundError, ValueError), match="missing" if change == "remove" else "damaged.*5793"):
        pretrained()


@pytest.mark.parametrize("change", [lambda w: w.popitem(), lambda w: w.update(a=torch.zeros(1))])
def test_weights_of_another_shape_are_refused(backbone, change):
    weights = torch.load(data_dir() / room._LITE0_FILE, weights_only=True)
    change(weights)
    with pytest.raises(ValueError, match="another architecture"):
        room._load_in_order(backbone, weights)


# --- torchvision ------------------------------------------------------------------------------------------------------


def test_an_unknown_name_is_named_with_the_nearest(emoji):
    for ask in (pretrained, lambda name: pretrained_features(emoji, name=name)):
        with pytest.raises(ValueError, match='no pretrained network "resnet81". Did you mean "resnet18"'):
            ask("resnet81")
        with pytest.raises(ValueError, match='Did you mean "efficientnet-lite0"'):
            ask("efficientnet-lite")


def test_no_network_is_a_clear_error(monkeypatch):
    def refuse(self, **settings):
        raise URLError("Name or service not known")

    monkeypatch.setattr(torchvision.models.WeightsEnum, "get_state_dict", refuse)
    with pytest.raises(ConnectionError, match=r'"shufflenet_v2_x0_5" \(5 MB\) could not be downloaded'):
        pretrained("shufflenet_v2_x0_5")


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "mobilenet_v3_small"])
def test_the_classifier_of_a_torchvision_network_is_cut_off(monkeypatch, name):
    original = torchvision.models.get_model(name).eval()
    monkeypatch.setattr(torchvision.models.WeightsEnum, "get_state_dict", lambda self, **s: original.state_dict())
    backbone, images = pretrained(name), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        inputs = torchvision.transforms.functional.normalize(images, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        torch.testing.assert_close(backbone.classify(images), original(inputs), rtol=1e-4, atol=1e-5)
        assert backbone(images).shape == (2, backbone.head.in_features)
    assert len(backbone.stages) > 2 and len(backbone.categories) == 1000


def test_a_classifier_that_is_not_linear_is_named(monkeypatch):
    original = torchvision.models.get_model("squeezenet1_1")
    monkeypatch.setattr(torchvision.models.WeightsEnum, "get_state_dict", lambda self, **s: original.state_dict())
    with pytest.raises(ValueError, match='"squeezenet1_1" is not a linear layer'):
        pretrained("squeezenet1_1")


# --- features ---------------------------------------------------------------------------------------------------------


def test_features_are_those_of_the_unfolded_network_for_any_batch_size(backbone, emoji, monkeypatch):
    monkeypatch.setenv("TDNN_STORE", "0")
    threads = torch.get_num_threads()
    found = pretrained_features(emoji, size=64)
    assert torch.get_num_threads() == threads
    assert found.shape == (6, 1280) and found.dtype == torch.float32 and not found.requires_grad
    with torch.no_grad():  # the emoji have 64 pixels: nothing is resized
        torch.testing.assert_close(found, backbone(emoji.images / 255), rtol=1e-3, atol=1e-4)
    monkeypatch.setattr(frozen, "_BATCH", 4)
    torch.testing.assert_close(pretrained_features(emoji, size=64), found, rtol=1e-3, atol=1e-4)
    assert not store.folder().exists()


def test_features_of_a_stage_are_averaged_over_all_places(backbone, emoji):
    found = pretrained_features(emoji, size=64, layer="stage2")
    with torch.no_grad():
        maps = backbone.body[:3](backbone.normalise(emoji.images / 255))
    torch.testing.assert_close(found, maps.mean((2, 3)), rtol=1e-3, atol=1e-4)
    several = pretrained_features(emoji, size=64, layer=["top", "stage2"])
    assert list(several) == ["top", "stage2"]
    torch.testing.assert_close(several["stage2"], found)
    torch.testing.assert_close(several["top"], pretrained_features(emoji, size=64), rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match='no layer "stage9". Did you mean "stage'):
        pretrained_features(emoji, layer="stage9")


def test_features_are_computed_once(emoji, runs, monkeypatch):
    first = pretrained_features(emoji, size=32)
    assert runs == [6]
    again = pretrained_features(emoji.__class__(emoji.images.clone(), emoji.targets.clone(), emoji.classes), size=32)
    assert runs == [6] and torch.equal(first, again)
    monkeypatch.setenv("TDNN_STORE", "0")
    pretrained_features(emoji, size=32)
    assert runs == [6, 6]
    monkeypatch.delenv("TDNN_STORE")
    store.clear()
    pretrained_features(emoji, size=32)
    assert runs == [6, 6, 6]


def test_features_are_computed_again_when_anything_differs(emoji, runs, monkeypatch):
    pretrained_features(emoji, size=32)
    brighter = emoji.images.clone()
    brighter[-1, -1, -1, -1] ^= 1
    other = emoji.__class__(brighter, emoji.targets, emoji.classes)
    pretrained_features(other, size=32)
    pretrained_features(emoji, size=33)
    pretrained_features(emoji, size=32, layer="stem")
    pretrained_features(emoji[[1, 0, 2, 3, 4, 5]], size=32)
    with monkeypatch.context() as patch:
        patch.setattr(frozen.OURS, "of", lambda module: "another version")
        pretrained_features(emoji, size=32)
    assert runs == [6] * 6
    pretrained_features(emoji, size=32)
    assert runs == [6] * 6


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:-9], lambda b: b[:-2000] + b"\1" + b[-1999:]])
def test_a_damaged_file_of_features_is_computed_again(emoji, runs, damage):
    first = pretrained_features(emoji, size=32)
    (path,) = store.folder().iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert torch.equal(pretrained_features(emoji, size=32), first) and runs == [6, 6]
    assert torch.equal(pretrained_features(emoji, size=32), first) and runs == [6, 6]


def test_no_images_and_no_size_are_clear_errors(emoji):
    with pytest.raises(ValueError, match="no images"):
        pretrained_features(emoji[:0])
    with pytest.raises(ValueError, match="at least 1 pixel"):
        pretrained_features(emoji, size=0)
