"""Paired comparison: the same arms over the same seeds, side by side on all cores, as one tidy table."""

from __future__ import annotations

import copyreg
import hashlib
import importlib
import math
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping

import cloudpickle
import joblib
import numpy as np
import torch

from ..core.device import keep_freed_memory, pick_device
from ..core.progress_bars import progress, quiet
from ..core.randomness import seed_everything, untouched_random_state
from ..train.distributed import launched
from ..train.run import History
from . import making
from .bank import UPDATES, Answers, Finished, Row, packed, surroundings, thinned
from .banked import Banked
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
    bank: str | None = None,
    claims: Iterable[str] = (),
    twin: bool = True,
):
    """Run every arm with every seed and return one tidy DataFrame.

    Before each run Python, NumPy and torch are seeded with the run's seed. Arms that build the same network therefore
    start from the same weights, and an arm passes the seed on to its split and to ``fit``: that is what makes a pair.
    Runs go to separate processes with ``threads`` CPU threads each; the result does not depend on how many processes.
    Inside ``joblib.parallel_config(backend="dask")`` they go to the machines of the Dask cluster of this process, which
    need this package in this version; another backend of processes, such as Ray's, takes them in the same way.

    A run that finished is kept (:mod:`tdnn_helpers.evidence.store`) and found again as long as all it follows from is
    the same, so an arm should speak through what it returns and through nothing else.

    With ``bank`` the runs that the evidence bank (:mod:`tdnn_helpers.evidence.bank`) holds for the running lesson are
    taken from there, and only what is missing runs. One of them, of at most 45 s, is run here all the same and laid
    beside its row. If an arm is another one than in the bank, all arms run here with three seeds.

    Args:
        arms: name → function of the seed, which returns a :class:`~tdnn_helpers.train.History` or a mapping such as
            ``{"test accuracy": 0.9}`` (a first word train, val or test names the split), or booleans for each image
            in place of a number. Functions that are defined in a notebook are fine.
        seeds: how many (0, 1, …) or which ones.
        workers: processes; default one per CPU core, or 1 (this process) when there is a GPU.
        threads: CPU threads for each run; default 1 on a CPU, unchanged on a GPU.
        store: look for kept runs and keep the new ones. The environment variable TDNN_STORE=0 switches it off.
        bank: the name of this comparison in the bank, one of its own within the lesson.
        claims: the claims that it decides, such as ("C080",); a row notes their rules.
        twin: whether one banked run is run here too.

    Returns:
        A DataFrame with the columns arm (categorical, in the order given), seed, step, split, metric, value, seconds.
        A run that fails is left out with a warning that says why; ``frame.attrs["failures"]`` lists (arm, seed, why).
        What runs recorded of each image (booleans) is in ``frame.attrs["answers"]``, packed, where
        :func:`~tdnn_helpers.evidence.over_images` reads it.

        With ``bank`` there is a column made, "bank", "kept" or "here"; values have six significant digits, a curve at
        most 24 points, and seconds are NaN where made is "bank". ``frame.attrs`` then has "own" (arms were changed),
        "revised" (a rule is younger than its rows), and "twin" (what :func:`.banked.compared` says of the run that was
        laid beside its row; empty if there was none).

    Raises:
        ArmsFailed: if every run failed.
        ValueError: no arms, no seeds, or a seed given twice; a joblib backend that would run arms in threads side by
            side, which share one random state; several processes under torchrun; with ``bank`` outside of a lesson, for
            a claim that the ledger doesn't know, or a bank that is damaged.
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

    banked = Banked(bank, arms, seeds, claims) if bank is not None else None
    if banked and banked.own:
        print(banked.own_run(workers), flush=True)
        seeds = banked.seeds
    # Seed by seed, so that whatever has finished when a reader interrupts is made of whole pairs.
    jobs = [(arm, seed) for seed in seeds for arm in arms]
    # A row needs the first losses, which the store doesn't keep.
    stored = Store(arms, threads, enabled=store and (banked is None or banked.mode == "read"))
    results, made = {}, {}
    for job in jobs:
        if banked and job in banked.taken:
            results[job], made[job] = _as_taken(banked.taken[job]), "bank"
        elif (kept := stored.get(*job)) is not None:
            results[job], made[job] = (*kept, ""), "kept"
    missing = [job for job in jobs if job not in results]

    def run_here(arm: str, seed: int, threads: int) -> Row:
        (run,) = _live(arms, [(arm, seed)], 1, threads)
        return banked.row(run)

    if banked:
        missing = making.to_run(banked, missing, run_here, threads)
    if missing:
        what = f"runs ({len(results)} kept)" if results else "runs"
        waiting = making.in_time(banked, missing) if banked else missing
        with progress(len(missing), what) as bar, warnings.catch_warnings():
            # joblib replaces a worker whose memory has grown and says so; nothing is lost, and a reader can do nothing.
            warnings.filterwarnings("ignore", "A worker stopped while some jobs were given to the executor")
            for run in _live(arms, waiting, min(workers, len(missing)), threads):
                job = run.arm, run.seed
                results[job], made[job] = (run.rows, run.answers, run.failure), "here"
                if banked and (row := making.keep(banked, run)):
                    results[job], made[job] = _as_taken(row), "bank"
                if not run.failure:
                    stored.put(*job, run.rows, run.answers, run.source)
                bar.update()
        if late := len([job for job in missing if job not in results]):
            raise making.NotRun(banked.name, late)

    jobs = [job for job in jobs if job in results]  # an audit runs nothing that is missing
    failures = [(arm, seed, results[arm, seed][2]) for arm, seed in jobs if results[arm, seed][2]]
    for arm, seed, why in failures:
        warnings.warn(f'the run of arm "{arm}" with seed {seed} failed: {why.splitlines()[0]}', stacklevel=2)
    if len(failures) == len(jobs):
        raise ArmsFailed(f"every run failed. The first one:\n{failures[0][2]}")
    # A run from here is seen as one from the bank is.
    seen = {job: thinned(results[job][0]) if banked else results[job][0] for job in jobs}
    rows = [(arm, seed, *row) for arm, seed in jobs for row in seen[arm, seed]]
    frame = pd.DataFrame(rows, columns=["arm", "seed", "step", "split", "metric", "value", "seconds"])
    frame["arm"] = pd.Categorical(frame["arm"], categories=list(arms), ordered=True)
    frame.attrs["failures"] = failures
    frame.attrs["answers"] = Answers({job: results[job][1] for job in jobs if results[job][1]})
    if banked:
        frame["made"] = [made[job] for job in jobs for _ in seen[job]]
        beside = banked.twin(run_here) if twin else {}
        frame.attrs |= {"own": banked.own, "revised": banked.revised, "twin": beside}
        if banked.taken and banked.mode == "read":
            print(banked.origin(beside, sum(made[job] != "bank" for job in jobs)), flush=True)
    return frame


def _as_taken(row: Row) -> tuple[list[tuple], dict[str, str], str]:
    """What a row of the bank says of a run: (its rows, its answers, reason of failure or "")."""
    return [(*one, math.nan) for one in row["metrics"]], row["answers"], row["failure"]


def _live(arms: Mapping[str, Arm], jobs: Iterable[tuple[str, int]], workers: int, threads: int) -> Iterator[Finished]:
    """Do these runs in so many processes, in any order. ``jobs`` is asked for the next when a process is free."""
    # The arms travel once, as one array that joblib maps into the memory of every worker on this machine.
    payload = np.frombuffer(cloudpickle.dumps(dict(arms)), dtype=np.uint8)
    key = hashlib.sha256(payload).hexdigest()
    ahead = "2 * n_jobs" if isinstance(jobs, list) else "n_jobs"
    pool = joblib.Parallel(n_jobs=workers, return_as="generator_unordered", pre_dispatch=ahead)
    yield from pool(joblib.delayed(_run)(payload, key, arm, seed, threads) for arm, seed in jobs)


def _run(payload: np.ndarray, key: str, arm: str, seed: int, threads: int) -> Finished:
    """One run, in whatever process."""
    global _arms_in_this_process
    if _arms_in_this_process is None or _arms_in_this_process[0] != key:
        _arms_in_this_process = key, cloudpickle.loads(payload.tobytes())
        keep_freed_memory()
    threads_before, begin = torch.get_num_threads(), time.perf_counter()
    torch.set_num_threads(threads)
    rows, losses, answers, failure = [], [], {}, ""
    try:
        with quiet(), untouched_random_state():
            seed_everything(seed)
            result = _arms_in_this_process[1][arm](seed)
            rows, answers = _rows(result)
            losses = getattr(result, "step_losses", [])[:UPDATES]
    except Exception as error:  # one failing arm must not lose the others
        failure = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
    finally:
        torch.set_num_threads(threads_before)
    seconds = time.perf_counter() - begin
    return Finished(arm, seed, rows, failure, Store.source(), losses, answers, seconds, surroundings(threads))


def _rows(result: History | Mapping[str, float]) -> tuple[list[tuple], dict[str, str]]:
    """What a run recorded, as rows, and its answers, packed."""
    if not isinstance(result, (History, Mapping)):
        raise TypeError(f"an arm returns a History or a mapping of names to numbers, not {type(result).__name__}.")
    if isinstance(result, Mapping):
        history = History(seconds=math.nan)
        for name, value in result.items():
            first, _, rest = name.partition(" ")
            split, metric = (first, rest) if first in SPLITS and rest else ("", name)
            history.record(split, **{metric: value})
        result = history
    rows = [(int(step), *map(str, names), float(value), float(took)) for step, *names, value, took in result.rows]
    return rows, {name.strip(): packed(right.numpy()) for name, right in result.answers.items()}
