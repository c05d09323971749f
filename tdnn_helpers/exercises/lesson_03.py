"""Exercises of lesson 3: shortcuts, backdoors and adversarial examples (paper, section II-E)."""

from __future__ import annotations

import math

import torch

from . import Exercise, checks_03


def linear_shifts():
    """Two changes of the output of a linear model."""
    inputs, weight, eps = 784, 0.02, 8 / 255
    attack = inputs * weight * eps  # every term has the same sign
    random = math.sqrt(inputs) * weight * eps  # independent signs: the variances add up
    return attack, random


def success_rate(answers, targets, target):
    """The attack success rate, in [0, 1].

    answers: int (N,), what the model says to each image with the trigger on it.
    targets: int (N,), the true classes. target: the class of the attacker.
    """
    others = targets != target
    return (answers[others] == target).float().mean()


def back_into_the_box(attacked, images, eps):
    """The attacked images, brought back to where an attacker may go.

    attacked, images: float N×C×H×W; the images are in [0, 1]. Each pixel of the result
    is at most eps from that of the image and in [0, 1], and as near to attacked as that allows.
    """
    low, high = (images - eps).clamp(0, 1), (images + eps).clamp(0, 1)
    return torch.minimum(torch.maximum(attacked, low), high)


def find_trigger(images, targets):
    """Where the trigger is: class, row and column, three int.

    images: uint8 N×1×H×W. In every image of one class, and of no other class in all
    images, one pixel is white (255). targets: int (N,), the classes, from 0.
    """
    white = (images[:, 0] == 255).float()
    share = torch.stack([white[targets == c].mean(0) for c in range(int(targets.max()) + 1)])
    others = torch.stack([torch.cat([share[:c], share[c + 1 :]]).amax(0) for c in range(len(share))])
    found = (share - others).argmax()  # white in all images of this class, and hardly in any other class
    return tuple(int(place) for place in torch.unravel_index(found, share.shape))


def threat_model():
    """An example: a classifier of traffic signs."""
    return {
        "shortcut": "all stop signs were photographed in one city; a test set from two other cities",
        "backdoor": "volunteers upload images; I cluster each class and look at the smaller cluster every month",
        "adversarial example": "stickers on real signs, so a patch and not a box of ±8/255; not tested yet",
    }


EXERCISES = (
    Exercise(
        "3.1",
        "predict the push of many small changes",
        checks_03.check_linear_shifts,
        (
            "The output is the sum of weight × input. How does one term change? How many terms are there?",
            "With FGSM all 784 changes have the same sign and add up. Random signs: 784 independent changes of size "
            "0.02 · 8/255, and the standard deviation of their sum grows with the square root of their number.",
        ),
        linear_shifts,
        value="(None, None)  # change under FGSM, standard deviation under random signs",
    ),
    Exercise(
        "3.2",
        "the attack success rate",
        checks_03.check_success_rate,
        (
            "An image of the target class that is called the target class is right, not fooled.",
            "Choose the rows with `targets != target` first; then take the share of them whose answer is `target`.",
        ),
        success_rate,
    ),
    Exercise(
        "3.3",
        "back into the box",
        checks_03.check_back_into_the_box,
        (
            "There are two boxes: ±eps around the *clean* image, and [0, 1]. The result must lie in both.",
            "`torch.minimum(torch.maximum(attacked, low), high)` clamps each pixel to bounds of its own.",
        ),
        back_into_the_box,
    ),
    Exercise(
        "3.4",
        "find the trigger in the data",
        checks_03.check_find_trigger,
        (
            "For each class and each pixel: in what share of the images is it white? The trigger has the share 1.",
            "A pixel may be white in all classes (a frame, a date). Compare its share with that of the other classes.",
        ),
        find_trigger,
    ),
    Exercise(
        "3.5",
        "a threat model of your own",
        checks_03.check_threat_model,
        (
            "Who gains if your network is wrong? Who could touch the training images, who the test images?",
            "An honest `not tested yet` is an answer. An attacker who can do anything is not a threat model.",
        ),
        threat_model,
        value="{\n" + "".join(f'    "{kind}": "",\n' for kind in checks_03.KINDS) + "}",
    ),
)
