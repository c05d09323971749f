"""Helpers of the course *Training Deep Networks from Zero to Hero*.

Import from the room that a name lives in, for example ``from tdnn_helpers.train import fit``; the README lists them.
"""
