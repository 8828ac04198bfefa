"""Settings in messages: how a command writes them."""

import pytest

from ancor.runtime.settings import as_typed, show_as, with_flags


@pytest.mark.parametrize(
    ("value", "plain", "flag"),
    [
        (True, "`mlp`", "--mlp"),
        (False, "`no_mlp`", "--no-mlp"),
        (3, "`mlp` 3", "--mlp 3"),
        ((1, 2), "`mlp` 1 2", "--mlp 1 2"),
    ],
)
def test_a_setting_is_written_as_it_can_be_typed(value, plain, flag):
    """One that is off was `--mlp False`, which no command takes."""
    show_as({})
    assert with_flags(as_typed("mlp", value)) == plain
    show_as({"mlp": "--mlp"})
    try:
        assert with_flags(as_typed("mlp", value)) == flag
        assert with_flags("`none` of `no_other`") == "`none` of `no_other`"
    finally:
        show_as({})
