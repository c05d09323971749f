"""Attacks against naive loops and a closed form; triggers and poisoned splits against what they promise."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from refusals import refused
from tdnn_helpers.data.split import Split
from tdnn_helpers.methods import attack_success_rate, dot, pgd, poison, ramp, robust_accuracy, stamp
from tdnn_helpers.methods.attacks import fgsm, noise
from tdnn_helpers.models.networks import mlp
from tdnn_helpers.train.loop import evaluate

EPS = 8 / 255


@pytest.fixture
def batch(digits):
    part = digits.take(40, seed=0)
    return part.images.float() / 255, part.targets


def naive_gradient_sign(model, image, target):
    """Central differences of the loss of one image, pixel by pixel, in float64."""
    signs = torch.zeros_like(image)
    for place in range(image.numel()):
        nudge = torch.zeros(image.numel(), dtype=image.dtype)
        nudge[place] = 1e-5
        up, down = (F.cross_entropy(model((image + s * nudge.view_as(image))[None]), target[None]) for s in (1, -1))
        signs.view(-1)[place] = (up - down).sign()
    return signs


def test_fgsm_is_the_sign_of_the_naive_gradient(batch, digits):
    torch.manual_seed(0)
    model = mlp(digits, hidden=(8,), activation="tanh").double().eval()
    images = batch[0][:3].double() * 0.8 + 0.1  # away from 0 and 1, where the clamp would act
    attacked = fgsm(model, images, batch[1][:3], 0.05)
    for image, target, moved in zip(images, batch[1], attacked, strict=False):
        torch.testing.assert_close(moved, image + 0.05 * naive_gradient_sign(model, image, target))


@pytest.mark.parametrize("attack", [fgsm, pgd])
def test_a_linear_model_loses_eps_times_the_l1_norm(attack):
    """The margin w·x of a linear model falls by exactly eps · |w|₁, the most that any change within ±eps can do."""
    model, images = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False)), torch.full((2, 1, 2, 2), 0.5)
    model[1].weight.data = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.5, -2.0, 1.0, 0.25]])
    attacked = attack(model, images, torch.tensor([1, 1]), 0.1)
    margin = (model(images) - model(attacked))[:, 1]
    torch.testing.assert_close(margin, torch.full((2,), 0.1 * 3.75))


@pytest.mark.parametrize("attack", [fgsm, pgd, noise])
@pytest.mark.parametrize("eps", [0, EPS, 0.5])
def test_attacks_stay_in_the_box_and_leave_the_model_alone(attack, eps, trained, batch):
    images, before = batch[0].clone(), copy.deepcopy(trained.state_dict())
    trained.train().zero_grad()
    trained[3].eval()  # a frozen part
    attacked = attack(trained, images, batch[1], eps)
    assert [module.training for module in trained] == [place != 3 for place in range(len(trained))] and trained.training
    assert all(parameter.grad is None for parameter in trained.parameters())
    assert not attacked.requires_grad and torch.equal(images, batch[0]) and attacked.shape == images.shape
    assert 0 <= attacked.min() and attacked.max() <= 1
    assert (attacked - images).abs().max() <= eps + 1e-6
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())


def test_attacks_work_in_eval_mode_and_with_gradients_whatever_the_mode(trained, batch):
    calm = fgsm(trained.eval(), *batch, EPS)
    with torch.no_grad():
        lively = fgsm(trained.train(), *batch, EPS)
    one_by_one = torch.cat([fgsm(trained, image[None], target[None], EPS) for image, target in zip(*batch)])
    assert torch.equal(calm, lively) and torch.equal(calm, one_by_one)  # no image depends on others of its batch


def naive_pgd(model, images, targets, eps, steps, generator):
    start = torch.rand(images.shape, generator=generator)
    results = []
    for image, target, u in zip(images, targets, start, strict=True):
        low, high = (image - eps).clamp(min=0), (image + eps).clamp(max=1)
        x = low + u * (high - low)
        for _ in range(steps):
            x.requires_grad_(True)
            (gradient,) = torch.autograd.grad(F.cross_entropy(model(x[None]), target[None]), x)
            x = torch.minimum(torch.maximum((x + 2.5 * eps / steps * gradient.sign()).detach(), low), high)
        results.append(x)
    return torch.stack(results)


def test_pgd_against_one_image_at_a_time(trained, batch):
    images, targets = batch[0][:6], batch[1][:6]
    got, wanted = (
        attack(trained.eval(), images, targets, EPS, 3, torch.Generator().manual_seed(1)) for attack in (pgd, naive_pgd)
    )
    torch.testing.assert_close(got, wanted)


def test_attacks_hurt_more_than_noise_and_pgd_no_less_than_fgsm_and_each_image_counts_once(trained, digits):
    part, eps = digits.take(400, seed=1), 0.1
    clean = evaluate(trained, part, device="cpu")["accuracy"]
    for size in (7, 400, 512):
        as_it_is = robust_accuracy(trained, part, lambda model, images, targets: images, batch_size=size)
        assert as_it_is == pytest.approx(clean)
    by_noise, by_fgsm, by_pgd = (robust_accuracy(trained, part, partial(one, eps=eps)) for one in (noise, fgsm, pgd))
    assert clean > 0.8
    assert by_pgd <= by_fgsm + 0.01 and by_fgsm < by_noise - 0.2


def test_noise_moves_every_pixel_by_eps_in_both_directions(trained):
    images = torch.full((5, 1, 8, 8), 0.5)
    moved = noise(trained, images, torch.zeros(5, dtype=torch.int64), 0.25, torch.Generator().manual_seed(0)) - images
    torch.testing.assert_close(moved.abs(), torch.full_like(moved, 0.25))
    assert 0.35 < (moved > 0).float().mean() < 0.65


@pytest.mark.parametrize("attack", [fgsm, pgd, noise])
@pytest.mark.parametrize(
    ("add", "times", "eps", "words"),
    [
        (-0.5, 2, EPS, r"go from -?[\d.]+ to .*normalise inside the model"),
        (0, 255, EPS, "divide by 255"),
        (0, 1, 8, "eps is 8, .*write 8 / 255"),
    ],
)
def test_attacks_refuse_images_and_sizes_outside_the_unit_box(attack, add, times, eps, words, trained, batch):
    with pytest.raises(ValueError, match=words):
        attack(trained, (batch[0] + add) * times, batch[1], eps)


def test_triggers_are_where_they_should_be_and_cut_off_at_white():
    assert dot(6, 0, 5).nonzero().tolist() == [[0, 5]] and dot(6, 0, 5).max() == 1
    assert dot(6, 2, 3, size=2, amplitude=0.5).nonzero().tolist() == [[2, 3], [2, 4], [3, 3], [3, 4]]
    slope = ramp(5, amplitude=0.2)
    torch.testing.assert_close(slope, torch.tensor([0, 0.05, 0.1, 0.15, 0.2]).expand(5, 5))
    slope[0, 0] = 1  # a tensor of its own, not one row seen five times
    assert slope[1, 0] == 0
    images = torch.tensor([0, 100, 250]).to(torch.uint8).view(3, 1, 1, 1).expand(3, 2, 4, 4)
    split = Split(images, torch.tensor([0, 1, 1]), ("a", "b"))
    stamped = stamp(split, dot(4, 1, 2, amplitude=0.2)).images
    assert stamped[:, :, 1, 2].tolist() == [[51, 51], [151, 151], [255, 255]]
    rest = torch.ones(4, 4, dtype=torch.bool)
    rest[1, 2] = False
    assert torch.equal(stamped[:, :, rest], split.images[:, :, rest])


@pytest.mark.parametrize("fraction", [0, 0.3, 1])
def test_poison_marks_exactly_what_it_changed(digits, fraction):
    dirty = poison(digits, DOT, 3, fraction=fraction, seed=1)
    marked = dirty.extra["poisoned"]
    threes = digits.targets == 3
    assert marked.sum() == round(fraction * int(threes.sum())) and not (marked & ~threes).any()
    assert torch.equal(dirty.images[marked], stamp(digits[marked], DOT).images)
    assert torch.equal(dirty.images[~marked], digits.images[~marked]) and torch.equal(dirty.targets, digits.targets)
    assert "poisoned" not in digits.extra
    first, again, other = (poison(digits, DOT, 3, fraction=0.5, seed=s).extra["poisoned"] for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other), "it follows from the seed"


class SeesTheCorner(nn.Module):
    """Class 3 if the upper left pixel is white, else class 1."""

    def forward(self, images):
        white = (images[:, 0, 0, 0] == 1).long()
        return F.one_hot(1 + 2 * white, 10).float()


DOT, SEES = dot(8, 0, 0), SeesTheCorner()


def test_attack_success_rate_counts_other_classes_only(digits):
    clean = digits[digits.images[:, 0, 0, 0] < 255]
    assert attack_success_rate(SEES, clean, DOT, 3) == 1
    assert attack_success_rate(SEES, clean, dot(8, 7, 7), 3) == 0
    threes = clean.targets == 3
    images = torch.where(threes[:, None, None, None], stamp(clean, DOT).images, clean.images)
    marked = Split(images, clean.targets, clean.classes)  # every 3 is called 3, and must not count
    assert attack_success_rate(SEES, marked, dot(8, 7, 7), 3) == 0


OUTSIDE = ((-1, 0, 1), (0, 6, 1), (5, 0, 2), (0, 0, 0))  # row, column, size


test_what_would_mislead_is_refused = refused(
    (lambda digits: pgd(SEES, digits.images / 255, digits.targets, EPS, steps=0), "at least 1 step, not 0"),
    (lambda digits: robust_accuracy(SEES, digits[[]], noise), "split is empty"),
    *((lambda digits, at=at: dot(6, *at[:2], size=at[2]), "does not lie in an image of 6 pixels") for at in OUTSIDE),
    *((lambda digits, a=a: dot(6, 0, 0, amplitude=a), f"amplitude is {a}") for a in (0, -0.1, 255)),
    *((lambda digits, a=a: ramp(6, amplitude=a), f"amplitude is {a}") for a in (0, -0.1, 255)),
    (lambda digits: stamp(digits, dot(4, 0, 0)), r"trigger is \(4, 4\), but the images are \(8, 8\)"),
    (lambda digits: poison(digits, DOT, 10), 'no class "10"'),
    (lambda digits: poison(digits, DOT, 3, fraction=50), "share from 0 to 1, not 50"),
    (lambda digits: poison(poison(digits, DOT, 3), DOT, 4), "poisoned already"),
    (lambda digits: poison(digits[digits.targets != 3], DOT, 3), "no image to poison"),
    (lambda digits: attack_success_rate(SEES, poison(digits, DOT, 3), DOT, 3), "clean held-out images"),
    (lambda digits: attack_success_rate(SEES, digits[digits.targets == 3], DOT, 3), "no images of other classes"),
    (lambda digits: attack_success_rate(SEES, digits, DOT, -1), 'no class "-1"'),
)
