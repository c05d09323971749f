"""The features and maps of a frozen network are computed once, for the right key."""

import contextlib

import pytest
import torch

from tdnn_helpers.evidence import store
from tdnn_helpers.measures import frozen
from tdnn_helpers.measures.frozen import pretrained_features, pretrained_maps
from tdnn_helpers.models.backbone import Backbone, stage_maps

close = dict(rtol=1e-3, atol=1e-4)  # folded batch norms round otherwise


@pytest.fixture(autouse=True)
def one_core(request, monkeypatch):
    """Tests run side by side, and torch on all cores waits for the slowest: one test alone lets it do that."""
    if "all_cores" not in request.node.name:
        monkeypatch.setattr(frozen, "all_cores", contextlib.nullcontext)


@pytest.fixture
def runs(backbone, monkeypatch):
    """How many images each run of the network saw, whose weights are read once for all tests."""
    monkeypatch.setattr(frozen, "pretrained", lambda name: backbone)
    seen, forward = [], Backbone.forward
    monkeypatch.setattr(Backbone, "forward", lambda self, x: seen.append(len(x)) or forward(self, x))
    return seen


def test_features_computed_on_all_cores_are_those_of_the_unfolded_network(backbone, emoji, monkeypatch):
    monkeypatch.setenv("TDNN_STORE", "0")
    threads = torch.get_num_threads()
    found = pretrained_features(emoji, size=64)
    assert torch.get_num_threads() == threads
    assert found.shape == (6, 1280) and found.dtype == torch.float32 and not found.requires_grad
    with torch.no_grad():  # the emoji have 64 pixels: nothing is resized
        torch.testing.assert_close(found, backbone(emoji.images / 255), **close)
    monkeypatch.setattr(frozen, "_BATCH", 4)
    torch.testing.assert_close(pretrained_features(emoji, size=64), found, **close)
    assert not store.folder().exists()


def test_features_of_a_stage_are_the_means_of_its_maps_over_all_places(backbone, emoji):
    with torch.no_grad():
        expected = stage_maps(backbone, emoji.images / 255, ["stage4", "top"])
        second = backbone.body[:3](backbone.normalise(emoji.images / 255)).mean((2, 3))
    maps, again = (pretrained_maps(emoji, ["top", "stage4"]) for _ in range(2))
    assert list(maps) == ["top", "stage4"] and maps["stage4"].shape == (6, 80, 4, 4)
    for layer, found in maps.items():
        torch.testing.assert_close(found, expected[layer], rtol=1e-3, atol=1e-3)
        assert torch.equal(found, again[layer])
    torch.testing.assert_close(pretrained_features(emoji, size=64, layer="stage2"), second, **close)
    several = pretrained_features(emoji, size=64, layer=["top", "stage2"])
    assert list(several) == ["top", "stage2"]
    torch.testing.assert_close(several["stage2"], second, **close)
    torch.testing.assert_close(several["top"], pretrained_features(emoji, size=64), **close)


def test_features_are_computed_once_and_again_when_anything_differs_or_their_file_is_damaged(emoji, runs, monkeypatch):
    def again():
        assert torch.equal(pretrained_features(emoji, size=32), first)
        return sum(runs) / len(emoji)

    first = pretrained_features(emoji, size=32)
    (path,) = store.folder().iterdir()
    copy = emoji.__class__(emoji.images.clone(), emoji.targets.clone(), emoji.classes)
    assert torch.equal(first, pretrained_features(copy, size=32)) and runs == [6]
    copy.images[-1, -1, -1, -1] ^= 1
    pretrained_features(copy, size=32)
    pretrained_features(emoji, size=33)
    pretrained_features(emoji, size=32, layer="stem")
    pretrained_features(emoji[[1, 0, 2, 3, 4, 5]], size=32)
    assert runs == [6] * 5
    with monkeypatch.context() as patch:
        patch.setattr(frozen.OURS, "of", lambda module: "another version")
        assert again() == 6
    assert again() == 6
    with monkeypatch.context() as patch:
        patch.setenv("TDNN_STORE", "0")
        assert again() == 7
    store.clear()
    assert again() == 8
    whole = path.read_bytes()
    for place, damaged in enumerate((b"", whole[:-9], whole[:-2000] + b"\1" + whole[-1999:])):
        path.write_bytes(damaged)
        assert [again(), again()] == [9 + place] * 2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda emoji: pretrained_features(emoji[:0]), "no images"),
        (lambda emoji: pretrained_features(emoji, size=0), "at least 1 pixel"),
        (lambda emoji: pretrained_features(emoji, layer="stage9"), 'no layer "stage9". Did you mean "stage'),
        (lambda emoji: pretrained_maps(emoji, ["stage44"]), 'no layer "stage44"'),
        (lambda emoji: pretrained_features(emoji, name="resnet81"), 'network "resnet81". Did you mean "resnet18"'),
        (lambda emoji: pretrained_features(emoji, name="efficientnet-lite"), 'Did you mean "efficientnet-lite0"'),
    ],
)
def test_what_has_no_features_is_named(emoji, call, words):
    with pytest.raises(ValueError, match=words):
        call(emoji)
