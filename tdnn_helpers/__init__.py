"""Helpers of the course *Training Deep Networks from Zero to Hero*.

Import from the room that a name lives in, for example ``from tdnn_helpers.train import fit``.
The rooms, each of which imports only from those before it: session, files, unpacked, display, split, data,
blood_smear, augment, models, run, objectives, distributed, faults, checkpoint, train, fingerprint, store, compare,
effects, claims, features, pretrained, plots, checklist, widgets, exercises.
"""

__version__ = "0.1.0"
