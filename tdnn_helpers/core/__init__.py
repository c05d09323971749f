"""What every wing stands on: choices, device, random numbers, places, progress bars."""

from .choices import check_known, nearest
from .device import pick_device, pick_precision
from .places import data_dir, runs_dir
from .randomness import random_stream, seed_everything, untouched_random_state
