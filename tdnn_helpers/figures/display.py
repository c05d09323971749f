"""What a notebook shows: a figure as a PNG that carries its alternative text, and prose made from the run's numbers."""

from __future__ import annotations

import base64
import io
import re
from typing import TYPE_CHECKING

from IPython.display import display

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100  # sharp enough on a page
COLOURS = 64  # no reader sees the difference, and all figures of a lesson stay below half a megabyte
MINUS = re.compile(r"`[^`]*`|(?<![^\s(\[])-(?=\d)")  # code, which stays as it is, or the sign of a number


def png(fig: Figure, colours: int = COLOURS) -> bytes:
    """The figure as PNG bytes with a palette of so many colours (256 at most; photographs want them), cropped to what
    is drawn, on opaque white (for dark pages too)."""
    from PIL import Image

    drawn, reduced = io.BytesIO(), io.BytesIO()
    fig.savefig(drawn, format="png", dpi=DPI, bbox_inches="tight", facecolor="white", transparent=False)
    # Maximum coverage keeps the rare colours: median cut would merge those of two thin lines.
    coverage, no_dither = Image.Quantize.MAXCOVERAGE, Image.Dither.NONE
    palette = Image.open(drawn).convert("RGB").quantize(colours, coverage, kmeans=1, dither=no_dither)
    palette.save(reduced, "PNG", optimize=True)
    return reduced.getvalue()


def show_png(data: bytes, alt: str) -> None:
    """Display PNG bytes. ``alt`` says in words what the picture shows; it is stored in the output's metadata.

    Raises ValueError if ``alt`` is empty.
    """
    if not alt.strip():
        raise ValueError("A figure needs an alternative text: say in one sentence what a reader sees in it.")
    bundle = {"image/png": base64.b64encode(data).decode("ascii"), "text/plain": alt}
    display(bundle, metadata={"image/png": {"alt": alt}}, raw=True)


def show(fig: Figure, alt: str = "") -> None:
    """Display a figure with its alternative text and close it, so that no notebook draws it a second time.

    ``alt``: what a reader sees in it, in a sentence. The functions of this wing that draw a comparison write one, with
    its numbers, as the figure's label; it is taken where none is given. ValueError if there is none at all.
    """
    import matplotlib.pyplot as plt

    show_png(png(fig), alt or fig.get_label())
    plt.close(fig)


def say(markdown: str) -> None:
    """Display Markdown. Use it for sentences whose numbers come from this run; a number's hyphen becomes a minus."""
    markdown = MINUS.sub(lambda found: "−" if found[0] == "-" else found[0], markdown)
    display({"text/markdown": markdown, "text/plain": markdown}, raw=True)
