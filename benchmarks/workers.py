"""``compare`` on two processes against one, each run with one thread: what the second core brings."""

from __future__ import annotations

from tdnn_helpers.compare import compare
from tdnn_helpers.train import fit, sgd

from .loops import network, training_images
from .measure import Row, Size, images_per_second, interleaved

RATES = (0.01, 0.03, 0.1, 0.3)
SEEDS = 5


def rows(size: Size) -> list[Row]:
    steps = max(size.steps // 8, 2)
    train = training_images(Size(1, steps, size.batch))

    def arm(rate):
        options = dict(steps=steps, batch_size=size.batch, optimizer=sgd(rate), device="cpu")
        return lambda seed: fit(network(train), train, seed=seed, **options)

    arms = {f"rate {rate}": arm(rate) for rate in RATES}
    images = len(arms) * SEEDS * len(train)

    def run(workers):
        return images_per_second(lambda: compare(arms, SEEDS, workers=workers, threads=1, store=False), images)

    speeds = interleaved({"one": run(1), "two": run(2)}, 2)  # the warm-up starts the processes
    what = f"`compare`, {len(arms)} arms × {SEEDS} seeds, 2 workers"
    return [Row(what, "the same, 1 worker", speeds["two"], speeds["one"])]
