"""What is examined: private copies of the model, samples of the data, and measurements that several points share."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import nn

from ..core.device import pick_device
from ..data.split import Split
from ..evidence.effects import wilson
from ..measures.embedding import features
from ..train.batches import to_unit
from ..train.loop import predict
from ..train.objectives import Batch, Objective

TRAIN_SAMPLE, VAL_SAMPLE = 5000, 2000  # images that are looked at closely; duplicates and counts use all of them
FEW = 2000  # training images that pass through the network where that is enough
PROBE_SIDE = 32  # the simple probes see images of at most this many pixels a side


@dataclass
class Case:
    """One examination. ``model`` is a private copy; ``train`` and ``val`` are whole, ``sample`` and ``val_sample`` not.
    ``history`` is a History, a tidy frame, or a mapping such as ``{"train loss": [...], "val loss": [...]}``."""

    model: nn.Module
    train: Split
    val: Split
    external: Split | None
    history: object
    objective: Objective
    seed: int

    def __post_init__(self):
        n, m = min(len(self.train), TRAIN_SAMPLE), min(len(self.val), VAL_SAMPLE)
        # A bare copy of train that carries only the place of each image, so that suspects can be named.
        numbered = replace(self.train, extra={"position": torch.arange(len(self.train))})
        self.sample, self.val_sample = numbered.take(n, seed=self.seed), self.val.take(m, seed=self.seed)
        self.few_places = torch.from_numpy(np.random.default_rng(self.seed).permutation(n)[:FEW])
        self.few = self.sample[self.few_places]
        self.device = pick_device()
        self.curve("train")  # complains about a history of another kind
        self.batch_size = int(max(16, min(512, 4e6 // self.train.images[0].numel())))  # large images: smaller batches

    @property
    def classes(self) -> int:
        return len(self.train.classes)

    @cached_property
    def prior(self) -> torch.Tensor:
        """The share of each class in the training split."""
        return torch.bincount(self.train.targets, minlength=self.classes) / len(self.train)

    @cached_property
    def prior_entropy(self) -> float:
        """The cross-entropy (nats) of a model that knows the class shares and ignores the image."""
        return float(-torch.xlogy(self.prior, self.prior).sum())

    def batch(self, n: int) -> Batch:
        """The first ``n`` images of a random order of the sample, as the training loop would hand them over."""
        order = torch.from_numpy(np.random.default_rng(self.seed).permutation(len(self.sample))[:n])
        images = to_unit(self.sample.images[order].to(self.device))
        return Batch(images, self.sample.targets[order].to(self.device), order.to(self.device), self.classes)

    # ---- the model ---------------------------------------------------------------------------------------------

    def outputs_of(self, split: Split) -> torch.Tensor:
        return predict(self.model, split, batch_size=self.batch_size, device=self.device)

    def features_of(self, model: nn.Module, split: Split) -> torch.Tensor:
        return features(model, split, batch_size=self.batch_size)

    @cached_property
    def _run(self) -> tuple[torch.Tensor | None, str]:
        try:
            return self.outputs_of(self.val_sample), ""
        except Exception as error:  # whatever a stranger's model may raise is a finding, not a crash
            return None, describe(error)

    @property
    def outputs(self) -> torch.Tensor | None:
        """The model's outputs on the validation sample (N×K), or None if it cannot be run on it."""
        return self._run[0]

    @property
    def failure(self) -> str:
        """Why the model's outputs cannot be judged, or an empty string."""
        outputs, error = self._run
        if error:
            return f"the model cannot be run on these images ({error})"
        if outputs.ndim != 2 or len(outputs) != len(self.val_sample) or not outputs.shape[1]:
            return f"the output for {len(self.val_sample)} images has shape {tuple(outputs.shape)}, not N×K"
        return "" if torch.isfinite(outputs).all() else "the outputs are not all finite"

    def correct(self, split: Split, outputs: torch.Tensor | None = None) -> torch.Tensor:
        """bool N: is the predicted class the label?"""
        outputs = self.outputs_of(split) if outputs is None else outputs
        if outputs.shape[1] > 1:
            return outputs.argmax(1) == split.targets
        in_unit = bool((outputs >= 0).all() and (outputs <= 1).all())
        return (outputs[:, 0] > (0.5 if in_unit else 0.0)).long() == split.targets

    @cached_property
    def accuracy(self) -> float:
        """Accuracy on the validation sample."""
        return float(self.correct(self.val_sample, self.outputs).float().mean())

    @cached_property
    def knows_something(self) -> bool:
        """Is the model better on the validation sample than always naming the most frequent class?"""
        majority = float((self.val_sample.targets == self.prior.argmax()).float().mean())
        return wilson(self.accuracy, len(self.val_sample))[0] > majority

    @cached_property
    def fresh(self) -> nn.Module | None:
        """A copy with its trainable layers initialised anew (frozen layers stay), or None if no layer can do that."""
        fresh, renewed = copy.deepcopy(self.model), 0
        torch.manual_seed(self.seed)
        for module in fresh.modules():
            own = list(module.parameters(recurse=False))
            if hasattr(module, "reset_parameters") and own and all(p.requires_grad for p in own):
                module.reset_parameters()
                renewed += 1
        return fresh if renewed else None

    @property
    def awake(self) -> nn.Module:
        """The model, or its new copy while all outputs are 0: a last layer of zeros is a usual start, not a fault."""
        return self.model if self.fresh is None or self.outputs.any() else self.fresh

    # ---- the data ----------------------------------------------------------------------------------------------

    @cached_property
    def train_digests(self) -> list[bytes]:
        return digests(self.train)

    def known_images(self, split: Split) -> int:
        """How many images of another split are also in the training split, bit for bit."""
        known = set(self.train_digests)
        return sum(digest in known for digest in digests(split))

    @property
    def side(self) -> int:
        """Pixels a side of what the simple probes see."""
        return min(PROBE_SIDE, *self.train.images.shape[2:])

    def pixel_space(self, side: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The first 50 principal components of the pixels of both samples, at ``side``×``side`` pixels."""
        train, val = (to_unit(s.resize(side).images.flatten(1)) for s in (self.sample, self.val_sample))
        mean = train.mean(0)
        torch.manual_seed(self.seed)
        axes = torch.pca_lowrank(train - mean, q=min(50, *train.shape), center=False)[2]
        return (train - mean) @ axes, (val - mean) @ axes

    @cached_property
    def pixels(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.pixel_space(self.side)

    # ---- the curves --------------------------------------------------------------------------------------------

    def curve(self, split: str) -> np.ndarray:
        """The recorded losses in order; empty without a history. ValueError for a history of another kind."""
        if self.history is None:
            return np.array([])
        if isinstance(self.history, Mapping):
            return np.atleast_1d(np.asarray(self.history.get(f"{split} loss", []), dtype=float))
        frame = self.history.frame() if hasattr(self.history, "frame") else self.history
        if not {"step", "split", "metric", "value"} <= set(getattr(frame, "columns", ())):
            kinds = 'a History, its frame, or a mapping such as {"train loss": [2.3, 0.9]}'
            raise ValueError(f"history must be {kinds}, not this {type(self.history).__name__}.")
        rows = frame[(frame["split"] == split) & (frame["metric"] == "loss")]
        return rows.sort_values("step", kind="stable")["value"].to_numpy(dtype=float)


def describe(error: Exception) -> str:
    """The kind of an error and the first line of what it says."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def digests(split: Split) -> list[bytes]:
    """A fingerprint of every image: equal images have equal fingerprints."""
    return [hashlib.blake2b(image, digest_size=16).digest() for image in split.images.contiguous().numpy()]
