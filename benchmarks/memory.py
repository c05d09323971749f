"""How much memory each way to train needs: the most that was resident at one time, in a fresh process per arm."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
import warnings

import torch

from tdnn_helpers.session import keep_freed_memory

from . import frameworks, workers
from .measure import Row, Size, Skipped, watched

COMPARE = {f"`compare`, {n} worker{'s' * (n > 1)}": n for n in (1, 2)}
NOTE = (
    "Memory: the high-water mark of the resident set of a fresh process, torch's libraries included, plus what its "
    "child processes (loader workers, `compare`'s workers) held for themselves alone at their worst moment. The images "
    "stay uint8 and are scaled batch by batch, so the whole of Fashion-MNIST takes 47 MB and not 188."
)


def in_process(name: str, size: Size, threads: int) -> float:
    """Peak memory in MB of a fresh process that does this arm's work once."""
    arguments = map(str, (size.steps, size.batch, threads))
    command = [sys.executable, "-m", "benchmarks.memory", name, *arguments]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def peak(work) -> float:
    """MB that this process and its children held at most while the work was done."""
    import psutil

    done, children = threading.Event(), 0

    def private() -> int:
        total = 0
        for child in psutil.Process().children(recursive=True):
            try:
                total += child.memory_full_info().uss
            except psutil.Error:  # it has just ended
                pass
        return total

    def watch():
        nonlocal children
        while not done.wait(0.05):
            children = max(children, private())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
        children = max(children, private())
    finally:
        done.set()
        watcher.join()
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss: bytes on macOS, else kilobytes
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit + children) / 1e6


def one_arm(name: str, size: Size) -> float:
    keep_freed_memory()
    warnings.simplefilter("ignore")
    work = workers.work(size, COMPARE[name], 1) if name in COMPARE else frameworks.work(name, size)
    with watched():
        return peak(work)


def rows(size: Size) -> list[Row | Skipped]:
    names = [name for name in frameworks.ARMS if frameworks.installed(name)]
    peaks = {name: [in_process(name, size, torch.get_num_threads())] for name in [frameworks.FIT, *names, *COMPARE]}
    ours, (one, two) = peaks[frameworks.FIT], COMPARE
    others = [
        Row(f"memory: {name}", "memory: `fit`", peaks[name], ours, "MB")
        if name in peaks
        else Skipped(f"memory: {name}", "not installed")
        for name in frameworks.ARMS
    ]
    together = Row(f"memory: {two}", f"memory: {one}", peaks[two], peaks[one], "MB")
    return [Row("memory: `fit` with everything", "", ours, unit="MB"), *others, together]


if __name__ == "__main__":
    _name, *_numbers = sys.argv[1:]
    _steps, _batch, _threads = map(int, _numbers)
    torch.set_num_threads(_threads)
    print(one_arm(_name, Size(1, _steps, _batch)))
