"""Whatever stands in a command line: status 0, 1 or 2, one line, and nothing written elsewhere."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.robustness.command_lines import command_line, places
from tests.robustness.harness import LIMIT, ROOT, Ended, commands, judge, keep
from tests.robustness.sizes import Tally, draws

COMMANDS = commands()
PARSERS = {name: module.build_parser() for name, module in COMMANDS.items()}
SERVES = frozenset({"app"})  # until it is interrupted: tests/cli/test_app.py
IN_PROCESS, AS_PROCESSES = 1940, 60  # of a whole draw


@pytest.fixture(autouse=True)
def no_page_is_served(monkeypatch):
    """`ancor app` ends where it would wait for a browser."""
    monkeypatch.setattr("ancor.fewshot.app.serve.Server.run", lambda *_: None)


def lines(shelf: Path, left_out: frozenset[str] = frozenset()):
    """Command lines of all commands but some; train.py's are a quarter of them."""
    names = [
        *(name for name in COMMANDS if name not in left_out),
        *["train"] * (len(COMMANDS) // 4),
    ]

    def of(name: str):
        return st.tuples(st.just(name), command_line(name, PARSERS[name], shelf))

    return st.sampled_from(names).flatmap(of)


@pytest.mark.parametrize(
    "apart",
    [
        pytest.param(False, id="in this process"),
        pytest.param(True, id="as processes", marks=pytest.mark.slow),
    ],
)
def test_any_command_line(apart, shelf, new_room, say):
    tally, seen = Tally(), set()
    short, most, run = (1, AS_PROCESSES, process) if apart else (60, IN_PROCESS, in_process)

    # Hypothesis repeats itself: more are drawn, and so many different ones are run.
    @draws(short=short, whole=4 * most if apart else 2 * most)
    @given(lines(shelf, SERVES if apart else frozenset()))
    def holds(drawn):
        if str(drawn) in seen or len(seen) == most:
            return
        seen.add(str(drawn))
        with new_room() as room:
            tally.add(run(*drawn, room))

    holds()
    say(tally.line("command lines as processes" if apart else "command lines"))


def in_process(name: str, line: list[str], room) -> Ended:
    return keep(COMMANDS[name].main, line, room, places(name, PARSERS[name], line))


def process(name: str, line: list[str], room) -> Ended:
    """Run a command as users do, and assert that it keeps the promise."""
    script = ROOT / f"{name}.py"
    start = [str(script)] if script.exists() else ["-m", "ancor", name]
    before = room.snapshot()
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *start, *map(os.fsencode, line)],
        cwd=room.work,
        env={**os.environ, **room.environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=2 * LIMIT,
        check=False,
    )
    out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
    ended = Ended(done.returncode, out, err, time.perf_counter() - begun)
    judge(ended, line, room, before, places(name, PARSERS[name], line))
    return ended
