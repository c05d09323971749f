"""Runs the lessons, keeps what they recorded and draws their pages: ``python -m course --help``."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
