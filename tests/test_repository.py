"""The repository keeps its promises: notebooks obey the rules, versions agree, the README is true."""

import ast
import json
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course import NOTEBOOKS, ROOT, claims, forests, readme
from course.address import badge, setup_cell
from course.folding import fold, untitled
from course.lesson import make_second
from course.pages.drawing import TEXTS
from course.stale import digest
from notebook_rules import NOW, RULES, missing_links
from tdnn_helpers.evidence.claims import ledger

RULE = {rule.__name__: rule for rule in RULES}
NAME = "00_example.ipynb"
PNG = {"image/png": "iVBORw0KGgo="}


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# --- the rules of a notebook, on the course and on notebooks that break them -----------------------------------------


BOOKS = {path: nbformat.v4.reads(path.read_text(encoding="utf-8")) for path in sorted(NOTEBOOKS.glob("*.ipynb"))}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_notebook_obeys(path, rule):
    complaints = list(rule(BOOKS[path], path.name))
    assert not complaints, f"{path.name} " + "; ".join(complaints)


def good_notebook():
    figure = new_output("display_data", data=PNG, metadata={"image/png": {"alt": "A falling curve"}})
    question = "## Question\n\nSee the [README](../README.md) and $x^2 = 1.5 %$ of 40 %.\n\n```python\n# no title\n```"
    cells = [
        new_markdown_cell(f"# Title\n\n{badge(NAME)}\n\nIt took <!-- time -->1.5 min on 2 CPU cores<!-- /time -->."),
        new_code_cell(setup_cell(), metadata={"tags": ["setup"]}),
        new_code_cell('session = start("00_example")'),
        new_markdown_cell(question),
        new_code_cell("show(figure)", outputs=[figure]),
        new_markdown_cell("What it shows."),
    ]
    notebook = new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    notebook.metadata["tdnn"] = {"seconds": 90, "device": "cpu", "cpus": 2, "source": digest(notebook, NOW)}
    fold(notebook)
    make_second(notebook)
    return notebook


def add_code(source="x = 1", output_type="display_data", **output):
    outputs = [new_output(output_type, **output)] if output else []
    return lambda n: n.cells.insert(3, new_code_cell(source, outputs=outputs))


def add_text(text):
    return lambda n: n.cells.append(new_markdown_cell(text))


def set_source(position, source):
    return lambda n: n.cells[position].update(source=source)


