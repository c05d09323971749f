"""What a class needs that opens the data at once: ``python -m benchmarks.classroom [kernels]`` (default 30; Linux).

Every kernel is a process of its own that imports the course and loads Fashion-MNIST (training and test images) and the
emoji, all at the same moment. Memory is the proportional set size: a page that several processes share is divided
between them. "Each for itself" is a data folder in which no unpacked copy can be put.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent / "data"
KERNEL = """
import sys
from pathlib import Path
def megabytes(what):
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024
def tell(*numbers):
    print(*numbers, flush=True)
    sys.stdin.readline()
from tdnn_helpers.data import load
tell()
before = megabytes("Pss:")
tell()
data = [load("fashion-mnist"), load("fashion-mnist", "test"), load("emoji")]
total = sum(int(split.images.sum()) for split in data)
tell()
tell(before, megabytes("Pss:"))
"""


def measure(kernels: int, data: Path) -> tuple[float, float, float]:
    """(MB of a kernel before it loads the data, MB with the data, seconds until all have loaded it)."""
    environment = os.environ | {"TDNN_DATA": str(data), "TDNN_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    started = [subprocess.Popen([sys.executable, "-c", KERNEL], **pipes) for _ in range(kernels)]

    def next_stage() -> list[str]:
        said = [one.stdout.readline() for one in started]
        for one in started:
            one.stdin.write("\n")
            one.stdin.flush()
        return said

    next_stage()
    next_stage()
    start = time.perf_counter()
    next_stage()
    seconds = time.perf_counter() - start
    numbers = [tuple(map(float, said.split())) for said in next_stage()]
    for one in started:
        one.wait()
    return *(statistics.mean(column) for column in zip(*numbers, strict=True)), seconds


def main() -> None:
    kernels = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    print(f"| {kernels} kernels at once | MB a kernel before | MB a kernel with the data | seconds until all have it |")
    print("|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for path in DATA.iterdir():
            if path.name != "unpacked":
                (Path(folder) / path.name).symlink_to(path)
        in_the_way = Path(folder) / "unpacked"
        in_the_way.touch()
        for name in ("each for itself", "the first time", "after that"):
            before, after, seconds = measure(kernels, Path(folder))
            print(f"| {name} | {before:,.0f} | {after:,.0f} | {seconds:.1f} |", flush=True)
            if in_the_way.is_file():
                in_the_way.unlink()


if __name__ == "__main__":
    main()
