"""Attention against PyTorch's own and against loops; the transformer's shapes, sizes, symmetry and gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from refusals import refused
from tdnn_helpers.data.split import Split
from tdnn_helpers.models.networks import count_parameters
from tdnn_helpers.models.transformer import Block, Patches, SelfAttention, attention, attention_maps, vision_transformer

PIXELS = torch.randint(0, 256, (12, 2, 6, 9), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
SPLIT, IMAGES = Split(PIXELS, torch.arange(12) % 4, tuple("abcd")), PIXELS.float() / 255


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_attention_is_that_of_torch(shape):
    inputs = draw(*shape, 5, 8), draw(*shape, 7, 8), draw(*shape, 7, 3)
    output, weights = attention(*inputs)
    assert torch.allclose(output, F.scaled_dot_product_attention(*inputs))
    assert torch.allclose(weights.sum(-1), torch.ones(*shape, 5, dtype=torch.float64))
    assert torch.allclose(attention(*inputs, scaled=False)[0], F.scaled_dot_product_attention(*inputs, scale=1.0))


def test_self_attention_against_loops_and_against_torch():
    layer, items = SelfAttention(12, 3).double(), draw(2, 5, 12)
    q, k, v = layer.query(items), layer.key(items), layer.value(items)
    parts = []
    for head in range(3):
        of = slice(4 * head, 4 * head + 4)
        weights = (q[..., of] @ k[..., of].transpose(1, 2) / 2).softmax(-1)
        assert torch.allclose(layer.weights(items)[:, head], weights)
        parts.append(weights @ v[..., of])
    assert torch.allclose(layer(items), layer.mix(torch.cat(parts, -1)))
    theirs, projections = nn.MultiheadAttention(12, 3, batch_first=True).double(), (layer.query, layer.key, layer.value)
    theirs.in_proj_weight.data = torch.cat([one.weight for one in projections])
    theirs.in_proj_bias.data = torch.cat([one.bias for one in projections])
    theirs.out_proj.load_state_dict(layer.mix.state_dict())
    assert torch.allclose(layer(items), theirs(items, items, items)[0])
    assert torch.autograd.gradcheck(Block(4, 2).double(), (draw(1, 3, 4).requires_grad_(),))


def test_patches_are_squares_of_the_image_in_reading_order():
    layer = Patches(2, (6, 9), 3, 18, positions=False)
    layer.project.weight.data = torch.eye(18).view(18, 2, 3, 3)
    layer.project.bias.data.zero_()
    expected = [IMAGES[:, :, r : r + 3, c : c + 3].flatten(1) for r in (0, 3) for c in (0, 3, 6)]
    assert torch.allclose(layer(IMAGES), torch.stack(expected, 1))


@pytest.mark.parametrize("positions", [True, False])
def test_size_output_and_gradients_of_the_transformer(positions):
    width, depth, items = 8, 2, 6
    torch.manual_seed(0)
    model = vision_transformer(SPLIT, patch=3, width=width, depth=depth, heads=2, positions=positions)
    patches = 9 * 2 * width + width + positions * items * width
    block = 4 * (width**2 + width) + 2 * 2 * width + 8 * width**2 + 5 * width
    assert count_parameters(model) == patches + depth * block + 2 * width + 4 * width + 4
    assert model(IMAGES).shape == (12, 4)
    swapped = IMAGES.roll(3, 3)  # whole patches: only positions tell their order
    assert torch.allclose(model(IMAGES), model(swapped), atol=1e-5) != positions
    model(IMAGES).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in model.parameters())


def test_attention_maps():
    model = vision_transformer(SPLIT, patch=3, width=8, depth=2, heads=4).train()
    maps = attention_maps(model, IMAGES[:5])
    assert maps.shape == (5, 2, 4, 6, 6) and maps.dtype == torch.float32 and not maps.requires_grad
    assert torch.allclose(maps.sum(-1), torch.ones(5, 2, 4, 6))
    first = model[2]
    assert torch.allclose(maps[:, 0], first.attend.weights(first.norm(model[1](model[0](IMAGES[:5])))))


test_what_does_not_fit_is_refused = refused(
    (lambda: vision_transformer(SPLIT, patch=4), "patches of 4×4 pixels do not tile images of 6×9"),
    (lambda: vision_transformer(SPLIT, patch=3, width=10, heads=4), "10 must be a multiple of the number of heads, 4"),
)
