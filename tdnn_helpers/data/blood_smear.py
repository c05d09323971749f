"""A procedural microscope: stained blood smears with an exact ground truth.

The running example of the paper: tell the kind of a white blood cell while a purple dye in the background may give the
answer away. Here the dye, the resolution and every cell are under your control, so each effect can be measured.

A picture is drawn the way light makes it. Every object absorbs, each stain has its own colour, and what is left of the
lamp's light reaches the sensor (the Beer-Lambert law). A cell is an ellipse, an ellipse is a quadratic form, and all
ellipses of a batch of scenes are evaluated with one matrix product.
"""

import math
import numbers
from typing import NamedTuple

import torch
import torch.nn.functional as F

from .split import Split, area_average

CLASSES = ("round nucleus", "lobed nucleus")

# Lengths are fractions of the side of the picture; the cell radii belong to cell_size = 1.
WHITE_RADIUS, RED_RADIUS, NUCLEUS_RADIUS = 0.25, 0.15, 0.15
BLOT_RADIUS = 0.075
EDGE = 0.02  # width of the soft edges: the optics, the same for every size of sensor
RED_CELLS = (6, 14)  # fewest and most red cells asked for
BLOTS = 4
TRIES = 12  # places tried for each red cell and each blotch
RENDER = 64  # smaller pictures are drawn at this size, then averaged down
TEXTURE = 28  # grid size of the random textures
BATCH = 16  # images drawn at once: few enough for the processor's cache

# Colours in 0-1: the empty slide, then white light after one unit of each stain.
SLIDE = (0.955, 0.905, 0.875)
STAINS = {
    "red cell": (0.86, 0.47, 0.47),
    "cytoplasm": (0.76, 0.80, 0.93),
    "nucleus": (0.36, 0.17, 0.50),
    "dye": (0.64, 0.36, 0.83),
}


class _Scene(NamedTuple):
    """What is on N slides. Lengths are fractions of the side, (0, 0) is the top left corner."""

    ellipses: torch.Tensor  # N×K×6 coefficients: the red cells, the white cell, three lobes, the blotches
    white_radius: torch.Tensor  # N
    lobe_radius: torch.Tensor  # N
    dye: torch.Tensor  # N bool
    stains: torch.Tensor  # N×4×3 optical densities
    lamp: torch.Tensor  # N×3 colour of the empty slide
    tilt: torch.Tensor  # N×2 how much brighter the lamp is on the right and at the bottom
    texture: torch.Tensor  # N×3×TEXTURE×TEXTURE


