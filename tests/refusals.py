"""Tests of what is refused: wrong calls, each with words of the one sentence that it must get."""

import inspect
from collections.abc import Callable

import pytest


def refused(*cases: tuple[Callable, str]) -> Callable:
    """A test for each (call, words): the call raises ValueError in one line that matches the regular expression
    ``words``. The arguments of a call that have no default are the names of fixtures."""

    @pytest.mark.parametrize(("call", "words"), cases)
    def test(request, call, words):
        asked = [one.name for one in inspect.signature(call).parameters.values() if one.default is one.empty]
        given = [request.getfixturevalue(name) for name in asked]
        with pytest.raises(ValueError, match=words) as caught:
            call(*given)
        assert "\n" not in str(caught.value)

    return test
