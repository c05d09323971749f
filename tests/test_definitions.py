"""A digest changes with what a lesson's results follow from, and with nothing else."""

import shutil

import pytest

from tdnn_helpers.evidence.definitions import Definitions

FILES = {
    "__init__": "",
    "numbers": '"""Numbers."""\nfrom .deep import ground as start\nfrom . import tools\n\nTABLE = {"one": start}\n\n\n'
    'def count(x):\n    """Doc."""\n    return TABLE["one"](x) + tools.add(x)  # why\n\n\ndef other():\n    return 1\n',
    "deep/__init__": "from .base import ground\nfrom ..tools import register\n\nregister(ground)\n",
    "deep/base": "def ground(x):\n    return helper(x)\n\n\ndef helper(x):\n    return x\n",
    "tools": "LIST = []\n\n\ndef add(x):\n    return x\n\n\ndef register(x):\n    LIST.append(x)\n\n\n"
    "def unused():\n    pass\n",
    "figures/plots": "from ..tools import unused\n\n\ndef draw():\n    return unused()\n",
}
CODE = (
    "from tdnn_helpers.numbers import count\nfrom tdnn_helpers.figures.plots import draw\n\nanswer = count(3)\ndraw()"
)


@pytest.fixture
def package(tmp_path):
    """A function: the definitions of a small package in which some text was replaced, or whose files were moved."""

    def of(file="", old="", new="", files=FILES):
        folder = tmp_path / "tdnn_helpers"
        shutil.rmtree(folder, ignore_errors=True)
        for name, text in files.items():
            path = folder / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert name != file or old in text
            path.write_text(text.replace(old, new) if name == file else text)
        return Definitions(folder)

    return of


@pytest.fixture
def digest(package):
    """A function: the digest of this code over that package."""
    return lambda code=CODE, *change, **named: package(*change, **named).of_code(code)


ADD = ("tools", "def add(x):\n    return x", "def add(x):\n    return 2")
OTHER = ("numbers", "return 1", "return 2")
MODULE = "from tdnn_helpers import numbers as n\n\nn.other()"


@pytest.mark.parametrize(
    ("counts", "file", "old", "new"),
    [
        (True, "numbers", "+ tools", "- tools"),
        (True, "numbers", '{"one"', '{"two": 2, "one"'),
        (True, "deep/base", "return x", "return -x"),  # by a table, a renamed import and a package that passes it on
        (True, "deep/base", "return helper", "return 2 * helper"),
        (True, "deep/__init__", "register(ground)", "register(2)"),  # runs on import
        (True, *ADD),
        (True, "tools", "LIST = []", "LIST = [1]"),
        (False, "numbers", '"""Doc."""', '"""Other words,\n    on two lines."""'),
        (False, "numbers", "# why", "# another reason"),
        (False, "numbers", '"""Numbers."""', '"""A better word."""'),
        (False, *OTHER),
        (False, "tools", "pass", "return 7"),
        (False, "figures/plots", "return unused()", "return 5"),
    ],
)
def test_what_a_lesson_reaches_counts_and_words_figures_and_what_it_never_reaches_do_not(
    digest, counts, file, old, new
):
    assert (digest() != digest(CODE, file, old, new)) == counts


def test_the_lessons_own_code_counts_and_its_comments_do_not(digest):
    assert digest() == digest(CODE + "  # a remark") == digest(CODE)
    assert digest() != digest(CODE.replace("3", "4"))
    assert digest(MODULE) == digest(MODULE, *ADD)  # of a module that is imported as a whole, what is used of it


def test_a_file_that_moves_and_a_face_that_hands_names_on_change_nothing(package, digest):
    places = {"numbers": "wing/counting", "tools": "core/tools"}
    files = {places.get(name, name): text for name, text in FILES.items()}
    files |= {"wing/__init__": "from .counting import count", "core/__init__": ""}
    changes = {"from .deep": "from ..deep", "from . import": "from ..core import", "..tools": "..core.tools"}
    for old, new in changes.items():
        assert any(old in text for text in files.values())
        files = {name: text.replace(old, new) for name, text in files.items()}
    for place in ("tdnn_helpers.wing.counting", "tdnn_helpers.wing", "tdnn_helpers"):  # the last finds it by the name
        assert digest() == package(files=files).of_code(CODE.replace("tdnn_helpers.numbers", place))


