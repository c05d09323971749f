"""A digest changes with what a lesson's results follow from, and with nothing else."""

import pytest
from nbformat.v4 import new_code_cell, new_notebook

import sources

ROOMS = {
    "__init__": "",
    "numbers": '"""Room."""\nfrom .deep import ground as start\nfrom . import tools\n\nTABLE = {"one": start}\n\n\n'
    'def count(x):\n    """Doc."""\n    return TABLE["one"](x) + tools.add(x)  # why\n\n\ndef other():\n    return 1\n',
    "deep/__init__": "from .base import ground\nfrom ..tools import register\n\nregister(ground)\n",
    "deep/base": "def ground(x):\n    return helper(x)\n\n\ndef helper(x):\n    return x\n",
    "tools": "LIST = []\n\n\ndef add(x):\n    return x\n\n\ndef register(x):\n    LIST.append(x)\n\n\n"
    "def unused():\n    pass\n",
    "plots": "from .tools import unused\n\n\ndef draw():\n    return unused()\n",
}
CODE = "from tdnn_helpers.numbers import count\nfrom tdnn_helpers.plots import draw\n\nanswer = count(3)\ndraw()"


@pytest.fixture
def digest(tmp_path, monkeypatch):
    """A function: the digest of a lesson with this code, over a small package in which some text was replaced."""

    def of(code=CODE, room="", old="", new="", tags=()):
        package = tmp_path / "tdnn_helpers"
        for name, text in ROOMS.items():
            path = package / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            if name == room:
                assert old in text
                text = text.replace(old, new)
            path.write_text(text)
        monkeypatch.setattr(sources, "PACKAGE", package)
        sources.modules.cache_clear()
        sources.parsed.cache_clear()
        return sources.digest(new_notebook(cells=[new_code_cell(code, metadata={"tags": list(tags)})]))

    yield of
    sources.modules.cache_clear()
    sources.parsed.cache_clear()


@pytest.mark.parametrize(
    ("room", "old", "new"),
    [
        ("numbers", "+ tools", "- tools"),
        ("numbers", '{"one"', '{"two": 2, "one"'),
        ("deep/base", "return x", "return -x"),  # reached by a table, a renamed import and a package that passes it on
        ("deep/base", "return helper", "return 2 * helper"),
        ("deep/__init__", "register(ground)", "register(2)"),  # runs on import
        ("tools", "def add(x):\n    return x", "def add(x):\n    return 2"),
        ("tools", "LIST = []", "LIST = [1]"),
    ],
)
def test_a_change_of_what_a_lesson_reaches_counts(digest, room, old, new):
    assert digest() != digest(room=room, old=old, new=new)


@pytest.mark.parametrize(
    ("room", "old", "new"),
    [
        ("numbers", '"""Doc."""', '"""Other words,\n    on two lines."""'),
        ("numbers", "# why", "# another reason"),
        ("numbers", '"""Room."""', '"""A better word."""'),
        ("numbers", "def other():\n    return 1", "def other():\n    return 2"),
        ("tools", "pass", "return 7"),
        ("plots", "return unused()", "return 5"),
    ],
)
def test_a_change_of_words_of_figures_or_of_what_it_never_reaches_does_not(digest, room, old, new):
    assert digest() == digest(room=room, old=old, new=new)


def test_the_lessons_own_code_counts_and_its_comments_and_setup_do_not(digest):
    assert digest() == digest(CODE + "  # a remark") == digest(CODE)
    assert digest() != digest(CODE.replace("3", "4"))
    assert digest("a = 1", tags=["setup"]) == digest("a = 2", tags=["setup"]) != digest("a = 1")


def test_a_module_that_is_imported_as_a_whole_is_followed_by_what_is_used_of_it(digest):
    code = "from tdnn_helpers import numbers as n\n\nn.other()"
    assert digest(code) != digest(code, "numbers", "return 1", "return 2")
    assert digest(code) == digest(code, "tools", "def add(x):\n    return x", "def add(x):\n    return 2")
    inside = "def f():\n    import tdnn_helpers.tools as t\n    return t.add(1)"
    assert digest(inside) != digest(inside, "tools", "def add(x):\n    return x", "def add(x):\n    return 2")
