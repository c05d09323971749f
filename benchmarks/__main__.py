"""Print the table of ratios; ``--update-readme`` puts it into README.md between its two benchmark marks."""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import time
from pathlib import Path

import torch

from tdnn_helpers.core.device import keep_freed_memory

from . import accuracy, compiled, course, frameworks, loops, memory, settings, vectorised, workers
from .measure import FULL, QUICK, Row, Skipped

README = Path(__file__).resolve().parent.parent / "README.md"
START, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"
EXPLANATION = """\
Small CNN (width 16) on Fashion-MNIST, batches of 128, {threads} CPU thread{s}, {cpu}, torch {torch}.
Each ratio compares two arms that ran side by side: the median over rounds, with the lowest and the highest.
`fit` pays here for shuffling, scaling, metrics, a progress bar that is drawn, checkpoints, the divergence check and
one validation image per 60 of training; the bare loop is forward, backward, step on float images that lie ready."""
HEAD = "| what | against | measured | ratio |\n|---|---|---:|---:|"
USUAL = (loops, frameworks, memory, settings, compiled, vectorised, workers)
LONG = (accuracy, course)


def processor() -> str:
    """The name of the CPU where Linux tells it, else its architecture."""
    cpu = Path("/proc/cpuinfo")
    name = re.search(r"^model name\s*:\s*(.+)$", cpu.read_text(), re.MULTILINE) if cpu.exists() else None
    return name[1] if name else platform.machine()


def table(rows: list[Row | Skipped], notes: list[str]) -> str:
    threads = torch.get_num_threads()
    about = dict(threads=threads, s="s" * (threads != 1), cpu=processor(), torch=torch.__version__)
    remarks = ["", *(f"- {note}" for note in notes)] if notes else []
    return "\n".join([EXPLANATION.format(**about), "", HEAD, *map(str, rows), *remarks])


def with_table(readme: str, text: str) -> str:
    """The README with this text between the two marks; ValueError if the marks are not there."""
    before, start, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"README.md has no place for the table: put {START} and {END} where it belongs.")
    return f"{before}{START}\n{text}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: a look, not a measurement")
    parser.add_argument("--long", action="store_true", help="also time to accuracy and the whole course (20 minutes)")
    parser.add_argument("--update-readme", action="store_true", help="write the table into README.md")
    cores = min(2, os.cpu_count() or 1)
    parser.add_argument("--threads", type=int, default=cores, help="1 is the choice on a machine that others use too")
    names = {subject.__name__.rpartition(".")[2]: subject for subject in (*USUAL, *LONG)}
    parser.add_argument("--only", nargs="+", choices=names, metavar="SUBJECT", help=f"some of: {', '.join(names)}")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    chosen = arguments.only or [name for name, subject in names.items() if arguments.long or subject in USUAL]
    rows: list[Row | Skipped] = []
    for name in chosen:
        start = time.perf_counter()
        new = names[name].rows(QUICK if arguments.quick else FULL)
        rows += new
        print(*new, f"{name}: {time.perf_counter() - start:.0f} s", sep="\n", file=sys.stderr, flush=True)
    text = table(rows, [note for name in chosen if (note := getattr(names[name], "NOTE", ""))])
    print(text)
    if arguments.update_readme:
        README.write_text(with_table(README.read_text(encoding="utf-8"), text), encoding="utf-8")


if __name__ == "__main__":
    main()
