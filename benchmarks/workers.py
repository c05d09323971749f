"""``compare``: four arms with five seeds each, on two processes of one thread, against other ways to use two cores."""

from collections.abc import Callable

from tdnn_helpers.evidence.comparison import compare
from tdnn_helpers.train.loop import fit, sgd

from .loops import network, training_images
from .measure import Row, Size, speeds

RATES = (0.01, 0.03, 0.1, 0.3)
SEEDS = 5


def work(size: Size, workers: int, threads: int) -> Callable[[], object]:
    """All runs of one comparison, an eighth of ``size`` each."""
    train = training_images(size)[: images(size) // (len(RATES) * SEEDS)]

    def arm(rate):
        return lambda seed: fit(
            network(train), train, epochs=1, batch_size=size.batch, optimizer=sgd(rate), seed=seed, device="cpu"
        )

    arms = {f"rate {rate}": arm(rate) for rate in RATES}
    return lambda: compare(arms, SEEDS, workers=workers, threads=threads, store=False)


def images(size: Size) -> int:
    """Training images of all runs together."""
    return len(RATES) * SEEDS * max(size.steps // 8, 2) * size.batch


def rows(size: Size) -> list[Row]:
    works = {arm: work(size, *arm) for arm in ((2, 1), (1, 1), (1, 2))}
    two, one, threads = speeds(works, images(size), max(2, size.rounds - 2)).values()  # a warm-up starts the processes
    what = f"`compare`, {len(RATES)} arms × {SEEDS} seeds, 2 workers"
    return [
        Row(what, "the same, one run after the other", two, one),
        Row(what, "the same, one after the other, 2 threads", two, threads),
    ]