BAD = [
    ("valid_notebook", lambda n: n.cells[1].update(id=n.cells[0].id)),
    ("valid_notebook", lambda n: n.cells[1].pop("id")),
    ("valid_notebook", lambda n: n.cells[1].update(outputs="none")),
    ("python3_kernel", lambda n: n.metadata.kernelspec.update(name="conda-env-mine-py")),
    ("python3_kernel", lambda n: n.metadata.pop("kernelspec")),
    ("no_error_outputs", add_code(output_type="error", ename="ValueError", evalue="", traceback=[])),
    ("no_error_outputs", add_code(output_type="stream", name="stderr", text="UserWarning: look")),
    ("no_widget_state", lambda n: n.metadata.update(widgets={})),
    ("no_widget_state", add_code(data={"application/vnd.jupyter.widget-view+json": {}})),
    ("short_cells", add_code("x = 1\n" * 50 + "x = 2")),
    ("heading_order", add_text("# A second title")),
    ("heading_order", add_text("#### Two levels down")),
    ("heading_order", set_source(0, f"## No title\n\n{badge(NAME)}")),
    ("plain_python", add_code("!pip install something")),
    ("plain_python", add_code("%timeit 1 + 1")),
    ("no_typed_results", add_text("It gains 3.5 % on the test set.")),
    ("no_typed_results", add_text("It gains +2 pp.")),
    ("no_typed_results", add_text("It gains a little, [0.1, 0.9].")),
    ("same_setup", set_source(1, setup_cell() + "\n")),
    ("same_setup", lambda n: n.cells[1].metadata.pop("tags")),
    ("starts_its_own_lesson", set_source(2, 'session = start("another")')),
    ("colab_badge", set_source(0, "# Title")),
    ("colab_badge", set_source(0, f"# Title\n\n{badge('another.ipynb')}")),
    ("says_its_time", lambda n: n.metadata.tdnn.update(seconds=61)),
    ("says_its_time", lambda n: n.metadata.pop("tdnn")),
    ("says_its_time", set_source(0, f"# Title\n\n{badge(NAME)}\n\nIt took 1.5 min on 2 CPU cores.")),
    ("results_are_of_this_code", add_code("x = 1")),
    ("results_are_of_this_code", lambda n: n.metadata.tdnn.pop("source")),
    ("experiments_fill_the_bank", lambda n: n.cells[2].metadata.update(tags=["experiment"])),
    ("experiments_fill_the_bank", add_code("runs = compare(arms, bank='runs')")),
    ("png_figures_with_alt_text", lambda n: n.cells[4].outputs[0].metadata.clear()),
    ("png_figures_with_alt_text", lambda n: n.cells[4].outputs[0].data.update({"image/svg+xml": "<svg/>"})),
    ("png_figures_with_alt_text", add_code(data={"text/html": "<img src='data:,'>"})),
    ("figures_are_explained", lambda n: n.cells.pop()),
    ("figures_are_explained", lambda n: n.cells.insert(5, new_code_cell("x = 1"))),
    ("small_file", add_code("'" + "x" * 600_000 + "'")),
    ("links_exist", add_text("[gone](gone.ipynb)")),
    ("links_exist", add_text('<img src="gone.png">')),
    ("folded_everywhere", lambda n: n.cells[1].metadata.pop("jupyter")),
    ("folded_everywhere", lambda n: n.cells[1].metadata.pop("cellView")),
    ("folded_everywhere", lambda n: n.cells[1].update(source=untitled(n.cells[1].source))),
    ("folded_everywhere", lambda n: n.cells[4].metadata.update(cellView="form")),
    ("folded_everywhere", add_code("import os")),
    ("folds_no_idea", lambda n: n.cells[4].update(source="judge(x)", metadata={"tags": ["hide-input"]})),
    ("reads_well", add_code("known = 1")),
    ("drawable_formulas", add_text(r"$\nosuchcommand{x}$")),
    ("drawable_formulas", add_text("$x_{$")),
    ("drawable_formulas", add_code(data={"text/markdown": "$x_{$"})),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_accepts_a_good_notebook(rule):
    assert list(rule(good_notebook(), NAME)) == []


@pytest.mark.parametrize(("name", "change"), BAD, ids=[name for name, _ in BAD])
def test_rule_refuses_a_bad_notebook(name, change):
    notebook = good_notebook()
    change(notebook)
    assert list(RULE[name](notebook, NAME))


FOR_SECOND = ("folded_everywhere", "folds_no_idea", "reads_well")


@pytest.mark.parametrize(("name", "change"), [pair for pair in BAD if pair[0] in FOR_SECOND])
def test_a_first_edition_may_lack_the_form_and_what_folds_it(name, change):
    notebook = good_notebook()
    change(notebook)
    notebook.metadata.tdnn.pop("edition")
    assert list(RULE[name](notebook, NAME)) == []
    notebook.cells[1].source = setup_cell().replace("# @title Setup\n#", "# Setup.")  # nor the title of the setup cell
    assert list(RULE["same_setup"](notebook, NAME)) == []


def test_every_rule_has_a_notebook_that_breaks_it_and_a_figure_may_be_explained_by_its_own_cell():
    assert set(RULE) == {name for name, _ in BAD}
    notebook = good_notebook()
    notebook.cells.pop()
    notebook.cells[4].outputs.append(new_output("display_data", data={"text/markdown": "The loss falls."}))
    assert list(RULE["figures_are_explained"](notebook, NAME)) == []


# --- versions ---------------------------------------------------------------------------------------------------------


def requirements(text: str) -> dict[str, str]:
    """{name: version part} of every requirement-like line of a file."""
    line = r"""^\s*(?:-\s)?["']?([A-Za-z][\w.-]*)((?:[<>=!~]=?[\w.*,]+)*)(?=["',;\s]|$)"""
    return {name.lower().replace("_", "-"): version for name, version in re.findall(line, text, re.MULTILINE)}


LISTS = r"^(?:dependencies|dev) = \[\n(.*?)^\]"
PACKAGE = requirements("".join(re.findall(LISTS, read("pyproject.toml"), re.MULTILINE | re.DOTALL)))
PIP, CONDA = requirements(read("requirements.txt")), requirements(read("environment.yml"))


def capped(needs: dict[str, str]) -> list[str]:
    return [name for name, version in needs.items() if version and not re.fullmatch(r">=[\d.]+", version)]


def test_needs_have_floors_only():
    assert {"torch", "distributed"} <= set(PACKAGE) and "-e .[dev]" in read("requirements.txt")
    assert capped(PACKAGE) == capped(PIP) == capped(CONDA) == []
    assert capped(requirements('"torch>=2.4,<3"\n"numpy==2.0"\nscipy~=1.1\npandas>=2')) == ["torch", "numpy", "scipy"]


def test_conda_gets_what_pip_gets():
    conda_names = {"torch": "pytorch", "matplotlib": "matplotlib-base", "seaborn": "seaborn-base"}
    conda_names["playwright"] = "playwright-python"  # conda-forge's "playwright" is another package
    for name, floor in (PACKAGE | PIP).items():
        assert CONDA.get(conda_names.get(name, name)) == floor, f"environment.yml says something else about {name}"


def test_constraints_are_exact_public_versions():
    lines = [line for line in read("constraints.txt").splitlines() if not line.startswith("#")]
    assert len(lines) > 50
    for line in lines:
        assert re.fullmatch(r"[a-z0-9-]+==[\w.]+ ; python_version >= \"3\.11\"", line), line
        assert not re.match(r"nvidia|cuda|triton", line), f"{line}: CUDA's packages follow torch"
    pinned = requirements("\n".join(line.partition(" ;")[0] for line in lines))
    assert set(PACKAGE) | {"jupyterlab", "nbval", "pytest", "pytest-xdist", "latex2mathml"} <= set(pinned)


# --- files ------------------------------------------------------------------------------------------------------------


def test_no_file_is_too_large_for_github_and_the_links_of_the_markdown_files_exist():
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this copy of the course is not a git checkout")
    committed = [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    assert [path.name for path in committed if path.stat().st_size > 35_000_000] == []
    for path in (path for path in committed if path.suffix == ".md"):
        # The texts of the pages are drawn as if they lay beside the lessons.
        folders = {path.parent, NOTEBOOKS if TEXTS in path.parents else path.parent}
        missing = [set(missing_links(path.read_text(encoding="utf-8"), folder)) for folder in folders]
        assert not set.intersection(*missing), path.name
    text = "[a](gone.md) [b](https://example.org) [c](#here) [d](README.md#start) [e](README.md#end)"
    assert missing_links(text, ROOT) == ["README.md#end", "gone.md"]


def test_the_readme_is_up_to_date_and_what_is_generated_goes_between_its_marks():
    assert readme.with_table(read("README.md")) == read("README.md"), "run: python -m course readme"
    assert "stands" not in readme.with_table("<!-- lessons -->\nstands\n<!-- /lessons -->")
    text = "before\n<!-- a -->\nold\n<!-- /a -->\nafter\n"
    new = readme.marked(text, "a", "new")
    assert new == text.replace("old", "new") and readme.marked(readme.marked(text, "a", "x"), "a", "new") == new
    for broken in ("no marks", "<!-- a -->\n", "<!-- /a --> <!-- a -->\n"):
        with pytest.raises(ValueError, match="no place for a:"):
            readme.marked(broken, "a", "new")


def test_the_page_of_claims_is_what_the_runs_recorded_and_every_claim_has_a_verdict_and_a_place():
    assert read("CLAIMS.md") == claims.page(), "run: python -m course claims"
    lines = claims.page().partition("\n## ")[0].splitlines()  # without the larger runs and the repairs
    rows = [line.split(" | ") for line in lines if line.startswith("| C")]
    assert len(rows) == len(ledger()["claims"])
    assert [row[0] for row in rows if row[4] == "… open" or ", " not in row[5]] == []


def test_a_claim_whose_rule_has_changed_is_open_and_its_larger_run_says_so(monkeypatch, tmp_path):
    (tmp_path / "verdicts" / "full").mkdir(parents=True)
    nbformat.write(new_notebook(), tmp_path / "01_a.ipynb")
    known = {claim["id"]: claim for claim in ledger()["claims"]}
    name, record = next((name, record) for name, record in claims.settled().items() if record["effects"])
    for path in ("01_a.json", "full/01_a.json"):
        (tmp_path / "verdicts" / path).write_text(json.dumps({name: record}))
    for edit in ({}, {"rule": "Another."}, {"decide": known[name]["decide"] | {"unit": "furlongs"}}):
        monkeypatch.setattr(claims, "ledger", lambda new=known[name] | edit: {"claims": [new], "repairs": []})
        page = claims.page(tmp_path)
        assert ("Measured: 1 (open 1)" in page) == ("judged by an earlier version of the rule" in page) == bool(edit)
        assert claims.settled(tmp_path) == ({} if edit else {name: record})


def test_the_forests_lie_there_as_the_records_say():
    records = claims.settled()
    drawn = claims.pictures(records)
    for lesson, png in drawn.items():
        assert (NOTEBOOKS / "verdicts" / f"{lesson}.png").read_bytes() == png, f"{lesson}: run make claims"
    assert set(drawn) == {path.stem for path in (NOTEBOOKS / "verdicts").glob("*.png")}


def test_a_forest_has_the_claimed_side_on_the_right_and_counts_in_smallest_effects():
    rule = {"parts": 2, "expect": ["above", "below"], "than": [1, 0], "smallest": [2, None], "unit": "pp"}
    effect = dict(mean=5.0, low=3.0, high=7.0, n=5, unit="pp", what="x")
    ((name, line),) = forests.lines_of({"id": "C900", "decide": rule}, {"effects": {"150": [effect, effect]}})
    assert (name, line.low, line.mean, line.high) == ("C900 at 150", 1, 2, 3)
    claim = {"id": "C900", "decide": {"parts": 1, "expect": "below", "than": 0, "smallest": 2, "unit": "pp"}}
    record = {"effects": [effect], "verdict": "refuted here"}
    ((_, line),) = forests.lines_of(claim, record)
    assert (line.low, line.high) == (-3.5, -1.5)
    png = forests.picture([claim], {"C900": record})
    assert forests.shown_by(png) == forests.digest([claim], {"C900": record})
    other = record | {"effects": [effect | {"mean": 5.1}]}
    assert forests.digest([claim], {"C900": other}) != forests.shown_by(png)


def test_adjusted_p_values_count_all_parts_that_must_hold(monkeypatch):
    def effect(mean):
        return dict(mean=mean, low=mean - 1, high=mean + 1, n=10, unit="pp")

    sure, hardly = effect(9.0), effect(1.05)  # p is 6e-9 and 0.04
    rule = {"expect": "above", "than": 0, "unit": "pp"}
    wanted = {
        "C901": (rule | {"parts": 1}, [sure], "holds here", True),
        "C902": (rule | {"parts": 2}, [sure, hardly], "holds here", False),  # both must hold
        "C903": (rule | {"parts": 2, "needs": "one"}, {"100": [sure, hardly]}, "holds", True),
        "C904": (rule | {"parts": 1}, {"100": [sure], "300": [hardly]}, "holds", False),  # at each budget
        "C905": (rule | {"parts": 2}, [effect(-9.0), hardly], "refuted here", True),
        "C906": ({"within": 2, "parts": 1, "unit": "pp"}, [effect(0.9)], "holds here", False),
        "C907": (rule | {"parts": 1}, [hardly], "not shown at this scale", None),
    }
    rows = [{"id": name, "kind": "experiment", "decide": decide} for name, (decide, *_) in wanted.items()]
    monkeypatch.setattr(claims, "ledger", lambda: {"claims": rows})
    found = claims.adjusted_p({name: {"effects": kept, "verdict": word} for name, (_, kept, word, _) in wanted.items()})
    assert {name: p < 0.05 for name, p in found.items()} == {n: it[3] for n, it in wanted.items() if it[3] is not None}


def test_a_claim_has_its_place_in_the_notebook():
    cells = [
        new_markdown_cell("# Title\n\n## Question 1 · How?"),
        new_code_cell('judge(\n    "C001",\n    effect,\n)'),
        new_markdown_cell("### A part\n\n## Question 2 · Why?"),
        new_code_cell('exact("C002", True, "C003"); reading("C001", "")'),
    ]
    assert claims.places(new_notebook(cells=cells)) == {"C001": "Question 1", "C002": "Question 2"}


def test_the_commands_of_the_readme_exist():
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    shown = read("README.md") + read("Makefile").partition("help:\n")[2].partition("\n\n")[0]
    named = set(re.findall(r"\bmake ([a-z]+)", shown))
    assert {"course", "test", "lab", "bench", "claims", "redraw", "clean"} <= named <= targets


def test_no_module_hides_another_or_bears_the_name_of_its_function():
    importable = {path.stem for path in ROOT.glob("*.py")} | {path.parent.name for path in ROOT.glob("*/*.py")}
    assert "course" in importable and not importable & sys.stdlib_module_names
    for path in [*ROOT.glob("course/**/*.py"), *ROOT.glob("benchmarks/*.py")]:
        functions = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
        assert path.stem not in functions, path


def test_continuous_integration_is_make_test():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111, "chmod +x .ci/run"
    first, *between, last = script.read_text().splitlines()[1:]
    assert first == 'cd "$(dirname "$0")/.." || exit' and last == "exec make test"
    assert not re.search(r"\b(exit|exec|set|trap)\b", "\n".join(between)), "what comes before must not end the run"


@pytest.mark.parametrize(("installs", "browser"), [("works", False), ("fails", False), ("works", True)])
def test_continuous_integration_gets_a_browser_and_goes_on_without_one(tmp_path, installs, browser):
    """With stand-ins for the programs that it calls: they note what was asked for."""
    asked = tmp_path / "asked"
    programs = {"make": "", "apt-get": "exit 1" if installs == "fails" else "", "id": "echo 0; exit"}
    for name, body in programs.items() | ({("chromium", "")} if browser else set()):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\n[ {name} = id ] || echo "{name} $*" >> "{asked}"\n{body}\n')
        program.chmod(0o755)
    for name in ("bash", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name))
    environment = {"PATH": str(tmp_path), "CI": "true"}
    subprocess.run([ROOT / ".ci" / "run"], env=environment, check=True, capture_output=True)
    lines = asked.read_text().splitlines()
    assert lines[-1] == "make test"
    assert any("chromium" in line for line in lines) == (installs == "works" and not browser)
