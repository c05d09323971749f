"""A figure with controls, and its static twin for readers on a page that has no kernel.

``explore(draw, width=[8, 16, 32])`` puts one slider over the figure that ``draw(width=8)`` returns. Only core
ipywidgets are used, in the part that versions 7 and 8 share, so the same cell works in JupyterLab and on Colab.
"""

from __future__ import annotations

import html
import inspect
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from IPython import get_ipython
from IPython.display import display
from matplotlib.figure import Figure

from ..core.choices import check_known
from ..core.progress_bars import static
from .display import png, say, show_png

MOST_PICTURES = 4  # in a twin that was not given


def explore(
    draw: Callable[..., Figure | None], /, *, twin: Iterable[Mapping[str, Any]] | None = None, **controls: Iterable[Any]
) -> None:
    """Show the figure that ``draw`` makes, with one control for each of its arguments.

    ``draw(**values)`` is a plain function that returns a matplotlib figure, or draws on a new one. It is called for
    every move of a control, so it should only look up and plot what an earlier cell has computed. Each picture is
    kept: a setting that was seen before comes back at once. The first line of its docstring describes the figure.

    ``controls``: for each argument of ``draw`` its possible values (a list, tuple, range or array); the first is the
    setting to start from. Numbers get a slider, all else a drop-down menu.

    ``twin``: the settings to show one below the other where no control can work (TDNN_STATIC=1, no ipywidgets, no
    notebook); a control that a setting leaves out stays at its first value. By default the first, middle and last
    value of each control, one control at a time, at most four pictures.

    Raises whatever ``draw`` raises for the first figure; ValueError if there is no control, if one has no values, or
    if ``twin`` names a control or a value that does not exist. Later errors are shown in place of the figure.
    """
    if not controls:
        raise ValueError('explore needs at least one control, for example "width=[8, 16, 32]".')
    choices = {name: _values(name, values) for name, values in controls.items()}
    first = {name: values[0] for name, values in choices.items()}
    settings = _default_twin(choices) if twin is None else [first | _checked(given, choices) for given in twin]
    if static() or not _widgets_work():
        for setting in settings:
            say(f"**{_caption(setting)}**")
            show_png(_picture(draw, setting), _alt(draw, setting))
    else:
        display(_panel(draw, choices))


def _values(name: str, values: Iterable[Any]) -> list[Any]:
    listed = [] if isinstance(values, str) or not isinstance(values, Iterable) else list(values)
    if not listed:
        raise ValueError(f'Control "{name}" needs a list of at least one value, not {values!r}.')
    return listed


def _checked(setting: Mapping[str, Any], choices: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """The setting itself, if every control and value in it exists."""
    for name, value in setting.items():
        check_known(name, choices, "control for the twin")
        if value not in choices[name]:
            raise ValueError(f"The twin asks for {name} = {value!r}; that control has only {choices[name]}.")
    return dict(setting)


def _default_twin(choices: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """First, last and middle value of each control with the others at their first, in the order of the sliders."""
    start = (0,) * len(choices)
    picked = [start]
    for place in (lambda n: n - 1, lambda n: n // 2):
        for axis, values in enumerate(choices.values()):
            picked.append(start[:axis] + (place(len(values)),) + start[axis + 1 :])
    kept = sorted(list(dict.fromkeys(picked))[:MOST_PICTURES])
    return [{name: values[i] for i, (name, values) in zip(position, choices.items(), strict=True)} for position in kept]


def _widgets_work() -> bool:
    """True in a notebook's kernel with ipywidgets installed."""
    if getattr(get_ipython(), "kernel", None) is None:
        return False
    try:
        import ipywidgets  # noqa: F401
    except ImportError:
        return False
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _label(value: Any) -> str:
    return f"{value:g}" if _is_number(value) and not isinstance(value, numbers.Integral) else str(value)


def _caption(setting: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} = {_label(value)}" for name, value in setting.items())


def _function(draw: Callable) -> Callable:
    """What has a name and a docstring: of a partial, the function in it."""
    return getattr(draw, "func", draw)


def _alt(draw: Callable, setting: Mapping[str, Any]) -> str:
    draw = _function(draw)
    described = (inspect.getdoc(draw) or draw.__name__.replace("_", " ")).splitlines()[0].rstrip(".")
    return f"{described}; {_caption(setting)}."


def _picture(draw: Callable[..., Figure | None], setting: Mapping[str, Any]) -> bytes:
    """PNG bytes of ``draw(**setting)``. Every pyplot figure it opened is closed, also when it raises."""
    open_before = set(plt.get_fignums())
    try:
        result = draw(**setting)
        if result is None and set(plt.get_fignums()) > open_before:
            result = plt.gcf()
        fig = getattr(result, "figure", result)  # axes and seaborn grids know their figure
        if not isinstance(fig, Figure):
            name = _function(draw).__name__
            raise TypeError(f"{name} must return a matplotlib figure or draw a new one, not {result!r}.")
        plt.close(fig)  # also one that was open before, else the notebook draws it a second time
        return png(fig)
    finally:
        for number in set(plt.get_fignums()) - open_before:
            plt.close(number)


def _panel(draw: Callable[..., Figure | None], choices: Mapping[str, Sequence[Any]]) -> Any:
    """The live widget: controls, the figure (an Image: new bytes replace the old without a flicker), a caption."""
    import ipywidgets as widgets

    controls = {}
    for name, values in choices.items():
        kind = widgets.SelectionSlider if all(_is_number(value) for value in values) else widgets.Dropdown
        options = [(_label(value), value) for value in values]
        controls[name] = kind(
            options=options,
            value=values[0],
            description=name.replace("_", " "),
            style={"description_width": "initial"},
        )

    def setting() -> dict[str, Any]:
        return {name: control.value for name, control in controls.items()}

    def place() -> tuple[int, ...]:
        return tuple(control.index for control in controls.values())

    seen = {place(): _picture(draw, setting())}  # the first figure: its errors belong to the cell
    unstretched = {"max_width": "100%", "align_self": "flex-start"}
    image = widgets.Image(value=seen[place()], format="png", layout=unstretched)
    caption = widgets.HTML(html.escape(_caption(setting())))  # a Label would cut off a long error

    def redraw(_change: Mapping[str, Any]) -> None:
        text = _caption(setting())
        try:
            if place() not in seen:
                seen[place()] = _picture(draw, setting())
        except Exception as error:  # a callback's exception would only reach a log that nobody reads
            image.layout.visibility = "hidden"
            failure = f"No figure for {text}: {_function(draw).__name__} raised {type(error).__name__}: {error}"
            caption.value = html.escape(failure, quote=False)
        else:
            image.value = seen[place()]
            image.layout.visibility = "visible"
            caption.value = html.escape(text)

    for control in controls.values():
        control.observe(redraw, names="value")
    bar = widgets.HBox(list(controls.values()), layout={"flex_flow": "row wrap"})
    return widgets.VBox([bar, image, caption])
