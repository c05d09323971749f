"""Images in memory, where they come from, and edits that give new ones."""

from . import blood_smear
from .augment import brightness_contrast, chain, colour, crop, flip, noise, shift
from .imbalance import class_weights, imbalanced, resampled
from .sets import load, read_image
from .shipped import read_emoji
from .split import Split
