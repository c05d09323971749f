"""Test-time augmentation against naive loops, image by image and view by view."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from refusals import refused
from tdnn_helpers.methods.tta import RULES, as_it_is, combine, every, mirror, move, one_of, predict_views

VIEWS = every({"as it is": as_it_is, "mirror": mirror}, {"as it is": as_it_is, "down": move(1, 0), "left": move(0, -2)})


@pytest.mark.parametrize("rows", [-2, 0, 1])
@pytest.mark.parametrize("columns", [-1, 0, 3])
def test_move_puts_each_pixel_where_it_belongs(rows, columns):
    images = torch.rand(2, 3, 6, 5)
    framed = F.pad(images, (3, 3, 3, 3))
    assert torch.equal(move(rows, columns)(images), framed[:, :, 3 - rows : 9 - rows, 3 - columns : 8 - columns])


def test_every_combines_in_order_and_begins_with_the_image_itself():
    assert list(VIEWS) == ["as it is", "down", "left", "mirror", "mirror, down", "mirror, left"]
    images = torch.rand(2, 1, 4, 4)
    assert torch.equal(VIEWS["as it is"](images), images) and torch.equal(VIEWS["mirror"](images), images.flip(3))
    assert torch.equal(VIEWS["mirror, left"](images), move(0, -2)(images.flip(3)))
    assert not torch.equal(VIEWS["mirror, left"](images), move(0, -2)(images).flip(3))


def test_predict_views_is_one_forward_for_each_image_and_view(few, trained):
    trained.train()
    logits = predict_views(trained, few, VIEWS)  # 85 images of 6 views at a time
    assert logits.shape == (120, 6, 10) and logits.dtype == torch.float32 and not trained.training
    for n in (0, 84, 85, 119):
        for v, view in enumerate(VIEWS.values()):
            alone = trained(view(few.images[n : n + 1].float() / 255))[0]
            torch.testing.assert_close(logits[n, v], alone, atol=1e-5, rtol=1e-4)
    many = {str(n): as_it_is for n in range(600)}  # more views than a batch holds
    found = predict_views(trained, few[:2], many)
    torch.testing.assert_close(found, logits[:2, :1].expand(-1, 600, -1), atol=1e-5, rtol=1e-4)


def naive(rule, logits):
    """The scores of one image, from V×K logits in NumPy, view by view."""
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    votes = np.bincount(p.argmax(1), minlength=p.shape[1])
    score = {
        "mean": p.mean(0),
        "mean logit": np.exp(logits.mean(0)),
        "median": np.median(p, 0),
        "vote": votes + p.mean(0) / 2,
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
    torch.testing.assert_close(combine(logits[:, torch.randperm(views)], rule), scores)  # the order does not matter
    if views == 1:
        assert torch.equal(scores.argmax(1), logits[:, 0].argmax(1))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_sure_views_that_contradict_each_other_leave_a_number(rule, kind):
    scores = combine(torch.tensor([[[110.0, 0.0], [0.0, 110.0]]], dtype=kind), rule)
    torch.testing.assert_close(scores, torch.full((1, 2), 0.5))


def test_ties_of_the_vote_go_to_the_larger_mean_majorities_stay_and_the_product_does_not_underflow():
    p = torch.tensor([[[0.1, 0.9], [0.6, 0.4]], [[0.99, 0.01], [0.4, 0.6]]]).log()
    assert combine(p, "vote").argmax(1).tolist() == [1, 0]  # one vote each
    p = torch.tensor([[[0.999, 0.001], [0.49, 0.51], [0.49, 0.51]]]).log()
    assert combine(p, "vote").argmax(1).tolist() == [1] and combine(p, "mean").argmax(1).tolist() == [0]
    many = torch.tensor([0.0, 60.0]).expand(1, 300, 2)
    assert torch.equal(combine(many, "product"), torch.tensor([[0.0, 1.0]]))


def test_one_of_shows_each_image_in_one_view_and_all_views_about_equally_often():
    images = torch.rand(1, 1, 5, 5).expand(3000, 1, 5, 5)
    shown, again, other = (one_of(VIEWS)(images, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    known = torch.stack([view(images[:1])[0] for view in VIEWS.values()])
    matches = (shown[:, None] == known).flatten(2).all(2)
    assert matches.any(1).all()
    counts = matches.sum(0)
    assert counts.min() > 400 and counts.max() < 600  # 500 expected, standard deviation 20
    assert torch.equal(shown, again) and not torch.equal(shown, other)
    assert one_of(VIEWS)(images[:1], torch.Generator().manual_seed(0)).shape == (1, 1, 5, 5)  # views with no image


def shown(views):
    return lambda trained, few: predict_views(trained, few, views)


test_bad_input_gets_one_sentence = refused(
    (shown({}), "there are no views"),
    (shown(None), "there are no views"),
    (lambda: one_of({}), "there are no views"),
    (lambda trained, few: predict_views(trained, few[[]], VIEWS), "split is empty"),
    (shown({"cut": lambda images: images[:, :, :4]}), r'"cut" makes \(1, 4, 8\) from images of \(1, 8, 8\): resize'),
    (shown({"bright": lambda images: images + 1}), r'"bright" has values from 1 to 2, .*clamp'),
    (lambda: combine(torch.zeros(1, 2, 3), "means"), 'no rule "means". Did you mean "mean"'),
    (lambda: combine(torch.zeros(2, 3)), "images × views × classes"),
    (lambda: combine(torch.zeros(1, 0, 3)), "images × views × classes"),
)
