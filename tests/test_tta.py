"""Test-time augmentation against naive loops, image by image and view by view."""

import numpy as np
import pytest
import torch

from tdnn_helpers.core.randomness import seed_everything
from tdnn_helpers.data.sets import load
from tdnn_helpers.methods.tta import RULES, as_it_is, combine, every, mirror, move, one_of, predict_views
from tdnn_helpers.models.networks import small_cnn

VIEWS = every({"as it is": as_it_is, "mirror": mirror}, {"as it is": as_it_is, "down": move(1, 0), "left": move(0, -2)})


@pytest.fixture(scope="module")
def digits():
    return load("digits").take(50, seed=0)


@pytest.fixture(scope="module")
def model(digits):
    seed_everything(0)
    return small_cnn(digits, width=4)


@pytest.mark.parametrize("rows", [-2, 0, 1])
@pytest.mark.parametrize("columns", [-1, 0, 3])
def test_move_puts_each_pixel_where_it_belongs(rows, columns):
    images = torch.rand(2, 3, 6, 5)
    moved = move(rows, columns)(images)
    for r in range(6):
        for c in range(5):
            from_r, from_c = r - rows, c - columns
            inside = 0 <= from_r < 6 and 0 <= from_c < 5
            expected = images[:, :, from_r, from_c] if inside else torch.zeros(2, 3)
            assert torch.equal(moved[:, :, r, c], expected)


def test_every_combines_in_order_and_begins_with_the_image_itself():
    assert list(VIEWS) == ["as it is", "down", "left", "mirror", "mirror, down", "mirror, left"]
    images = torch.rand(2, 1, 4, 4)
    assert torch.equal(VIEWS["as it is"](images), images) and torch.equal(VIEWS["mirror"](images), images.flip(3))
    assert torch.equal(VIEWS["mirror, left"](images), move(0, -2)(images.flip(3)))
    assert not torch.equal(VIEWS["mirror, left"](images), move(0, -2)(images).flip(3))


def test_predict_views_is_one_forward_for_each_image_and_view(digits, model):
    model.train()
    logits = predict_views(model, digits, VIEWS, batch_size=40)  # 6 images of 6 views at a time
    assert logits.shape == (50, 6, 10) and logits.dtype == torch.float32 and not model.training
    for n in (0, 5, 6, 49):
        for v, view in enumerate(VIEWS.values()):
            alone = model(view(digits.images[n : n + 1].float() / 255))[0]
            torch.testing.assert_close(logits[n, v], alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(predict_views(model, digits, VIEWS, batch_size=1), logits, atol=1e-5, rtol=1e-4)


def naive(rule, logits):
    """The scores of one image, from V×K logits in NumPy, view by view."""
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    if rule == "vote":
        votes = p.mean(0) / 2
        for row in p:
            votes[row.argmax()] += 1
        score = votes
    else:
        score = {
            "mean": p.mean(0),
            "mean logit": np.exp(logits.mean(0)),
            "median": np.median(p, 0),
            "max": p.max(0),
            "min": p.min(0),
            "product": p.prod(0),
        }[rule]
    return score / score.sum()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("views", [1, 4, 5])
def test_combine_agrees_with_a_naive_loop(rule, views):
    logits = 2 * torch.randn(7, views, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(views))
    scores = combine(logits, rule)
    for one, score in zip(logits, scores, strict=True):
        np.testing.assert_allclose(score, naive(rule, one.numpy()), rtol=1e-6)
    torch.testing.assert_close(scores.sum(1), torch.ones(7, dtype=torch.float64))
    order = torch.randperm(views)
    torch.testing.assert_close(combine(logits[:, order], rule), scores)  # the order of the views does not matter


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_sure_views_that_contradict_each_other_leave_a_number(rule, kind):
    scores = combine(torch.tensor([[[110.0, 0.0], [0.0, 110.0]]], dtype=kind), rule)
    torch.testing.assert_close(scores, torch.full((1, 2), 0.5))


def test_with_a_single_view_every_rule_gives_its_answer():
    logits = torch.randn(20, 1, 5)
    for rule in RULES:
        assert torch.equal(combine(logits, rule).argmax(1), logits[:, 0].argmax(1)), rule


def test_ties_of_the_vote_go_to_the_larger_mean_and_majorities_stay():
    p = torch.tensor([[[0.1, 0.9], [0.6, 0.4]], [[0.99, 0.01], [0.4, 0.6]]]).log()
    assert combine(p, "vote").argmax(1).tolist() == [1, 0]  # one vote each
    p = torch.tensor([[[0.999, 0.001], [0.49, 0.51], [0.49, 0.51]]]).log()
    assert combine(p, "vote").argmax(1).tolist() == [1] and combine(p, "mean").argmax(1).tolist() == [0]


def test_the_product_does_not_underflow():
    logits = torch.tensor([0.0, 60.0]).expand(1, 300, 2)
    assert torch.equal(combine(logits, "product"), torch.tensor([[0.0, 1.0]]))


def test_one_of_shows_each_image_in_one_view_and_all_views_about_equally_often():
    images = torch.rand(1, 1, 5, 5).expand(3000, 1, 5, 5)
    shown = one_of(VIEWS)(images, torch.Generator().manual_seed(0))
    known = torch.stack([view(images[:1])[0] for view in VIEWS.values()])
    matches = (shown[:, None] == known).flatten(2).all(2)
    assert matches.any(1).all()
    counts = matches.sum(0)
    assert counts.min() > 400 and counts.max() < 600  # 500 expected, standard deviation 20
    assert torch.equal(shown, one_of(VIEWS)(images, torch.Generator().manual_seed(0)))
    assert not torch.equal(shown, one_of(VIEWS)(images, torch.Generator().manual_seed(1)))
    assert one_of(VIEWS)(images[:1], torch.Generator().manual_seed(0)).shape == (1, 1, 5, 5)  # views with no image


def test_bad_input_gets_one_sentence(digits, model):
    for views in ({}, None):
        with pytest.raises(ValueError, match="there are no views"):
            predict_views(model, digits, views)
    with pytest.raises(ValueError, match="there are no views"):
        one_of({})
    with pytest.raises(ValueError, match="split is empty"):
        predict_views(model, digits[[]], VIEWS)
    with pytest.raises(ValueError, match=r'"cut" makes \(1, 4, 8\) from images of \(1, 8, 8\): resize'):
        predict_views(model, digits, {"cut": lambda images: images[:, :, :4]})
    with pytest.raises(ValueError, match=r'"bright" has values from 1 to 2, .*clamp'):
        predict_views(model, digits, {"bright": lambda images: images + 1})
    with pytest.raises(ValueError, match='no rule "means". Did you mean "mean"'):
        combine(torch.zeros(1, 2, 3), "means")
    for shape in ((2, 3), (1, 0, 3)):
        with pytest.raises(ValueError, match="images × views × classes"):
            combine(torch.zeros(shape))
