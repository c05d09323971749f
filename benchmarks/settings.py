"""Settings of the CPU: memory kept by the allocator, threads, memory format, bfloat16."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from tdnn_helpers.session import keep_freed_memory
from tdnn_helpers.split import Split
from tdnn_helpers.train import fit

from .loops import bare_loop, network, training_images
from .measure import Row, Size, images_per_second, interleaved


def has_amx() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in hardware (Intel AMX; told by Linux only)."""
    cpu = Path("/proc/cpuinfo")
    return cpu.exists() and "amx_bf16" in cpu.read_text()


def allocator(size: Size) -> list[Row]:
    """In processes of their own: what the allocator has once been told, it cannot unlearn.

    On colour images of 64 pixels, because glibc by itself learns to keep blocks of up to 32 MiB: with the 28 pixels of
    Fashion-MNIST there is nothing left to gain.
    """

    def process(keep: bool) -> float:
        arguments = [keep, max(size.steps // 10, 5), size.batch, torch.get_num_threads()]
        command = [sys.executable, "-m", "benchmarks.settings", *(str(int(argument)) for argument in arguments)]
        return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)

    arms = {"kept": lambda: process(True), "handed back": lambda: process(False)}
    speeds = interleaved(arms, max(2, size.rounds - 2), warm_up=False)
    what = "`fit` on 64-pixel colour images, freed memory"
    return [Row(f"{what} kept", "the same, handed back", speeds["kept"], speeds["handed back"])]


def one_process(keep: int, steps: int, batch: int, threads: int) -> float:
    """Images a second of the second of two runs of ``fit``."""
    torch.set_num_threads(threads)
    if keep:
        keep_freed_memory()
    images = torch.randint(0, 256, (steps * batch, 3, 64, 64), dtype=torch.uint8)
    train = Split(images, torch.arange(len(images)) % 10, tuple("0123456789"))
    options = dict(steps=steps, batch_size=batch, device="cpu")
    run = images_per_second(lambda: fit(network(train), train, **options), len(images))
    run()
    return run()


def rows(size: Size) -> list[Row]:
    train = training_images(size)
    images, targets = train.images.float().div(255), train.targets
    threads = torch.get_num_threads()

    def arm(precision=None, memory_format=torch.channels_last, threads=threads):
        def work():
            torch.set_num_threads(threads)
            model = network(train).to(memory_format=memory_format)
            bare_loop(images.to(memory_format=memory_format), targets, model, size.batch, precision=precision)

        return images_per_second(work, size.images)

    arms = {"plain": arm(), "bare loop, images contiguous (NCHW)": arm(memory_format=torch.contiguous_format)}
    arms["bare loop, 2 threads" if threads == 1 else "bare loop, 1 thread"] = arm(threads=2 if threads == 1 else 1)
    if has_amx():
        arms["bare loop, bfloat16 autocast (AMX)"] = arm(torch.bfloat16)
    try:
        speeds = interleaved(arms, size.rounds)
    finally:
        torch.set_num_threads(threads)
    plain = speeds.pop("plain")
    return [Row(name, "bare loop", values, plain) for name, values in speeds.items()] + allocator(size)


if __name__ == "__main__":
    print(one_process(*map(int, sys.argv[1:])))
