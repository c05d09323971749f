#!/usr/bin/env bash
# pandas 3.0.1 (PyPI), numpy 2.4.2: what `DataFrame.attrs` costs, and what it must not hold.
#
# Guessed: attrs is a small dictionary that travels with a frame by reference; any value will do.
# Found:   1. every step (a slice, a column, a groupby) copies attrs deeply. With 2,000 entries under tuple keys a slice
#             of 1,000 rows takes more than ten times as long, and the entries are other objects afterwards.
#          2. with a NumPy array among the values, `concat` and `merge` of two such frames raise ValueError, "The truth
#             value of an array with more than one element is ambiguous": they compare the attrs of their inputs with ==.
# So: keep there what is small, or an object whose __deepcopy__ returns itself; never an array.
# Source: pandas/core/generic.py, NDFrame.__finalize__.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q pandas==3.0.1 numpy==2.4.2
"$folder/env/bin/python" - <<'PYTHON'
import time
import numpy as np
import pandas as pd

print("pandas", pd.__version__, "numpy", np.__version__)
frame = pd.DataFrame({"x": np.arange(1000)})


def milliseconds(step, times=50):
    best = []
    for _ in range(times):
        begin = time.perf_counter()
        step()
        best.append(time.perf_counter() - begin)
    return 1000 * min(best)


plain = milliseconds(lambda: frame[frame["x"] > 5])
frame.attrs["kept"] = {(str(i), i): "a" for i in range(2000)}
heavy = milliseconds(lambda: frame[frame["x"] > 5])
print(f"a slice: {plain:.2f} ms without attrs, {heavy:.2f} ms with them")
assert heavy > 10 * plain
assert frame["x"].attrs["kept"] is not frame.attrs["kept"]

one, other = pd.DataFrame({"x": [1]}), pd.DataFrame({"x": [2]})
one.attrs["mean"], other.attrs["mean"] = np.zeros(3), np.zeros(3)
for name, step in {"concat": lambda: pd.concat([one, other]), "merge": lambda: one.merge(other, on="x")}.items():
    try:
        step()
    except ValueError as error:
        print(name, "raises:", error)
    else:
        raise SystemExit(f"{name} no longer compares attrs with ==")
print("as found")
PYTHON
