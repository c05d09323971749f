"""The figures of the page, each with its alternative text and a line that says how to read it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from ...figures.cards import Picture
from ...figures.display import png
from ...figures.plots import show_images
from ...session import set_figure_style
from .duplicates import Copies
from .images import Folder
from .label_errors import Judgement

SHOWN = 12


def _drawn(draw: Callable[..., tuple[Figure, str, str]]) -> Callable[..., Picture]:
    """A function that returns (figure, alternative text, caption) becomes one that returns the finished picture."""

    @wraps(draw)
    def picture(*given) -> Picture:
        with plt.rc_context():
            set_figure_style()
            figure, alt, caption = draw(*given)
            drawn = png(figure, colours=256)
        plt.close(figure)
        return Picture(drawn, alt, caption)

    return picture


@_drawn
def draw_overview(folder: Folder, history) -> tuple[Figure, str, str]:
    """How many images each class has in each part, and how the brief training went."""
    parts, known = folder.parts or ("",), folder.pool.classes
    rows = None if history is None else history.frame()
    height = min(5.0, 0.8 + 0.1 * len(known) * (1 + len(parts)))
    figure, axes = plt.subplots(
        1, 1 if rows is None else 2, figsize=(5.0, max(1.9, height)), squeeze=False, layout="constrained"
    )
    axis, thick = axes[0, 0], 0.8 / len(parts)
    for number, part in enumerate(parts):
        counts = list(folder.pool[folder.of(part)].counts().values())
        places = [i + number * thick for i in range(len(known))]
        axis.barh(places, counts, height=0.9 * thick, label=part, hatch=("", "//", "..")[number], edgecolor="white")
    axis.set(yticks=[i + 0.4 - thick / 2 for i in range(len(known))], xlabel="images")
    axis.set_yticklabels([_short(name, 18) for name in known], fontsize=8 if len(known) <= 20 else 5)
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    if len(parts) > 1:
        axis.legend()
    trained = ""
    if rows is not None and (rows["split"] == "val").any():  # not if it diverged at once
        for style, split in (("-", "train"), ("--", "val")):
            curve = rows[(rows["split"] == split) & (rows["metric"] == "accuracy")]
            axes[0, 1].plot(curve["step"], 100 * curve["value"], style, label=split)
        axes[0, 1].set(xlabel="training step", ylabel="accuracy (%)", ylim=(0, 102))
        axes[0, 1].legend()
        last = curve["value"].iloc[-1]
        trained = f" Right: the brief training ends at {100 * last:.0f} % validation accuracy."
    most = max(folder.pool.counts().items(), key=lambda item: item[1])
    alt = f"Bars: images of each of {len(known)} classes, {most[1]} of {most[0]} at most.{trained}"
    return figure, alt, f"Left: images of each class.{trained}" if trained else "Images of each class."


@_drawn
def draw_suspects(folder: Folder, found: Judgement) -> tuple[Figure, str, str]:
    """The labels with the largest out-of-fold loss."""
    chosen = found.suspects[:SHOWN]
    classes = folder.pool.classes
    titles = [
        f"{_short(classes[folder.pool.targets[i]])}\n→ {_short(classes[int(found.answers[i].argmax())])}"
        for i in chosen
    ]
    figure = show_images(folder.pool.images[chosen], titles, columns=6, size=0.85)
    alt = f"{len(chosen)} images whose label a judge contradicts most, each with its label and what the judge says."
    return figure, alt, "Labels to look at first: the label, then (→) what the judge says."


@_drawn
def draw_copies(folder: Folder, found: Copies) -> tuple[Figure, str, str]:
    """Copies, one above the other."""
    shown = torch.cat([found.near, found.exact])[: SHOWN // 2]
    images = torch.cat([folder.pool.images[shown[:, 0]], folder.pool.images[shown[:, 1]]])
    titles = [_short(folder.facts[i].name.rpartition("/")[2], 13) for i in shown.T.flatten().tolist()]
    figure = show_images(images, titles, columns=len(shown), size=0.9)
    alt = f"{len(shown)} pairs of images, one above the other, that were taken for copies of one picture."
    return figure, alt, "Copies: below each picture the one that was taken for its copy."


@_drawn
def draw_shortcut(folder: Folder, gain: torch.Tensor, name: str) -> tuple[Figure, str, str]:
    """How much each cell of the picture alone tells about one class, beside the mean picture of that class."""
    known = folder.pool.classes
    own = folder.pool.images[folder.pool.targets == known.index(name)].float().mean(0) / 255
    figure, axes = plt.subplots(1, 2, figsize=(4.6, 2.1), layout="constrained")
    axes[0].imshow(own.permute(1, 2, 0).numpy())
    axes[0].set_title(f"mean of {_short(name, 18)}", fontsize=9)
    drawn = axes[1].imshow(gain.numpy(), cmap="cividis", vmin=0, vmax=1)
    axes[1].set_title("gain of each cell alone", fontsize=9)
    figure.colorbar(drawn, ax=axes[1], label="0 guesses, 1 perfect")
    for axis in axes:
        axis.set(xticks=[], yticks=[])
        axis.grid(visible=False)
    row, column = divmod(int(gain.argmax()), gain.shape[1])
    alt = (
        f"Left the mean image of {name}; right an 8×8 map of how well each cell alone recognises it, highest "
        f"({float(gain.max()):.2f}) in row {row + 1}, column {column + 1}."
    )
    caption = f"Where the label can be read off: the mean picture of {name}, and what each cell alone tells about it."
    return figure, alt, caption


def _short(text: str, most: int = 14) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