def test_another_definition_under_the_same_name_counts(package):
    files = {"__init__": "", "a": "def f():\n    return 1\n\n\ndef g():\n    return 2\n"}
    files["b"] = files["a"].replace("1", "3")
    imports = "a import f", "b import f", "a import f, g", "a import f as g, g as f"
    found = [package(files=files).of_code(f"from tdnn_helpers.{line}\nf()\ng = 0") for line in imports]
    assert found[0] != found[1] and found[2] != found[3]


@pytest.mark.parametrize(
    ("counts", "what", "edit"),
    [
        (True, ("numbers", "count"), ("deep/base", "return x", "return -x")),
        (False, ("numbers", "count"), OTHER),
        (True, ("numbers",), OTHER),
        (True, ("deep",), ("deep/base", "return x", "return -x")),  # what it passes on
        (True, ("figures.plots", "draw"), ("figures/plots", "return unused()", "return 5")),  # here every wing counts
    ],
)
def test_a_definition_and_a_whole_module_have_a_digest(package, counts, what, edit):
    assert (package().of(*what) != package(*edit).of(*what)) == counts
    assert package().all != package("numbers", "# why", "# reason").all


def test_the_checksums_of_the_data_count_for_who_reads_them(package, tmp_path):
    (tmp_path / "data").mkdir()
    listing = tmp_path / "data" / "checksums.json"
    files = {"__init__": "", "a": 'def read():\n    return "checksums.json"\n\n\ndef other():\n    return 1\n'}
    found = []
    for content in ("{}", '{"a": 1}'):
        listing.write_text(content)
        found.append([package(files=files).of("a", name) for name in ("read", "other")])
    assert found[0][0] != found[1][0] and found[0][1] == found[1][1]


def test_the_data_folder_in_use_decides(package, tmp_path, monkeypatch):
    for folder, content in (("data", "{}"), ("copy", "{}"), ("other", '{"a": 1}'), ("empty", None)):
        (tmp_path / folder).mkdir()
        if content:
            (tmp_path / folder / "checksums.json").write_text(content)
    ours = package(files={"__init__": "", "a": 'def read():\n    return "checksums.json"\n'})
    found = {"": ours.of("a", "read")}
    for folder in ("data", "copy", "other", "empty"):
        monkeypatch.setenv("TDNN_DATA", str(tmp_path / folder))
        found[folder] = ours.of("a", "read")
    assert found[""] == found["data"] == found["copy"] and len(set(found.values())) == 3


@pytest.mark.parametrize(
    ("code", "edit"),
    [
        ("def f():\n    import tdnn_helpers.tools as t\n    return t.add(1)", ADD),
        ("import tdnn_helpers.numbers\ntdnn_helpers.numbers.other()", OTHER),
        ("import tdnn_helpers as t\nt.numbers.other()", OTHER),
        ("from tdnn_helpers import numbers\nheld = numbers\nheld.other()", OTHER),
        ('from tdnn_helpers import numbers\ngetattr(numbers, "other")()', OTHER),
        ("from tdnn_helpers.numbers import *\nother()", OTHER),
        ("if True:\n    from tdnn_helpers.numbers import other\nother()", OTHER),
        ("async def run():\n    from tdnn_helpers.numbers import other\n    return other()", OTHER),
        (MODULE, OTHER),
    ],
)
def test_every_way_to_a_definition_is_followed(digest, code, edit):
    assert digest(code) != digest(code, *edit)


def test_what_stands_beside_an_import_or_a_docstring_counts(digest):
    for code in "from tdnn_helpers.numbers import other; rate = 1", 'def f(x): "Doc."; return x + 1':
        assert digest(code) != digest(code.replace("1", "2"))


def test_order_and_number_of_what_runs_on_import_count(package):
    found = set()
    for numbers in "1", "11", "12", "21":
        lines = ["A = []", *(f"A.append({number})" for number in numbers), "def f():\n    return A"]
        found.add(package(files={"__init__": "", "a": "\n".join(lines)}).of("a", "f"))
    assert len(found) == 4
