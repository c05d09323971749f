"""Paired comparison: the same arms over the same seeds, side by side on all cores, as one tidy table."""

from __future__ import annotations

import copyreg
import hashlib
import importlib
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping

import cloudpickle
import joblib
import numpy as np
import torch

from ..core.device import keep_freed_memory, pick_device
from ..core.progress_bars import progress, quiet
from ..core.randomness import seed_everything, untouched_random_state
from ..train.distributed import launched
from ..train.run import History
from .store import Store

Arm = Callable[[int], History | Mapping[str, float]]
SPLITS = ("train", "val", "test")
# A function that names both torch and some `.classes` makes cloudpickle send the module torch.classes, which cannot be
# pickled; its name is enough.
copyreg.pickle(type(torch.classes), lambda module: (importlib.import_module, ("torch.classes",)))
_arms_in_this_process: tuple[str, Mapping[str, Arm]] | None = None


class ArmsFailed(RuntimeError):
    """Every run of a comparison failed."""


def compare(
    arms: Mapping[str, Arm],
    seeds: int | Iterable[int] = 5,
    *,
    workers: int | None = None,
    threads: int | None = None,
    store: bool = True,
):
    """Run every arm with every seed and return one tidy DataFrame.

    Before each run Python, NumPy and torch are seeded with the run's seed. Arms that build the same network therefore
    start from the same weights, and an arm passes the seed on to its split and to ``fit``: that is what makes a pair.
    Runs go to separate processes with ``threads`` CPU threads each; the result does not depend on how many processes.
    Inside ``joblib.parallel_config(backend="dask")`` they go to the machines of the Dask cluster of this process, which
    need this package in this version; another backend of processes, such as Ray's, takes them in the same way.

    A run that finished is kept (:mod:`tdnn_helpers.evidence.store`) and found again as long as all it follows from is
    the same, so an arm should speak through what it returns and through nothing else.

    Args:
        arms: name → function of the seed, which returns a :class:`~tdnn_helpers.train.History` or a mapping such as
            ``{"test accuracy": 0.9}`` (a first word train, val or test names the split). Functions that are defined in
            a notebook are fine.
        seeds: how many (0, 1, …) or which ones.
        workers: processes; default one per CPU core, or 1 (this process) when there is a GPU.
        threads: CPU threads for each run; default 1 on a CPU, unchanged on a GPU.
        store: look for kept runs and keep the new ones. The environment variable TDNN_STORE=0 switches it off.

    Returns:
        A DataFrame with the columns arm (categorical, in the order given), seed, step, split, metric, value, seconds.
        A run that fails is left out with a warning that says why; ``frame.attrs["failures"]`` lists (arm, seed, why).

    Raises:
        ArmsFailed: if every run failed.
        ValueError: no arms, no seeds, or a seed given twice; a joblib backend that would run arms in threads side by
            side, which share one random state; several processes under torchrun.
    """
    import pandas as pd

    seeds = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not arms or not seeds or len(set(seeds)) < len(seeds):
        raise ValueError("compare needs at least one arm and one seed, and each seed only once.")
    if launched():
        raise ValueError(
            "torchrun starts several processes that train one network, and each would do every run of the comparison: "
            "run it in one process, or on several machines with Dask."
        )
    on_cpu = pick_device().type == "cpu"
    workers = workers or (joblib.cpu_count() if on_cpu else 1)
    threads = threads or (1 if on_cpu else torch.get_num_threads())
    backend = joblib.parallel.get_active_backend()[0]
    in_threads = getattr(backend, "uses_threads", False) and joblib.effective_n_jobs(workers) > 1
    dask = getattr(backend, "client", None)
    if in_threads or (dask and max(dask.nthreads().values(), default=1) > 1):
        raise ValueError(
            "runs cannot go side by side in threads, because threads share one random state: choose a joblib backend "
            "of processes (Dask with threads_per_worker=1), or workers=1."
        )

    # Seed by seed, so that whatever has finished when a reader interrupts is made of whole pairs.
    jobs = [(arm, seed) for seed in seeds for arm in arms]
    stored = Store(arms, threads, enabled=store)
    results = {job: (rows, "") for job in jobs if (rows := stored.get(*job)) is not None}
    missing = [job for job in jobs if job not in results]
    if missing:
        # The arms travel once, as one array that joblib maps into the memory of every worker on this machine.
        payload = np.frombuffer(cloudpickle.dumps(dict(arms)), dtype=np.uint8)
        key = hashlib.sha256(payload).hexdigest()
        pool = joblib.Parallel(n_jobs=min(workers, len(missing)), return_as="generator_unordered")
        tasks = (joblib.delayed(_run)(payload, key, arm, seed, threads) for arm, seed in missing)
        what = f"runs ({len(results)} kept)" if results else "runs"
        with progress(len(missing), what) as bar, warnings.catch_warnings():
            # joblib replaces a worker whose memory has grown and says so; nothing is lost, and a reader can do nothing.
            warnings.filterwarnings("ignore", "A worker stopped while some jobs were given to the executor")
            for arm, seed, rows, failure, source in pool(tasks):
                results[arm, seed] = rows, failure
                if not failure:
                    stored.put(arm, seed, rows, source)
                bar.update()

    failures = [(arm, seed, results[arm, seed][1]) for arm, seed in jobs if results[arm, seed][1]]
    for arm, seed, why in failures:
        warnings.warn(f'the run of arm "{arm}" with seed {seed} failed: {why.splitlines()[0]}', stacklevel=2)
    if len(failures) == len(jobs):
        raise ArmsFailed(f"every run failed. The first one:\n{failures[0][2]}")
    rows = [(arm, seed, *row) for arm, seed in jobs for row in results[arm, seed][0]]
    frame = pd.DataFrame(rows, columns=["arm", "seed", "step", "split", "metric", "value", "seconds"])
    frame["arm"] = pd.Categorical(frame["arm"], categories=list(arms), ordered=True)
    frame.attrs["failures"] = failures
    return frame


def _run(payload: np.ndarray, key: str, arm: str, seed: int, threads: int) -> tuple[str, int, list[tuple], str, str]:
    """One run, in whatever process: (arm, seed, rows, reason of failure or "", the source of the run there)."""
    global _arms_in_this_process
    if _arms_in_this_process is None or _arms_in_this_process[0] != key:
        _arms_in_this_process = key, cloudpickle.loads(payload.tobytes())
        keep_freed_memory()
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with quiet(), untouched_random_state():
            seed_everything(seed)
            return arm, seed, _rows(_arms_in_this_process[1][arm](seed)), "", Store.source()
    except Exception as error:  # one failing arm must not lose the others
        return arm, seed, [], f"{type(error).__name__}: {error}\n{traceback.format_exc()}", Store.source()
    finally:
        torch.set_num_threads(threads_before)


def _rows(result: History | Mapping[str, float]) -> list[tuple]:
    if isinstance(result, History):
        return [(int(step), *map(str, names), float(value), float(took)) for step, *names, value, took in result.rows]
    if not isinstance(result, Mapping):
        raise TypeError(f"an arm returns a History or a mapping of names to numbers, not {type(result).__name__}.")
    rows = []
    for name, value in result.items():
        first, _, rest = name.partition(" ")
        split, metric = (first, rest) if first in SPLITS and rest else ("", name)
        rows.append((0, split, metric, float(value), float("nan")))
    return rows
