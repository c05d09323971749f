"""The checks of lesson 5's exercises: exact counts, PyTorch's own convolution and attention, and typical mistakes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..session import nearest
from .answers import NotYet, agrees, array, expect, filled, numbers, pair

UNIFORM = {
    "kernel 6, stride 4": False,
    "kernel 5, stride 5": True,
    "kernel 6, stride 3": True,
    "kernel 5, stride 2": False,
}
COUNTS = ("standard weights", "standard MACs", "separable weights", "separable MACs")


def check_counts(answer: Any) -> str:
    given = numbers(answer, *COUNTS)
    standard, separable, places = 9 * 32 * 64, 9 * 32 + 32 * 64, 14 * 14
    right = (standard, standard * places, separable, separable * places)
    mistakes = (
        (0, standard + 64, "there are no biases here."),
        (0, 9 * 64, "every output channel has a kernel for *each* of the 32 input channels."),
        (0, 3 * 32 * 64, "a 3×3 kernel has 9 weights, not 3."),
        (1, 2 * standard * places, "that counts two operations; a multiplication with its addition is one MAC."),
        (1, standard * 12 * 12, "the output has 14×14 places (the layer pads its input)."),
        (1, standard * 14, "the output has 14 × 14 places, not 14."),
        (2, 9 * 32, "add the 1×1 convolution, which mixes the channels."),
        (2, 9 * 32 * 32 * 64, "the two parts are added, not multiplied."),
        (2, 9 * 64 + 32 * 64, "the depthwise part comes first, so it has one kernel for each of the 32 *input* maps."),
        (3, separable * 2 * places, "a multiplication with its addition is one MAC."),
    )
    for place, (name, value, truth) in enumerate(zip(COUNTS, given, right, strict=True)):
        if value == truth:
            continue
        for trap_place, trap, sentence in mistakes:
            expect((place, value) != (trap_place, trap), f"{name}: {sentence}")
        raise NotYet(f"{name}: {value:,.0f} is not it; count the weights first, then the places that use each of them.")
    return f"Right: {standard / separable:.1f} times fewer weights and MACs. The clock may not agree."


def check_uniform(answer: Any) -> str:
    filled(answer, UNIFORM)
    by_parity = all(answer[case] == (int(case[7]) % 2 == 0) for case in UNIFORM)
    expect(not by_parity, "You went by even and odd kernel sizes; the stride decides as well.")
    agrees(answer, UNIFORM)
    return "Right: uniform exactly where the stride divides the kernel size."


def check_blur(answer: Any) -> str:
    maps = torch.randn(2, 3, 8, 6, generator=torch.Generator().manual_seed(0))
    mine = array(answer(maps.clone()))
    row = torch.tensor([1.0, 2.0, 1.0]) / 4

    def blurred(padding: str, sums_to: float = 1.0) -> torch.Tensor:
        blur = sums_to * (row[:, None] * row).expand(3, 1, 3, 3)
        options = {"value": 0.0} if padding == "constant" else {}
        return F.conv2d(F.pad(maps, (1, 1, 1, 1), mode=padding, **options), blur, groups=3)

    right = blurred("replicate")[..., ::2, ::2].numpy()
    expect(
        mine.shape != (2, 3, 8, 6),
        "The maps keep their size: after the blur, keep every second row and column only.",
    )
    expect(
        mine.shape != (2, 3, 3, 2),
        "The maps are one place too small: pad by one place on each side before the blur.",
    )
    expect(mine.shape == right.shape, f"For maps of 8×6 return 4×3 places, {right.shape}; yours is {mine.shape}.")
    traps = (
        (maps[..., ::2, ::2], "That only drops places; blur first."),
        (F.avg_pool2d(maps, 2), "That is average pooling over 2×2; the blur reaches over 3×3 with (1, 2, 1) / 4."),
        (blurred("replicate", 16.0)[..., ::2, ::2], "The weights of the blur must have sum 1: divide by 4 twice."),
        (blurred("replicate", 4.0)[..., ::2, ::2], "The weights of the blur must have sum 1: divide by 4 twice."),
        (blurred("constant")[..., ::2, ::2], "Inside it is right; at the edge pad with replicate, not with zeros."),
        (blurred("reflect")[..., ::2, ::2], "Inside it is right; at the edge pad with replicate, not with reflect."),
        (blurred("replicate")[..., 1::2, 1::2], "Keep the places 0, 2, 4, …; you keep 1, 3, 5, …"),
    )
    for trap, sentence in traps:
        expect(not np.allclose(mine, trap.numpy(), atol=1e-5), sentence)
    along_one = np.allclose(mine, F.conv2d(F.pad(maps, (1, 1, 0, 0), mode="replicate"), row.expand(3, 1, 1, 3),
                                           groups=3)[..., ::2, ::2].numpy(), atol=1e-5)  # fmt: skip
    expect(not along_one, "You blur along the rows only; blur in both directions.")
    expect(
        np.allclose(mine, right, atol=1e-5),
        f"The first place of the first map is {mine[0, 0, 0, 0]:.3f} and should be {right[0, 0, 0, 0]:.3f}: each place "
        "becomes a quarter of itself, an eighth of each direct neighbour, a sixteenth of each diagonal one.",
    )
    return "Right. Put it behind a maximum at every place and you have blur pooling, `POOLS['blur']`."


def check_causal(answer: Any) -> str:
    generator = torch.Generator().manual_seed(0)
    queries, keys, values = (torch.randn(5, d, generator=generator) for d in (16, 16, 3))
    output, weights = pair(answer(queries.clone(), keys.clone(), values.clone()), "parts, output and weights")
    output, weights = array(output), array(weights)
    expect(weights.shape == (5, 5), f"The weights are 5×5 for five items; yours have the shape {weights.shape}.")
    scores = queries @ keys.T
    scaled = scores / 4
    past = torch.ones(5, 5).tril().bool()

    def softmax(scores: torch.Tensor, seen: torch.Tensor = past) -> np.ndarray:
        return scores.masked_fill(~seen, -torch.inf).softmax(-1).numpy()

    right = softmax(scaled)
    expect(not np.isnan(weights).any(), "Some weights are NaN: the first item sees no one; it may see itself.")
    traps = (
        (scaled.softmax(-1).numpy(), "That is attention to all items; the future must have weight 0."),
        (
            (scaled.softmax(-1) * past).numpy(),
            "You hide the future after the softmax, so the rows no longer have sum 1: change the scores before it.",
        ),
        ((scaled * past).softmax(-1).numpy(), "A score of 0 still gets a weight; it must be minus infinity."),
        (softmax(scores), "Divide the scores by √d, d the numbers in a query."),
        (softmax(scaled, past.T), "That hides the past and shows the future: take the other triangle."),
        (
            scaled.masked_fill(~past, -torch.inf).softmax(0).numpy(),
            "Each column has sum 1; the softmax must run along the rows.",
        ),
    )
    for trap, sentence in traps:
        expect(not np.allclose(weights, trap, atol=1e-5), sentence)
    expect(
        np.allclose(weights, right, atol=1e-5),
        f"The weights of the second item are {np.round(weights[1], 2).tolist()} and should be "
        f"{np.round(right[1], 2).tolist()}.",
    )
    truth = F.scaled_dot_product_attention(queries, keys, values, is_causal=True).numpy()
    expect(
        output.shape == truth.shape and np.allclose(output, truth, atol=1e-5),
        "The weights are right; the output is `weights @ values`.",
    )
    return (
        "It agrees with `F.scaled_dot_product_attention(…, is_causal=True)`. This mask is what makes a language model."
    )


def check_measured(answer: Any) -> str:
    filled(answer, ("networks", "seconds", "validation", "chosen"))
    names = list(answer["networks"])
    seconds, accuracy = array(answer["seconds"]).flatten(), array(answer["validation"]).flatten()
    expect(
        len(names) == len(seconds) == len(accuracy),
        f"{len(names)} networks need as many seconds and accuracies; you gave {len(seconds)} and {len(accuracy)}.",
    )
    expect(len(names) >= 3, "Measure at least three networks.")
    expect(bool((seconds > 0).all() and np.isfinite(accuracy).all()), "Seconds are above 0, accuracies finite numbers.")
    chosen = answer["chosen"]
    expect(chosen in names, f'"{chosen}" is none of your networks.{nearest(str(chosen), names)}')
    mine = names.index(chosen)
    for name, time, score in zip(names, seconds, accuracy, strict=True):
        no_worse = time <= seconds[mine] and score >= accuracy[mine]
        better = no_worse and (time < seconds[mine] or score > accuracy[mine])
        expect(
            not better, f'"{name}" is at least as fast as "{chosen}" and at least as accurate, and wins one of them.'
        )
    return "No other network of yours beats it in both. Which of such networks to take, your project must say."