def make(
    n: int,
    *,
    size: int = 64,
    dye: float | None = 0.5,
    seed: int = 0,
    lobe_contrast: float = 0.7,
    noise: float = 0.05,
    cell_size: float = 0.7,
) -> Split:
    """Draw n blood smears. The target is the kind of the one white cell: 0 round nucleus, 1 lobed nucleus.

    The two classes are as equal in number as n allows. Both kinds of nucleus have the same area and the same colours,
    so that only the shape tells them apart. The same n and seed give the same scenes: `size` and `noise` only change
    the sensor, and `dye` only adds or removes blotches. Torch's global random state is not touched.

    Args:
        n: number of images, at least 2.
        size: pixels a side, 8 to 256.
        dye: probability that the dye in the background agrees with the label. It agrees if a lobed nucleus comes with
            dye, or a round one without. 0.5 tells nothing, 1.0 is a perfect shortcut, 0.0 is the same shortcut
            reversed. None: no image has any dye.
        seed: any integer.
        lobe_contrast: how far the three lobes stand apart, 0 (round as well) to 1 (almost separate).
        noise: standard deviation of the sensor's noise, as a fraction of full scale, 0 to 1.
        cell_size: magnification of all cells, 0.3 to 1. At 1 a white cell is half as wide as the picture.

    Returns:
        A Split with uint8 images n×3×size×size, int64 targets and these columns in `extra`:
        "dye" (bool): purple blotches were drawn; "red_cells" (int64): number of red cells, all with their centre inside
        the picture; "nucleus" (float32 n×2): x and y of the nucleus's centre of mass, in pixels of this size, where
        (0, 0) is the centre of the top left pixel; "nucleus_radius" (float32): radius in pixels of the disc that has
        the nucleus's area; "white_cell" (float32 n×2) and "white_radius" (float32): centre and mean radius of the whole
        white cell, in pixels too. The outlines wave a few percent around these radii. Splits made by `Split.resize`
        keep the old pixels: ask for another `size` here instead.

    Raises:
        ValueError: n below 2, or a setting outside its range.
    """
    if n < 2:
        raise ValueError(f"n is {n}, but both kinds of cell need an image: use n of at least 2.")
    if not isinstance(size, numbers.Integral) or not 8 <= size <= 256:
        raise ValueError(f"size is {size}, but it must be a whole number of pixels from 8 to 256.")
    if dye is not None:
        _check("dye", dye, 0, 1)
    _check("lobe_contrast", lobe_contrast, 0, 1)
    _check("noise", noise, 0, 1)
    _check("cell_size", cell_size, 0.3, 1)

    # One generator, and the scenes come before the noise: neither the size nor the noise can change a scene.
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randperm(n, generator=generator) % 2
    scene, extra = _scenes(targets, dye, lobe_contrast, cell_size, generator)
    batches = []
    for start in range(0, n, BATCH):
        images = _draw(_Scene(*(column[start : start + BATCH] for column in scene)), max(size, RENDER))
        if size < RENDER:
            images = area_average(images, size)
        images += noise * torch.randn(images.shape, generator=generator)
        batches.append((images.clamp(0, 1) * 255).round().to(torch.uint8))

    for name in ("nucleus", "white_cell"):
        extra[name] = extra[name] * size - 0.5
    for name in ("nucleus_radius", "white_radius"):
        extra[name] = extra[name] * size
    return Split(torch.cat(batches), targets, CLASSES, extra, name="blood smear")


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}, but it must lie between {low} and {high}.")


def _scenes(
    targets: torch.Tensor, dye: float | None, lobe_contrast: float, cell_size: float, generator: torch.Generator
) -> tuple[_Scene, dict[str, torch.Tensor]]:
    """Place everything on the slides. Each random number is drawn for every image, used or not: see `make`."""
    n = len(targets)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(n, *shape, generator=generator)

    def normal(scale: float, *shape: int) -> torch.Tensor:
        return scale * torch.randn(n, *shape, generator=generator)

    agrees = uniform(0, 1) < (0.5 if dye is None else dye)
    has_dye = (agrees == (targets == 1)) & (dye is not None)

    white_radius = WHITE_RADIUS * cell_size * uniform(0.92, 1.08)
    margin = 1.1 * white_radius[:, None]
    white = margin + (1 - 2 * margin) * uniform(0, 1, 2)
    white_radii = white_radius[:, None] * uniform(0.94, 1.06, 2)

    nucleus = white + 0.12 * white_radius[:, None] * uniform(-1, 1, 2)
    nucleus_radius = NUCLEUS_RADIUS * cell_size * uniform(0.9, 1.1)
    separation = 1.3 * lobe_contrast * (targets == 1)
    angles = uniform(0, 2 * math.pi, 1) + torch.tensor([-2.0, 0.0, 2.0]) + uniform(-0.25, 0.25, 3)
    lobes, lobe_radii = _lobes(separation[:, None] * uniform(0.92, 1.08, 3), angles, uniform(0.92, 1.08, 3))
    lobes = nucleus[:, None] + lobes * nucleus_radius[:, None, None]
    lobe_radii = lobe_radii * nucleus_radius[:, None]

    red_radii = RED_RADIUS * cell_size * uniform(0.9, 1.08, RED_CELLS[1], 1) * uniform(0.94, 1.06, RED_CELLS[1], 2)
    wanted = (RED_CELLS[0] + uniform(0, RED_CELLS[1] - RED_CELLS[0] + 1)).long()
    red, red_count = _place_red_cells(
        uniform(0.01, 0.99, RED_CELLS[1], TRIES, 2), wanted, RED_RADIUS * cell_size, white, white_radius
    )
    blots = _place_blots(uniform(0.05, 0.95, BLOTS, TRIES, 2), red, white, white_radius)
    blot_radii = BLOT_RADIUS * uniform(0.7, 1.25, BLOTS, 2)

    centres = torch.cat([red, white[:, None], lobes, blots], dim=1)
    radii = torch.cat([red_radii, white_radii[:, None], lobe_radii[..., None].expand(-1, -1, 2), blot_radii], dim=1)
    densities = -torch.tensor(list(STAINS.values())).log()
    scene = _Scene(
        ellipses=_quadratic(centres, radii, uniform(0, math.pi, centres.shape[1])),
        white_radius=white_radius,
        lobe_radius=lobe_radii.mean(dim=1),
        dye=has_dye,
        stains=densities * normal(0.12, 4, 1).exp() * normal(0.05, 4, 3).exp(),
        lamp=torch.tensor(SLIDE) * uniform(0.93, 1.04, 1) * normal(0.01, 3).exp(),
        tilt=uniform(-0.1, 0.1, 2),
        texture=normal(1, 3, TEXTURE, TEXTURE),
    )
    extra = {
        "dye": has_dye,
        "red_cells": red_count,
        "nucleus": nucleus,
        "nucleus_radius": nucleus_radius,
        "white_cell": white,
        "white_radius": white_radius,
    }
    return scene, extra


