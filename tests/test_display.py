"""What a notebook shows: pictures and prose; and the explorer: live panel (callbacks called by moving its controls),
static twin, errors, no leaked figure."""

import base64
import io
from functools import partial

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pytest
from PIL import Image

from tdnn_helpers.figures import display as display_module
from tdnn_helpers.figures import widgets


@pytest.fixture
def shown(monkeypatch):
    """What was displayed: (data, metadata) pairs, or widgets."""
    outputs = []

    def record(thing, metadata=None, raw=False):
        outputs.append((thing, metadata or {}) if raw else thing)

    monkeypatch.setattr(display_module, "display", record)
    monkeypatch.setattr(widgets, "display", record)
    return outputs


@pytest.fixture
def static(monkeypatch):
    """As if on a page."""
    monkeypatch.setenv("TDNN_STATIC", "1")


@pytest.fixture
def live(monkeypatch):
    """As if in a notebook's kernel."""
    pytest.importorskip("ipywidgets")
    monkeypatch.setattr(widgets, "_widgets_work", lambda: True)


@pytest.fixture(autouse=True)
def no_figure_is_left_open():
    plt.close("all")
    yield
    assert plt.get_fignums() == []


class Recorder:
    """A draw function that notes each call; raises when ``n`` is 13."""

    __name__ = "draw_bars"

    def __init__(self):
        self.calls = []

    def __call__(self, n=1, kind="solid"):
        """Bars."""
        self.calls.append((n, kind))
        fig, ax = plt.subplots(figsize=(2, 1.5))
        if n == 13:
            raise RuntimeError("no bar thirteen")
        ax.bar(range(n), range(n))
        return fig


def draw_line(slope):
    """A line of the given slope."""
    plt.figure(figsize=(2, 1.5))
    plt.plot([0, 1], [0, slope])


def pixels(data: bytes):
    return Image.open(io.BytesIO(data))


def test_show_stores_the_alternative_text_and_closes(shown):
    fig, _ = plt.subplots(figsize=(2, 1), facecolor="none")
    png = display_module.png(fig)
    assert png == display_module.png(fig)  # bit for bit, and opaque white
    assert pixels(png).format == "PNG" and pixels(png).convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)
    display_module.show(fig, "An empty pair of axes.")
    assert plt.get_fignums() == []
    with pytest.raises(ValueError, match="alternative text"):
        display_module.show_png(b"", " ")
    ((data, metadata),) = shown
    assert metadata == {"image/png": {"alt": "An empty pair of axes."}}
    assert data == {"image/png": base64.b64encode(png).decode(), "text/plain": "An empty pair of axes."}


def test_a_picture_keeps_the_colours_of_its_thin_lines():
    """A palette must not merge two colours of the cycle: an arm would take the colour of another."""
    colours = ["#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#56b4e9", "#949494"]
    figure, axis = plt.subplots()
    for height, colour in enumerate(colours):
        axis.axhline(height, color=colour, linewidth=2)
        axis.axhspan(height - 0.3, height + 0.3, color=colour, alpha=0.15, linewidth=0)
    drawn = pixels(display_module.png(figure)).convert("RGB")
    plt.close(figure)
    seen = [colour for _, colour in drawn.getcolors(maxcolors=256)]
    for colour in colours:
        wanted = bytes.fromhex(colour[1:])
        assert min(max(abs(a - b) for a, b in zip(wanted, found)) for found in seen) <= 6, colour


def test_say_is_markdown_with_a_plain_fallback_and_a_real_minus_for_numbers(shown):
    display_module.say("-0.5 pp [-1, -0.2], **3-5** seeds, 1e-07, top-1, `x = -1`; x - 1\n- 5 images")
    said = "−0.5 pp [−1, −0.2], **3-5** seeds, 1e-07, top-1, `x = -1`; x - 1\n- 5 images"
    assert shown == [({"text/markdown": said, "text/plain": said}, {})]


