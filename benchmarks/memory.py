"""How much memory each way to train needs: the most that was resident while it trained, in a fresh process per arm."""

import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress

import torch

from tdnn_helpers.core.device import keep_freed_memory

from . import frameworks, workers
from .measure import Row, Size, Skipped, in_process, watched

COMPARE = {f"`compare`, {n} worker{'s' * (n > 1)}": n for n in (1, 2)}


def peak(work: Callable[[], object]) -> float:
    """MB that were resident at most while the work was done: this process, and what its children have for themselves.

    Looked at fifty times a second. The kernel's own high-water mark would still hold the unpacking of the data.
    """
    import psutil

    this, done, most = psutil.Process(), threading.Event(), 0

    def watch() -> None:
        nonlocal most
        last = False
        while not last:  # once more at the end
            last = done.wait(0.02)
            now = this.memory_info().rss
            for child in this.children(recursive=True):
                with suppress(psutil.Error):  # a child may end at any moment
                    now += child.memory_full_info().uss
            most = max(most, now)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return most / 1e6


def one_arm(name: str, size: Size) -> float:
    warnings.simplefilter("ignore")
    work = workers.work(size, COMPARE[name], 1) if name in COMPARE else frameworks.work(name, size)
    keep_freed_memory()  # only now, so that what the unpacking of the data took is handed back
    with watched():
        return peak(work)


def rows(size: Size) -> list[Row | Skipped]:
    names = [name for name in frameworks.ARMS if frameworks.installed(name)]
    numbers = size.steps, size.batch, torch.get_num_threads()
    peaks = {name: [in_process("memory", name, *numbers)] for name in [frameworks.FIT, *names, *COMPARE]}
    ours, (one, two) = Row("memory: `fit` with everything", "", peaks[frameworks.FIT], unit="MB"), COMPARE
    others = frameworks.against_fit(peaks, "memory: ", "memory: `fit`", "MB")
    return [ours, *others, Row(f"memory: {two}", f"memory: {one}", peaks[two], peaks[one], "MB")]


if __name__ == "__main__":
    _name, *_numbers = sys.argv[1:]
    _steps, _batch, _threads = map(int, _numbers)
    torch.set_num_threads(_threads)
    print(one_arm(_name, Size(1, _steps, _batch)))
