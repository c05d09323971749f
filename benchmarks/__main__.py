"""Time the course's own code, and write what came out into benchmarks/RESULTS.md."""

import argparse
import os
import platform
import re
import time
from pathlib import Path

import torch

from course.readme import marked
from tdnn_helpers.core.device import keep_freed_memory

from . import accuracy, before, compiled, course, frameworks, gpu, loops, memory, settings, vectorised, workers
from .measure import FULL, QUICK, Row, Skipped

RESULTS = Path(__file__).with_name("RESULTS.md")
HEAD = "| what | against | measured | ratio |\n|---|---|---:|---:|"
USUAL = (loops, frameworks, memory, settings, compiled, vectorised, workers)
LONG = (accuracy, course)
ASKED = (gpu, before)  # by name only


def processor() -> str:
    """The name of the CPU where Linux tells it, else its architecture."""
    cpu = Path("/proc/cpuinfo")
    name = re.search(r"^model name\s*:\s*(.+)$", cpu.read_text(), re.MULTILINE) if cpu.exists() else None
    return name[1] if name else platform.machine()


def table(rows: list[Row | Skipped]) -> str:
    """The machine and its rows as Markdown."""
    threads = torch.get_num_threads()
    chip = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    about = f"{chip}{threads} CPU thread{'s' * (threads != 1)}, {processor()}, torch {torch.__version__}:"
    return "\n".join([about, "", HEAD, *map(str, rows)])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: a look that is not written")
    parser.add_argument("--long", action="store_true", help="also time to accuracy and the whole course (20 minutes)")
    cores = min(2, os.cpu_count() or 1)
    parser.add_argument("--threads", type=int, default=cores, help="1 is the choice on a machine that others use too")
    names = {subject.__name__.rpartition(".")[2]: subject for subject in (*USUAL, *LONG, *ASKED)}
    parser.add_argument("--only", nargs="+", choices=names, metavar="SUBJECT", help=f"some of: {', '.join(names)}")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    usual = [*USUAL, *LONG] if arguments.long else USUAL
    for name in arguments.only or [name for name, subject in names.items() if subject in usual]:
        start = time.perf_counter()
        print(table([]), flush=True)
        rows = []
        for row in names[name].rows(QUICK if arguments.quick else FULL):
            print(row, flush=True)
            rows.append(row)
        print(f"({name}: {time.perf_counter() - start:.0f} s)\n", flush=True)
        if not arguments.quick:
            RESULTS.write_text(marked(RESULTS.read_text(encoding="utf-8"), name, table(rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
