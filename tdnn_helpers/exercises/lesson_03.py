"""Exercises of lesson 3: shortcuts, backdoors and adversarial examples (paper, section II-E)."""

from __future__ import annotations

import math

import numpy as np
import torch

from .blocks import exercise


@exercise(
    "3.1 predict the push of many small changes",
    value="(None, None)  # change under FGSM, standard deviation under random signs",
    hint="The output is the sum of weight × input. How does one term change? How many terms are there?",
    hint2="With FGSM all 784 changes have the same sign and add up. Random signs: 784 independent changes of size "
    "0.02 · 8/255, and the standard deviation of their sum grows with the square root of their number.",
    within=0.03,
    read=abs,  # up or down, both are a push
    right="The same size for every pixel, 0.49 against 0.018: the direction alone makes the attack √784 = 28 times "
    "stronger than noise. In a larger image the factor is larger.",
)
def linear_shifts():
    """Two changes of the output of a linear model."""
    inputs, weight, eps = 784, 0.02, 8 / 255
    attack = inputs * weight * eps  # every term has the same sign
    random = math.sqrt(inputs) * weight * eps  # independent signs: the variances add up
    return attack, random


STEP = 0.02 * 8 / 255
TERMS = "each of the 784 terms changes by 0.02 · 8/255, up or down."
linear_shifts.part(
    "change under FGSM",
    TERMS,
    (28 * STEP, "you took the square root; under FGSM all 784 changes have the same sign and add up."),
    (STEP, "that is the change of one term; there are 784."),
    (784 * 0.02 * 8, "eps is 8/255 on the [0, 1] scale, not 8."),
    (784 * 8 / 255, "each change is multiplied by its weight, 0.02."),
)
linear_shifts.part(
    "standard deviation under random signs",
    TERMS,
    (0.0, "the *mean* change is 0; the standard deviation is not."),
    (784 * STEP, "random signs cancel; variances add up, so take the square root of 784."),
    (784 * STEP**2, "that is the variance; the standard deviation is its square root."),
    (STEP, "that is one term; the variances of 784 independent terms add up."),
)


def answers_and_targets():
    random = np.random.default_rng(0)
    for target, fooled in ((2, 0.5), (0, 0.9), (3, 0.0)):
        targets = random.permutation(np.repeat(np.arange(4), (30, 20, 40, 10)))
        answers = np.where(random.random(100) < fooled, target, targets)
        if fooled == 0.0:
            answers[:20] = (targets[:20] + 1) % 4  # mistakes that have nothing to do with the trigger
        yield torch.from_numpy(answers), torch.from_numpy(targets), target


@exercise(
    "3.2 the attack success rate",
    hint="An image of the target class that is called the target class is right, not fooled.",
    hint2="Choose the rows with `targets != target` first; then take the share of them whose answer is `target`.",
    cases=answers_and_targets,
    otherwise="it is the share of the images of other classes that are called the target.",
    right="Only images of other classes count: the rate of a model that nobody attacked is then its ordinary "
    "confusion.",
)
def success_rate(answers, targets, target):
    """The attack success rate, in [0, 1].

    answers: int (N,), what the model says to each image with the trigger on it.
    targets: int (N,), the true classes. target: the class of the attacker.
    """
    others = targets != target
    return (answers[others] == target).float().mean()


success_rate.mistakes(
    (lambda a, t, k: (a == k).float().mean(), "images that are of the target class anyway count; leave them out."),
    (lambda a, t, k: (a[t != k] == k).sum() / len(a), "you divide by all images; divide by those of other classes."),
    (lambda a, t, k: (a[t != k] != t[t != k]).float().mean(), "count the target class only."),
    (lambda a, t, k: (a[t == k] == k).float().mean(), "that is the recall of the target class itself."),
    (lambda a, t, k: 1 - success_rate(a, t, k), "that is the share of images that resist."),
    (lambda a, t, k: 100 * success_rate(a, t, k), "give a share from 0 to 1, not per cent."),
    (lambda a, t, k: (a[t != k] == k).sum(), "that is a count; divide it by the number of images of other classes."),
)


def images_to_attack():
    random = np.random.default_rng(0)
    images = random.random((5, 2, 6, 6)).astype(np.float32)
    images[0], images[1] = 0.0, 1.0
    attacked = images + random.normal(0, 0.2, images.shape).astype(np.float32)
    yield torch.from_numpy(attacked), torch.from_numpy(images), 0.1


