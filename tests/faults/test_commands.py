"""Whatever stands in a command line: status 0, 1 or 2, one line, and nothing written elsewhere."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.command_lines import command_line, places
from tests.faults.promise import LIMIT, ROOT, Ended, broken_promise, commands, keep
from tests.faults.sizes import SEED, TORTURE, Tally, draws

COMMANDS = commands()
PARSERS = {name: module.build_parser() for name, module in COMMANDS.items()}
IN_PROCESS, AS_PROCESSES = 1940, 60  # of a whole draw


def lines(shelf: Path):
    """Command lines of all commands; train.py's are a quarter of them."""
    names = [*COMMANDS, *["train"] * (len(COMMANDS) // 4)]

    def of(name: str):
        drawn = command_line(name, PARSERS[name], shelf)
        return st.tuples(st.just(name), drawn)

    return st.sampled_from(names).flatmap(of)


def test_any_command_line(shelf, new_room, say):
    tally = Tally()

    @draws(short=40, whole=IN_PROCESS)
    @given(lines(shelf))
    def holds(drawn):
        name, line = drawn
        with new_room() as room:
            where = places(name, PARSERS[name], line)
            tally.add(keep(COMMANDS[name].main, line, room, where))

    holds()
    say(tally.line("command lines"))
