"""Numbers that a library's usual call gets wrong: smaller images, slices, costs, neighbours, ties, hidden gradients."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from tdnn_helpers.data import Split
from tdnn_helpers.data.split import area_average
from tdnn_helpers.measures import knn_accuracy, retrieval_scores
from tdnn_helpers.methods import attacks
from tdnn_helpers.models import count_macs


def mean_over_areas(image, pixels):
    """The mean over each new pixel's square, by a picture in which every old pixel is repeated ``pixels`` times."""
    height, width = image.shape
    fine = np.repeat(np.repeat(image, pixels, 0), pixels, 1)
    return fine.reshape(pixels, height, pixels, width).mean((1, 3))


@pytest.mark.parametrize(("height", "width", "pixels"), [(28, 28, 20), (28, 28, 14), (9, 12, 5), (7, 7, 4), (3, 3, 5)])
def test_a_smaller_image_is_the_mean_of_the_areas(height, width, pixels):
    images = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    found = area_average(images, pixels)
    for got, image in zip(found.flatten(0, 1), images.flatten(0, 1), strict=True):
        np.testing.assert_allclose(got, mean_over_areas(image.numpy(), pixels), atol=1e-6)
    assert torch.allclose(found.mean((2, 3)), images.mean((2, 3)), atol=1e-6)  # no brightness is lost


def test_a_resized_split_keeps_its_brightness_at_a_ratio_that_is_not_whole():
    images = 240 * torch.eye(20, 28, dtype=torch.uint8)[:, None, None].repeat(1, 1, 28, 1)  # one column lights up
    means = Split(images, torch.zeros(20).long(), ["one"]).resize(20).images.float().mean((1, 2, 3))
    assert (means - 240 / 28).abs().max() < 0.5


def test_a_slice_travels_without_the_images_that_it_was_cut_from(digits):
    part = digits[:10].with_extra(row=torch.arange(len(digits))[:10])
    assert part.images.data_ptr() == digits.images.data_ptr()  # in this process it costs nothing
    sent = pickle.dumps(part)
    assert len(sent) < 3 * 10 * 64
    back = pickle.loads(sent)
    pairs = (back.images, part.images), (back.targets, part.targets), (back.extra["row"], part.extra["row"])
    assert all(torch.equal(*pair) for pair in pairs) and back.classes == part.classes


TOKENS, WIDTH, HIDDEN = 10, 32, 48


class FirstOutput(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, images):
        return self.layer(images.view(len(images), TOKENS, WIDTH))[0]


ATTENTION = 3 * TOKENS * WIDTH**2 + 2 * TOKENS**2 * WIDTH + TOKENS * WIDTH**2  # projections, scores and mixes, output
STEP = TOKENS * HIDDEN * (WIDTH + HIDDEN)  # one gate


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        (lambda: nn.TransformerEncoderLayer(WIDTH, 4, 64, batch_first=True), ATTENTION + 2 * TOKENS * WIDTH * 64),
        (lambda: nn.LSTM(WIDTH, HIDDEN, batch_first=True), 4 * STEP),
        (lambda: nn.GRU(WIDTH, HIDDEN, batch_first=True), 3 * STEP),
    ],
    ids=["attention", "LSTM", "GRU"],
)
def test_attention_and_recurrent_layers_are_counted(layer, macs):
    def fast():
        return torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled

    before = fast()
    assert count_macs(FirstOutput(layer()), torch.zeros(2, 1, TOKENS, WIDTH)) == macs and fast() == before


def test_neighbours_of_features_far_from_zero_are_found():
    random = torch.Generator().manual_seed(0)
    centres = torch.randn(200, 64, generator=random) * 0.01 + 30
    near = centres + torch.randn(200, 64, generator=random) * 1e-4
    assert knn_accuracy(centres, torch.arange(200), near, torch.arange(200), k=1) == 1


def test_equal_distances_give_the_order_of_the_gallery_no_say():
    labels = torch.arange(10).repeat_interleave(10)
    constant, mixed = torch.ones(100, 4), torch.randperm(100, generator=torch.Generator().manual_seed(1))
    never = torch.eye(100).bool()
    in_order, shuffled = (retrieval_scores(constant, one, constant, one, never) for one in (labels, labels[mixed]))
    assert in_order["mAP"] == pytest.approx(shuffled["mAP"], abs=0.03) and in_order["mAP"] < 0.16  # sorted: 0.21
    assert in_order["AUROC"] == 0.5


def test_a_network_that_hides_its_gradient_is_named():
    random = torch.Generator().manual_seed(0)
    images, weight = torch.rand(8, 1, 4, 4, generator=random), torch.randn(3, 16, generator=random)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(16, 3, bias=False))
    linear[1].weight.data = weight
    targets = linear(images).argmax(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not torch.equal(attacks.fgsm(linear, images, targets, 0.05), images)
    linear[1].weight.data = 1e4 * weight
    with pytest.warns(UserWarning, match="of 8 images is exactly 0.*looks too robust"):
        attacks.fgsm(linear, images, targets, 0.05)
