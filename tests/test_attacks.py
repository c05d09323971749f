"""Attacks against naive loops and a closed form; triggers and poisoned splits against what they promise."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tdnn_helpers.data.sets import load
from tdnn_helpers.data.split import Split
from tdnn_helpers.methods.attacks import (
    adversarial,
    attack_success_rate,
    dot,
    fgsm,
    noise,
    pgd,
    poison,
    ramp,
    robust_accuracy,
    stamp,
)
from tdnn_helpers.models.networks import mlp, small_cnn
from tdnn_helpers.train.loop import evaluate, fit
from tdnn_helpers.train.objectives import Batch, classification

EPS = 8 / 255


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def trained(digits):
    torch.manual_seed(0)
    model = small_cnn(digits, width=4)
    fit(model, digits, steps=100, seed=0, device="cpu")
    return model


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


def linear(weights):
    model = nn.Sequential(nn.Flatten(), nn.Linear(len(weights), 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.stack([torch.zeros(len(weights)), torch.tensor(weights)]))
        model[1].bias.zero_()
    return model


@pytest.mark.parametrize("attack", [fgsm, pgd])
def test_a_linear_model_loses_eps_times_the_l1_norm(attack):
    """The margin w·x of a linear model falls by exactly eps · |w|₁, the most that any change within ±eps can do."""
    weights = [0.5, -2.0, 1.0, 0.25]
    model, images = linear(weights), torch.full((2, 1, 2, 2), 0.5)
    attacked = attack(model, images, torch.tensor([1, 1]), 0.1)
    margin = (model(images) - model(attacked))[:, 1]
    torch.testing.assert_close(margin, torch.full((2,), 0.1 * 3.75))


@pytest.mark.parametrize("attack", [fgsm, pgd, noise])
@pytest.mark.parametrize("eps", [0, EPS, 0.5])
def test_attacks_stay_in_the_box_and_leave_the_model_alone(attack, eps, trained, batch):
    images, targets = batch
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    given = images.clone()
    trained.train()
    attacked = attack(trained, images, targets, eps)
    assert trained.training and all(module.training for module in trained.modules())
    assert not attacked.requires_grad and torch.equal(images, given) and attacked.shape == images.shape
    assert 0 <= attacked.min() and attacked.max() <= 1
    assert (attacked - images).abs().max() <= eps + 1e-6
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())


def test_a_frozen_part_stays_frozen(trained, batch):
    trained.train()
    trained[3].eval()
    fgsm(trained, *batch, EPS)
    assert trained.training and not trained[3].training
    trained.train()


def test_attacks_work_in_eval_mode_whatever_the_mode(trained, batch):
    trained.eval()
    calm = fgsm(trained, *batch, EPS)
    trained.train()
    assert torch.equal(calm, fgsm(trained, *batch, EPS))
    one_by_one = torch.cat([fgsm(trained, image[None], target[None], EPS) for image, target in zip(*batch)])
    assert torch.equal(calm, one_by_one)  # no image depends on the others of its batch


def test_no_gradient_reaches_the_weights(digits, batch):
    model = mlp(digits)
    pgd(model, *batch, EPS, steps=2)
    assert all(parameter.grad is None for parameter in model.parameters())


def naive_pgd(model, images, targets, eps, steps, generator):
    start = torch.rand(images.shape, generator=generator)
    results = []
    for image, target, u in zip(images, targets, start, strict=True):
        low, high = (image - eps).clamp(min=0), (image + eps).clamp(max=1)
        x = low + u * (high - low)
        for _ in range(steps):
            x.requires_grad_(True)
            F.cross_entropy(model(x[None]), target[None]).backward()
            x = (x + 2.5 * eps / steps * x.grad.sign()).detach()
            x = torch.minimum(torch.maximum(x, low), high)
        results.append(x)
    return torch.stack(results)


def test_pgd_against_one_image_at_a_time(trained, batch):
    images, targets = batch[0][:6], batch[1][:6]
    trained.eval()
    got = pgd(trained, images, targets, EPS, 3, torch.Generator().manual_seed(1))
    torch.testing.assert_close(got, naive_pgd(trained, images, targets, EPS, 3, torch.Generator().manual_seed(1)))


def test_attacks_hurt_more_than_noise_and_pgd_no_less_than_fgsm(trained, digits):
    part, eps = digits.take(400, seed=1), 0.1
    clean = evaluate(trained, part, device="cpu")["accuracy"]
    by_noise, by_fgsm, by_pgd = (robust_accuracy(trained, part, partial(one, eps=eps)) for one in (noise, fgsm, pgd))
    assert clean > 0.8
    assert by_pgd <= by_fgsm + 0.01 and by_fgsm < by_noise - 0.2


def test_noise_moves_every_pixel_by_eps_in_both_directions(trained):
    images = torch.full((5, 1, 8, 8), 0.5)
    moved = noise(trained, images, torch.zeros(5, dtype=torch.int64), 0.25, torch.Generator().manual_seed(0)) - images
    torch.testing.assert_close(moved.abs(), torch.full_like(moved, 0.25))
    assert 0.35 < (moved > 0).float().mean() < 0.65


def test_robust_accuracy_counts_each_image_once(trained, digits):
    part = digits.take(50, seed=2)
    nothing = lambda model, images, targets: images  # noqa: E731
    for size in (7, 50, 512):
        assert robust_accuracy(trained, part, nothing, batch_size=size) == pytest.approx(
            evaluate(trained, part, device="cpu")["accuracy"]
        )


def test_adversarial_objective_is_the_loss_of_the_attacked_batch(trained, batch):
    trained.eval()
    images, targets = batch
    given = Batch(images, targets, torch.arange(len(images)), 10)
    loss, metrics = adversarial(partial(fgsm, eps=EPS))(trained, given)
    expected, expected_metrics = classification(trained, given._replace(images=fgsm(trained, images, targets, EPS)))
    assert loss.item() == expected.item() > classification(trained, given)[0].item()
    assert metrics["accuracy"] == expected_metrics["accuracy"]


def test_adversarial_training_and_validation_run_in_the_loop(digits):
    model = small_cnn(digits, width=4)
    objective = adversarial(partial(pgd, eps=EPS, steps=1))
    part = digits.take(100, seed=0)
    history = fit(model, part, val=part, steps=2, objective=objective, seed=0, device="cpu")
    assert {row[1] for row in history.rows} == {"train", "val"}


@pytest.mark.parametrize("attack", [fgsm, pgd, noise])
def test_attacks_refuse_images_outside_the_unit_box(attack, trained, batch):
    images, targets = batch
    with pytest.raises(ValueError, match=r"go from -?[\d.]+ to .*normalise inside the model"):
        attack(trained, (images - 0.5) / 0.5, targets, EPS)
    with pytest.raises(ValueError, match="divide by 255"):
        attack(trained, images * 255, targets, EPS)
    with pytest.raises(ValueError, match="eps is 8, .*write 8 / 255"):
        attack(trained, images, targets, 8)


def test_other_bad_input(trained, digits, batch):
    with pytest.raises(ValueError, match="at least 1 step, not 0"):
        pgd(trained, *batch, EPS, steps=0)
    with pytest.raises(ValueError, match="split is empty"):
        robust_accuracy(trained, digits[[]], noise)


# --- triggers --------------------------------------------------------------------------------------------------------


def test_dot_and_ramp():
    assert dot(6, 0, 5).nonzero().tolist() == [[0, 5]] and dot(6, 0, 5).max() == 1
    assert dot(6, 2, 3, size=2, amplitude=0.5).nonzero().tolist() == [[2, 3], [2, 4], [3, 3], [3, 4]]
    slope = ramp(5, amplitude=0.2)
    torch.testing.assert_close(slope, torch.tensor([0, 0.05, 0.1, 0.15, 0.2]).expand(5, 5))
    slope[0, 0] = 1  # a tensor of its own, not one row seen five times
    assert slope[1, 0] == 0


@pytest.mark.parametrize("row, column, size", [(-1, 0, 1), (0, 6, 1), (5, 0, 2), (0, 0, 0)])
def test_dot_must_lie_inside(row, column, size):
    with pytest.raises(ValueError, match="does not lie in an image of 6 pixels"):
        dot(6, row, column, size=size)


@pytest.mark.parametrize("amplitude", [0, -0.1, 255])
def test_amplitude_is_a_fraction(amplitude):
    for trigger in (partial(dot, 6, 0, 0), partial(ramp, 6)):
        with pytest.raises(ValueError, match=f"amplitude is {amplitude}"):
            trigger(amplitude=amplitude)


def test_stamp_adds_and_cuts_off_at_white():
    images = torch.tensor([0, 100, 250]).to(torch.uint8).view(3, 1, 1, 1).expand(3, 2, 4, 4)
    split = Split(images, torch.tensor([0, 1, 1]), ("a", "b"))
    stamped = stamp(split, dot(4, 1, 2, amplitude=0.2)).images
    assert stamped[:, :, 1, 2].tolist() == [[51, 51], [151, 151], [255, 255]]
    rest = torch.ones(4, 4, dtype=torch.bool)
    rest[1, 2] = False
    assert torch.equal(stamped[:, :, rest], split.images[:, :, rest])
    with pytest.raises(ValueError, match=r"trigger is \(8, 8\), but the images are \(4, 4\)"):
        stamp(split, dot(8, 0, 0))


@pytest.mark.parametrize("fraction", [0, 0.3, 1])
def test_poison_marks_exactly_what_it_changed(digits, fraction):
    trigger = dot(8, 0, 0)
    dirty = poison(digits, trigger, 3, fraction=fraction, seed=1)
    marked = dirty.extra["poisoned"]
    threes = digits.targets == 3
    assert marked.sum() == round(fraction * int(threes.sum())) and not (marked & ~threes).any()
    assert torch.equal(dirty.images[marked], stamp(digits[marked], trigger).images)
    assert torch.equal(dirty.images[~marked], digits.images[~marked]) and torch.equal(dirty.targets, digits.targets)
    assert "poisoned" not in digits.extra


def test_poison_follows_from_the_seed(digits):
    first, again, other = (poison(digits, dot(8, 0, 0), 3, fraction=0.5, seed=s).extra["poisoned"] for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_poison_refuses_bad_input(digits):
    trigger = dot(8, 0, 0)
    with pytest.raises(ValueError, match='no class "10"'):
        poison(digits, trigger, 10)
    with pytest.raises(ValueError, match="share from 0 to 1, not 50"):
        poison(digits, trigger, 3, fraction=50)
    with pytest.raises(ValueError, match="poisoned already"):
        poison(poison(digits, trigger, 3), trigger, 4)
    with pytest.raises(ValueError, match="no image to poison"):
        poison(digits[digits.targets != 3], trigger, 3)


class SeesTheCorner(nn.Module):
    """Class 3 if the upper left pixel is white, else class 1."""

    def forward(self, images):
        white = (images[:, 0, 0, 0] == 1).long()
        return F.one_hot(1 + 2 * white, 10).float()


def test_attack_success_rate_counts_other_classes_only(digits):
    clean, model = digits[digits.images[:, 0, 0, 0] < 255], SeesTheCorner()
    assert attack_success_rate(model, clean, dot(8, 0, 0), 3) == 1
    assert attack_success_rate(model, clean, dot(8, 7, 7), 3) == 0
    threes = clean.targets == 3
    images = torch.where(threes[:, None, None, None], stamp(clean, dot(8, 0, 0)).images, clean.images)
    marked = Split(images, clean.targets, clean.classes)  # every 3 is called 3, and must not count
    assert attack_success_rate(model, marked, dot(8, 7, 7), 3) == 0


def test_attack_success_rate_refuses_what_would_mislead(digits):
    model, trigger = SeesTheCorner(), dot(8, 0, 0)
    with pytest.raises(ValueError, match="clean held-out images"):
        attack_success_rate(model, poison(digits, trigger, 3), trigger, 3)
    with pytest.raises(ValueError, match="no images of other classes"):
        attack_success_rate(model, digits[digits.targets == 3], trigger, 3)
    with pytest.raises(ValueError, match='no class "-1"'):
        attack_success_rate(model, digits, trigger, -1)
