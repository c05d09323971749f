"""What a machine offers besides plain float32: memory format, threads, precision, optimizer kernels, the allocator."""

import sys
from functools import partial
from pathlib import Path

import torch

from tdnn_helpers.core.device import keep_freed_memory
from tdnn_helpers.data.split import Split
from tdnn_helpers.models.networks import mlp
from tdnn_helpers.train.loop import fit, sgd

from .loops import bare_loop, network, ready, training_images
from .measure import Row, Size, Skipped, images_per_second, in_process, interleaved, speeds


def has_amx() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in hardware (Intel AMX; told by Linux only)."""
    cpu = Path("/proc/cpuinfo")
    return cpu.exists() and "amx_bf16" in cpu.read_text()


def allocator(size: Size) -> list[Row]:
    """In processes of their own: what the allocator has once been told, it cannot unlearn.

    On colour images of 64 pixels, because glibc by itself learns to keep blocks of up to 32 MiB: with the 28 pixels of
    Fashion-MNIST there is nothing left to gain.
    """
    numbers = max(size.steps // 10, 5), size.batch, torch.get_num_threads()
    arms = {keep: partial(in_process, "settings", keep, *numbers) for keep in (1, 0)}
    kept, handed_back = interleaved(arms, max(2, size.rounds - 2), warm_up=False).values()
    return [Row("`fit` on 64-pixel colour images, freed memory kept", "the same, handed back", kept, handed_back)]


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


def on_cpu(size: Size) -> list[Row]:
    """The bare loop of the small CNN under one setting each."""
    train = training_images(size)
    (images, targets), threads = ready(train), torch.get_num_threads()

    def arm(precision=None, memory_format=torch.channels_last, threads=threads, **kernels):
        def work():
            torch.set_num_threads(threads)
            model = network(train).to(memory_format=memory_format)
            inputs, optimizer = images.to(memory_format=memory_format), partial(sgd(), **kernels)
            bare_loop(inputs, targets, model, size.batch, precision=precision, optimizer=optimizer)

        return work

    works = {"plain": arm(), "bare loop, images contiguous (NCHW)": arm(memory_format=torch.contiguous_format)}
    works["bare loop, 2 threads" if threads == 1 else "bare loop, 1 thread"] = arm(threads=2 if threads == 1 else 1)
    works |= {"bare loop, fused SGD": arm(fused=True), "bare loop, foreach SGD": arm(foreach=True)}
    if has_amx():
        works["bare loop, bfloat16 autocast (AMX)"] = arm(torch.bfloat16)
    try:
        found = speeds(works, size.images, size.rounds)
    finally:
        torch.set_num_threads(threads)
    plain = found.pop("plain")
    return [Row(name, "bare loop", values, plain) for name, values in found.items()]


def launches(size: Size) -> list[Row]:
    """The optimizer where a step is so short that calling kernels is most of it."""
    train = training_images(size)
    images = ready(train)

    def work(**kernels):
        torch.manual_seed(0)
        bare_loop(*images, mlp(train), size.batch, optimizer=partial(sgd(), **kernels))

    plain, fused = speeds({"plain": work, "fused": partial(work, fused=True)}, size.images, size.rounds).values()
    return [Row("bare loop, MLP (128 hidden), fused SGD", "bare loop, MLP", fused, plain)]


def on_gpu(size: Size) -> list[Row | Skipped]:
    precisions = {"float16": torch.float16, "bfloat16": torch.bfloat16}
    if not torch.cuda.is_available():
        return [Skipped(f"`fit` on a GPU, {name}", "no GPU") for name in precisions]
    train = training_images(Size(size.rounds, 10 * size.steps, size.batch))

    def work(precision):
        fit(network(train), train, epochs=1, batch_size=size.batch, precision=precision, device="cuda")

    works = {name: partial(work, kind) for name, kind in {"plain": torch.float32, **precisions}.items()}
    found = speeds(works, len(train), size.rounds)
    return [Row(f"`fit` on a GPU, {name}", "float32", found[name], found["plain"]) for name in precisions]


def rows(size: Size) -> list[Row | Skipped]:
    return [*on_cpu(size), *launches(size), *allocator(size), *on_gpu(size)]


if __name__ == "__main__":
    print(one_process(*map(int, sys.argv[1:])))