def test_live_panel_redraws_in_place(shown, live):
    ipywidgets, draw = pytest.importorskip("ipywidgets"), Recorder()
    widgets.explore(draw, n=[1, 2, 3], kind=["solid", "dashed"])
    bar, image, caption = shown[0].children
    slider, menu = bar.children
    assert isinstance(slider, ipywidgets.SelectionSlider) and isinstance(menu, ipywidgets.Dropdown)
    before = image.value
    slider.value = 3
    assert caption.value == "n = 3, kind = solid"
    assert image.value != before and pixels(image.value).format == "PNG"
    menu.value = "dashed"
    slider.value, menu.value = 1, "solid"
    assert image.value == before  # it was kept
    assert len(shown) == 1 and draw.calls == [(1, "solid"), (3, "solid"), (3, "dashed"), (1, "dashed")]


@pytest.mark.parametrize("wrap", [lambda draw: draw, partial])  # a partial has no name of its own
def test_error_in_a_callback_is_one_sentence_and_goes_away(shown, live, monkeypatch, wrap):
    widgets.explore(wrap(Recorder()), n=[1, 13, 2])
    bar, image, caption = shown[0].children
    bar.children[0].value = 13
    assert caption.value == "No figure for n = 13: draw_bars raised RuntimeError: no bar thirteen"
    assert image.layout.visibility == "hidden"
    bar.children[0].value = 2
    assert caption.value == "n = 2" and image.layout.visibility == "visible"
    for is_static in "01":  # one in the first figure is raised
        monkeypatch.setenv("TDNN_STATIC", is_static)
        with pytest.raises(RuntimeError, match="no bar thirteen"):
            widgets.explore(Recorder(), n=[13, 1])


def test_static_twin_shows_pictures_and_no_widget(shown, live, static):
    widgets.explore(draw_line, slope=[0.0, 0.5, 2.0], twin=[{"slope": 0.5}, {"slope": 2.0}])
    kinds = [sorted(data) for data, _ in shown]
    assert kinds == [["text/markdown", "text/plain"], ["image/png", "text/plain"]] * 2
    assert shown[0][0]["text/markdown"] == "**slope = 0.5**"
    assert shown[1][1]["image/png"]["alt"] == "A line of the given slope; slope = 0.5."
    assert shown[1][0]["image/png"] != shown[3][0]["image/png"]


def test_without_a_kernel_the_twin_is_shown_and_fills_in_what_a_setting_leaves_out(shown):
    draw = Recorder()
    widgets.explore(draw, n=[1, 2], kind=["solid", "dashed"], twin=[{"kind": "dashed"}, {"n": 2}])
    assert draw.calls == [(1, "dashed"), (2, "solid")]
    assert len(shown) == 4 and all(isinstance(output, tuple) for output in shown)


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ({"a": [5]}, [{"a": 5}]),
        ({"a": [1, 2, 3, 4, 5]}, [{"a": 1}, {"a": 3}, {"a": 5}]),
        ({"a": [1, 2, 3], "b": "xyz"}, [{"a": a, "b": b} for a, b in ((1, "x"), (1, "z"), (2, "x"), (3, "x"))]),
    ],
)
def test_default_twin_is_at_most_four_pictures(choices, expected):
    assert widgets._default_twin(choices) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "at least one control"),
        *(({"slope": values}, '"slope" needs a list') for values in ([], "abc", 3)),
        ({"slope": [1, 2], "twin": [{"slpe": 1}]}, 'Did you mean "slope"'),
        ({"slope": [1, 2], "twin": [{"slope": 3}]}, r"has only \[1, 2\]"),
    ],
)
def test_bad_controls_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        widgets.explore(draw_line, **arguments)


def test_draw_must_give_a_figure_and_one_that_was_open_before_is_not_touched(shown, static):
    def draws_nothing(n):
        return n

    mine = plt.figure()
    widgets.explore(draw_line, slope=[1, 2])
    assert len(shown) == 4
    for draw in (draws_nothing, partial(draws_nothing)):
        with pytest.raises(TypeError, match="draws_nothing must return a matplotlib figure"):
            widgets.explore(draw, n=[1])
    assert plt.get_fignums() == [mine.number]
    plt.close(mine)
