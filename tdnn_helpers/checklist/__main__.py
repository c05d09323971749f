"""``python -m tdnn_helpers.checklist FOLDER``: the checklist on your own folder of images, as one HTML page."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

from .findings import WRONG
from .folder import check_folder


def main(arguments: list[str] | None = None) -> int:
    """0: nothing serious was found; 1: something was; 2: a wrong call."""
    parser = argparse.ArgumentParser(
        prog="python -m tdnn_helpers.checklist",
        description="Check a folder of images (one folder per class, or train/ and val/ with these) and a network.",
        epilog="Exit status: 0 nothing serious was found, 1 something was, 2 a wrong call.",
    )
    parser.add_argument("folder", help="the folder of images")
    parser.add_argument("--model", help="your own network, as file.py:ClassName; the file is executed")
    parser.add_argument("--size", type=int, default=64, help="pixels a side (64)")
    parser.add_argument("--epochs", type=int, help="of the brief training (2 to 30 by the number of images)")
    parser.add_argument("--external", help="a second folder, of the same classes from another source")
    parser.add_argument("--seed", type=int, default=0, help="of the split and the training (0)")
    parser.add_argument("--out", default="report.html", help="where the page goes (report.html)")
    given = parser.parse_args(arguments)
    target = Path(given.out).expanduser()
    try:
        if not target.parent.is_dir():
            raise ValueError(f'there is no folder "{target.parent}" for the report.')
        settings = {name: getattr(given, name) for name in ("size", "epochs", "external", "seed")}
        report = check_folder(given.folder, given.model, **settings)
        report.save(target)
    except (ValueError, OSError, MemoryError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    print(report)
    print(f"\nThe page: {target}")
    return int(report.worst == WRONG)


if __name__ == "__main__":
    warnings.simplefilter("ignore", UserWarning)
    sys.exit(main())
