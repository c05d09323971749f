"""The package's shape: wings whose imports go down only, no circle, no module named as a thing in it, working faces."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import tdnn_helpers
from tdnn_helpers.evidence.definitions import Definitions

PACKAGE = Path(tdnn_helpers.__file__).parent
files = pytest.fixture(lambda: read(), scope="module")
ORDER = "core session data models train evidence measures methods figures exercises checklist".split()


def read(package=PACKAGE):
    """name → (imports as {module it needs}, names that it defines) for each file of a package."""
    definitions, found = Definitions(package), {}
    for name in definitions.files:
        module, needs = definitions.module(name), set()
        for node in ast.walk(ast.parse(module.source)):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                for origin, part in dict(module.imported(node)).values():
                    inside = f"{origin}.{part}".strip(".")
                    needs.add(inside if inside in definitions.files else origin)
        found[name] = needs - {name}, set(module.definitions)
    return found


def wing(module):
    return module.partition(".")[0]


def upward(files):
    """The imports that do not go down: (module, what it needs)."""
    place = {name: i for i, name in enumerate(ORDER)}
    return sorted(
        (name, need)
        for name, (needs, _) in files.items()
        for need in needs
        if name and wing(name) != wing(need) and place[wing(name)] <= place.get(wing(need), 99)
    )


def named_as_a_definition(files):
    """Modules with the name of a thing that they or their wing define: an import could mean either."""
    wings = {}
    for name, (_, defined) in files.items():
        wings.setdefault(wing(name), set()).update(defined)
    return sorted(name for name in files if name and name.rpartition(".")[2] in wings[wing(name)])


def test_every_wing_has_its_place_and_no_module_bears_the_name_of_what_it_defines(files):
    assert sorted(wing(name) for name in files if name.isidentifier()) == sorted(ORDER)
    assert named_as_a_definition(files) == []


def test_imports_go_down_only_and_never_in_a_circle(files):
    assert upward(files) == []
    # A module of a wing runs after the wing's face has begun, and the face hands its names on: that is no circle.
    inside = {name: {need for need in needs if not name.startswith(f"{need}.")} for name, (needs, _) in files.items()}
    assert list(TopologicalSorter(inside).static_order())


def test_these_rules_see_what_breaks_them(tmp_path):
    texts = {"core/a": "from ..data import b", "data/b": "def b(): ...", "data/c": "from .d import x"}
    for name, text in (texts | {"data/d": "x = 1"}).items():
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    files = read(tmp_path)
    assert upward(files) == [("core.a", "data.b")]
    assert named_as_a_definition(files) == ["data.b"]


def test_every_name_of_a_face_can_be_taken_from_the_package_itself():
    names = [name for name in dir(tdnn_helpers) if not name.startswith("_")]
    assert {"compare", "fit", "load", "small_cnn", "start", "explore"} <= set(names)
    for name in names:
        assert getattr(tdnn_helpers, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'no_such_thing'"):
        tdnn_helpers.no_such_thing  # noqa: B018


def test_no_two_faces_hand_on_the_same_name():
    names = []
    for name in ORDER:
        if (face := PACKAGE / name / "__init__.py").exists():
            statements = ast.parse(face.read_text(encoding="utf-8")).body
            handed = [node for node in statements if isinstance(node, ast.ImportFrom) and node.level == 1]
            names += [alias.name for node in handed for alias in node.names]
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)