def _quadratic(centres: torch.Tensor, radii: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """N×K×6 coefficients of each ellipse in the terms of `_basis`: 1 in its centre, 0 on its outline, below 0 outside.

    centres and radii are N×K×2, angles N×K in radians.
    """
    cos, sin = angles.cos(), angles.sin()
    p, q = (radii**-2).unbind(-1)
    xx, xy, yy = p * cos**2 + q * sin**2, (p - q) * cos * sin, p * sin**2 + q * cos**2
    x, y = centres.unbind(-1)
    along_x, along_y = xx * x + xy * y, xy * x + yy * y
    return torch.stack([-xx, -2 * xy, -yy, 2 * along_x, 2 * along_y, 1 - along_x * x - along_y * y], dim=-1)


def _basis(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """6×P terms of a quadratic form at P points."""
    return torch.stack([x * x, x * y, y * y, x, y, torch.ones_like(x)])


def _nucleus_level(forms: torch.Tensor) -> torch.Tensor:
    """Melt three lobes into one nucleus. forms: N×3×... quadratic forms; result: above 0 inside, below outside."""
    return torch.logsumexp(3 * forms, dim=1) / 3


def _lobes(separation: torch.Tensor, angles: torch.Tensor, radii: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Three lobes (N×3 each) with the area of the unit disc and their centre of mass at 0: centres N×3×2, radii N×3.

    Without this a lobed nucleus would be larger than a round one, and the amount of purple would give the kind away.
    """
    centres = separation[..., None] * torch.stack([angles.cos(), angles.sin()], dim=-1)
    line = torch.linspace(-3.2, 3.2, 40)
    y, x = (axis.flatten() for axis in torch.meshgrid(line, line, indexing="ij"))
    forms = _quadratic(centres, radii[..., None].expand(-1, -1, 2), torch.zeros_like(radii)) @ _basis(x, y)
    inside = (2 * _nucleus_level(forms) + 0.5).clamp(0, 1)
    area = inside.sum(dim=1) * (line[1] - line[0]) ** 2
    middle = inside @ torch.stack([x, y], dim=1) / inside.sum(dim=1, keepdim=True)
    scale = (math.pi / area).sqrt()[:, None]
    return (centres - middle[:, None]) * scale[..., None], radii * scale


def _place_red_cells(
    candidates: torch.Tensor, wanted: torch.Tensor, radius: float, white: torch.Tensor, white_radius: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Throw darts: each red cell takes its first candidate (N×K×TRIES×2) that is not too close to another cell.

    Two red cells may overlap, but none hides another. A cell without a free place is left out. Returns the centres
    N×K×2, far outside the picture for cells that are not there, and the number of cells drawn, int64 N.
    """
    n, cells = candidates.shape[:2]
    away = 9.0
    red = torch.full((n, cells, 2), away)
    room_for_white = (candidates - white[:, None, None]).norm(dim=-1) - white_radius[:, None, None] - 0.75 * radius
    for k in range(cells):
        room = torch.cdist(candidates[:, k], red).amin(dim=-1) - 1.5 * radius
        free = (torch.minimum(room, room_for_white[:, k]) > 0) & (k < wanted)[:, None]
        first = free.int().argmax(dim=1)
        chosen = candidates[torch.arange(n), k, first]
        red[:, k] = torch.where(free.any(dim=1, keepdim=True), chosen, away)
    return red, (red[..., 0] < 1).sum(dim=1)


def _place_blots(
    candidates: torch.Tensor, red: torch.Tensor, white: torch.Tensor, white_radius: torch.Tensor
) -> torch.Tensor:
    """Centres N×BLOTS×2 of the dye: of each blotch's candidates (N×BLOTS×TRIES×2) the one farthest from all cells."""
    to_white = (candidates - white[:, None, None]).norm(dim=-1) - white_radius[:, None, None]
    to_red = torch.cdist(candidates.flatten(1, 2), red).amin(dim=-1).view_as(to_white)
    best = torch.minimum(to_white, to_red).argmax(dim=2)
    return candidates.gather(2, best[..., None, None].expand(-1, -1, 1, 2)).squeeze(2)


def _soft(distance: torch.Tensor) -> torch.Tensor:
    """Coverage, 0 to 1, from the distance to an outline (positive inside)."""
    return (0.5 + distance / EDGE).clamp(0, 1)


def _draw(scene: _Scene, size: int) -> torch.Tensor:
    """N×3×size×size, 0 to 1, without the sensor's noise."""
    n = len(scene.ellipses)
    line = (torch.arange(size) + 0.5) / size
    y, x = (axis.flatten() for axis in torch.meshgrid(line, line, indexing="ij"))
    red, white, lobes, blots = (scene.ellipses @ _basis(x, y)).split([RED_CELLS[1], 1, 3, BLOTS], dim=1)
    coarse = 4 * F.avg_pool2d(scene.texture[:, :1], 4, stride=2, padding=1)
    outline = F.interpolate(coarse, size=(size, size), mode="bicubic").flatten(1)
    chromatin, grain = F.interpolate(scene.texture[:, 1:], size=(size, size), mode="bicubic").flatten(2).unbind(dim=1)

    # The thickness of a red cell, rim and hollow: Evans and Fung, Microvascular Research 4 (1972).
    inside = red.clamp_min(1e-12)  # and not 0: the square root of an exact 0 is many times slower
    red_cells = (inside.sqrt() * (-1.123 * inside).add_(0.243).mul_(inside).add_(1.087)).sum(dim=1)

    # The texture also moves the outlines a little: nothing in a smear is a perfect ellipse.
    cell = _soft((1 - (1 - white[:, 0]).clamp_min(0).sqrt() + 0.05 * outline) * scene.white_radius[:, None])
    nucleus = _soft((_nucleus_level(lobes) + 0.08 * outline) * scene.lobe_radius[:, None] / 2) * cell
    cytoplasm = (cell - nucleus) * (0.8 + 0.1 * grain)
    splash = (1.2 - (1 - blots.amax(dim=1)).clamp_min(0).sqrt() + 0.3 * outline + 0.1 * grain) * BLOT_RADIUS
    dye = _soft(splash / 3) * (1 + 0.25 * grain) * (1 - cell) * scene.dye[:, None]

    thickness = torch.stack([red_cells * (1 - cell), cytoplasm, nucleus * (1 + 0.15 * chromatin), dye], dim=1)
    density = scene.stains.transpose(1, 2) @ thickness
    lamp = 1 + scene.tilt @ torch.stack([x - 0.5, y - 0.5]) - 0.15 * ((x - 0.5) ** 2 + (y - 0.5) ** 2)
    light = scene.lamp[..., None] * (lamp + 0.008 * grain)[:, None]
    return (light * (-density).exp()).view(n, 3, size, size)
