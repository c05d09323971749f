"""Everything that is done with the lessons. `python -m course COMMAND --help` says what a command takes."""

import argparse
import inspect
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from . import NOTEBOOKS, ROOT, address, claims, experiments, folding, lesson, readme, renewal, running, scaffold, stale
from .form import form_of, table
from .pages import building, terms


def run(folder: Path, lessons: list[str]) -> int:
    """Run the lessons and write them, with their outputs, into a folder.

    Without a name all lessons run. A failing lesson does not stop the others, and makes the exit code 1. Into
    notebooks/ itself a failing lesson is not written.
    """
    return running.run(folder.resolve(), lessons)


def redraw(lessons: list[str]) -> int:
    """Draw lessons anew in notebooks/, after a change of a figure or a sentence.

    They run at the standard budget, but comparisons that `make claims` finished in build/claims-runs and that are still
    valid are found again, not trained again. What no comparison keeps is computed again and takes its time. The time
    that a lesson tells stays that of its last whole run. If you changed what is computed, take `make claims`.
    """
    os.environ |= {"TDNN_BUDGET": "standard", "TDNN_RUNS": str(ROOT / "build" / "claims-runs")}
    return running.run(NOTEBOOKS, lessons, keep_times=True)


def evidence(lessons: list[str], *, minutes: float = float("inf"), estimate: bool = False) -> int:
    """Make the rows of the evidence bank that lessons miss, in notebooks/bank.

    Without a name all lessons. It says first how long that takes, and keeps each run as it ends: stopped in whatever
    way, the same command goes on where it was. --minutes ends it in time; --estimate only says how long.
    """
    paths = running.paths_of(lessons)
    failed = experiments.estimate(paths)
    return failed if estimate else experiments.make(paths, minutes)


def audit(*, seed: int, rows: int = 5, begin: bool = False) -> int:
    """Run rows of the evidence bank again that your seed draws, and say how far they are from what comes out here.

    --begin runs only the first ten updates of each. Exit code 1 if one of them could not be run again. Numbers may
    differ on another machine; the spread over seeds says how much matters.
    """
    return experiments.audit(seed, rows, begin=begin)


def beginnings(note: Path, lessons: list[str]) -> None:
    """Write the keys and the first losses of the arms of a lesson's experiments into a file, as JSON. `renew` asks it
    of an older tree."""
    (path,) = running.paths_of(lessons)
    note.write_text(json.dumps(experiments.keys(path, experiments.REPLAYED)), encoding="utf-8")


def write_claims() -> None:
    """Write CLAIMS.md and its pictures from the ledger and the recorded verdicts."""
    claims.write()


def fold(lessons: list[str]) -> None:
    """Fold what only draws, phrases or sets up, in the notebooks of these lessons, or of all.

    A cell with the tag hide-input or setup, or with nothing but imports, gets a first line `# @title …` and the
    metadata that fold it in JupyterLab, VS Code and Colab; other cells lose such metadata. Nothing else changes.
    """
    _rewrite(lessons, folding.fold, "Folded")


def link(lessons: list[str]) -> None:
    """Link the terms of the glossary where the text of these lessons, or of all, first uses them.

    A term that the lesson explains itself stands in bold or italics there, and stays as it is.
    """
    _rewrite(lessons, terms.link, "Linked")


def second(lessons: list[str]) -> None:
    """Mark lessons as of the second edition: from then on tests demand that they are folded and keep the form."""
    _rewrite(lessons, lesson.make_second, "Marked")


def _rewrite(lessons: list[str], change: Callable[[dict], object], done: str) -> None:
    for path in running.paths_of(lessons):
        if folding.rewrite(path, change):
            print(f"{done}: {path.stem}")


def form(lessons: list[str]) -> int:
    """Count the code in view and the words of lessons, and say what makes them hard to read.

    Complaints about a first edition are advice; one about a second edition makes the exit code 1.
    """
    forms = {path.stem: form_of(json.loads(path.read_text(encoding="utf-8"))) for path in running.paths_of(lessons)}
    print(table(forms))
    for name, one in forms.items():
        for _, sentence in one.complaints:
            print(name, sentence)
    return sum(len(one.complaints) for one in forms.values() if one.edition > 1)


def fork(repository: str) -> None:
    """Make the badges and setup cells open your fork, https://github.com/NAME/REPO, at its branch main."""
    print("Rewritten:", ", ".join(address.move(repository, "main")) or "nothing; the address was there")


def release(tag: str) -> None:
    """Make the badges and setup cells open the release TAG, such as v1.2.0, and say how to make that tag."""
    print("Rewritten:", ", ".join(address.move(address.repository(), tag)) or "nothing; the tag was there")
    print(f'Now:\n  git commit -am "Release {tag}"\n  git tag {tag}\n  git push origin HEAD {tag}')


def setup() -> None:
    """Print the setup cell that opens every notebook."""
    print(address.setup_cell())


COMMANDS = {"run": run, "redraw": redraw, "pages": building.build, "claims": write_claims, "readme": readme.write}
COMMANDS |= {"evidence": evidence, "audit": audit, "beginnings": beginnings}
COMMANDS |= {"stale": stale.say, "renew": renewal.renew, "new": scaffold.make}
COMMANDS |= {"fold": fold, "link": link, "second": second, "form": form}
COMMANDS |= {"fork": fork, "release": release, "setup": setup}

NAMED = ("redraw", "second")  # what asks for the names of lessons; the others take all without them


def main(words: list[str] | None = None) -> int:
    """Runs a command. Returns the exit code: 1 if something failed, 2 for a wrong call."""
    parser = argparse.ArgumentParser(prog="python -m course", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, function in COMMANDS.items():
        about = inspect.getdoc(function)
        command = commands.add_parser(name, help=about.splitlines()[0], description=about)
        for argument in inspect.signature(function).parameters.values():
            kind, given = argument.annotation, argument.default is not argument.empty
            if argument.kind is not argument.KEYWORD_ONLY:
                several = {"nargs": "+" if name in NAMED else "*", "metavar": "LESSON"} if kind == list[str] else {}
                command.add_argument(argument.name, type=Path if kind is Path else str, **several)
            elif kind is bool:
                command.add_argument(f"--{argument.name}", action="store_true")
            else:
                default = {"default": argument.default} if given else {"required": True}
                command.add_argument(f"--{argument.name}", type=kind, metavar="N", **default)
    options = vars(parser.parse_args(words))
    try:
        return int(bool(COMMANDS[options.pop("command")](**options)))
    except (ValueError, FileNotFoundError) as refusal:
        print(refusal, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