@exercise(
    "3.3 back into the box",
    hint="There are two boxes: ±eps around the *clean* image, and [0, 1]. The result must lie in both.",
    hint2="`torch.minimum(torch.maximum(attacked, low), high)` clamps each pixel to bounds of its own.",
    cases=images_to_attack,
    within=1e-5,
    otherwise="a pixel outside the boxes moves to its edge, the nearest allowed place, and the others stay.",
    right="Each pixel is as near to the attacked one as the two boxes allow: that is a projection.",
)
def back_into_the_box(attacked, images, eps):
    """The attacked images, brought back to where an attacker may go.

    attacked, images: float N×C×H×W; the images are in [0, 1]. Each pixel of the result
    is at most eps from that of the image and in [0, 1], and as near to attacked as that allows.
    """
    low, high = (images - eps).clamp(0, 1), (images + eps).clamp(0, 1)
    return torch.minimum(torch.maximum(attacked, low), high)


back_into_the_box.mistakes(
    (lambda a, x, e: a.clamp(0, 1), "In [0, 1], but further than eps from the clean image: there are two boxes."),
    (lambda a, x, e: x + (a - x).clamp(-e, e), "Within ±eps, but also keep the pixels in [0, 1]."),
    (lambda a, x, e: a.clamp(-e, e), "A pixel may be at most eps *from the clean image*; you keep it near 0."),
    (lambda a, x, e: x, "That is the clean image; return the nearest allowed place, not the middle of the box."),
)


def marked_images():
    """Images with a trigger, and with two decoys: (5, 1) is white in every image, (2, 6) often in another class."""
    for seed, (target, row, column) in enumerate(((1, 0, 4), (2, 7, 7), (0, 3, 2))):
        random = torch.Generator().manual_seed(seed)
        images = torch.randint(0, 250, (60, 1, 8, 8), generator=random)
        targets = torch.randperm(60, generator=random) % 3
        images[:, 0, 5, 1] = 255
        often = torch.rand(60, generator=random) < 0.9
        images[often & (targets == (target + 1) % 3), 0, 2, 6] = 255
        images[targets == target, 0, row, column] = 255
        yield images.to(torch.uint8), targets


@exercise(
    "3.4 find the trigger in the data",
    hint="For each class and each pixel: in what share of the images is it white? The trigger has the share 1.",
    hint2="A pixel may be white in all classes (a frame, a date). Compare its share with that of the other classes.",
    cases=marked_images,
    returns="class_index, row, column",
    otherwise="class, row and column of the pixel that is white in each image of one class, and of no other class.",
    right="A trigger that is in all images of a class shows in the data, without any network. A faint one would not.",
)
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


def most_often_white(images, targets):
    share = torch.stack([(images[targets == c, 0] == 255).float().mean(0) for c in range(3)])
    return tuple(int(place) for place in torch.unravel_index(share.argmax(), share.shape))


find_trigger.mistakes(
    (most_often_white, "that pixel is white in every image of *every* class; compare classes."),
    (lambda x, t: [find_trigger(x, t)[n] for n in (0, 2, 1)], "row and column are exchanged: N×C×rows×columns."),
    *((lambda x, t, c=c: (c, *find_trigger(x, t)[1:]), "the place is right, but its class is not.") for c in range(3)),
    (lambda x, t: (find_trigger(x, t)[0], 6, 6), "the class is right, but its trigger is at another place."),
)


@exercise(
    "3.5 a threat model of your own",
    hint="Who gains if your network is wrong? Who could touch the training images, who the test images?",
    hint2="An honest `not tested yet` is an answer. An attacker who can do anything is not a threat model.",
    points={
        "shortcut": "name one thing that goes with your label by accident, "
        "and how you would get test images without it.",
        "backdoor": "name who can change training images or labels, and how you would notice.",
        "adversarial example": "say what an attacker may change in a test image, and by how much.",
    },
)
def threat_model():
    """An example: a classifier of traffic signs."""
    return {
        "shortcut": "all stop signs were photographed in one city; a test set from two other cities",
        "backdoor": "volunteers upload images; I cluster each class and look at the smaller cluster every month",
        "adversarial example": "stickers on real signs, so a patch and not a box of ±8/255; not tested yet",
    }
