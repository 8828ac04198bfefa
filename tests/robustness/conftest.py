"""Rooms, and the files that the tests of this folder read."""

import shutil

import pytest

from tests.robustness.fixtures import fill
from tests.robustness.harness import Room
from tests.robustness.sizes import TORTURE


@pytest.fixture(scope="session")
def say(pytestconfig):
    """Prints a line past pytest's capture, where the whole draw runs."""
    reporter = pytestconfig.pluginmanager.getplugin("terminalreporter")

    def say(line: str) -> None:
        print(line)
        if TORTURE and reporter is not None:
            reporter.write_line(line)

    return say


@pytest.fixture(scope="session")
def shelf(tmp_path_factory):
    """A folder of data, models and broken files that commands are given."""
    folder = tmp_path_factory.mktemp("shelf")
    fill(folder)
    return folder


@pytest.fixture(scope="session")
def new_room(tmp_path_factory, shelf):
    """Makes rooms; each is removed by who asked for it."""
    home = tmp_path_factory.mktemp("rooms")
    number = iter(range(10**9))

    class Opened:
        def __enter__(self) -> Room:
            self.room = Room(home / str(next(number)), shelf)
            return self.room

        def __exit__(self, *_: object) -> None:
            shutil.rmtree(self.room.root)

    return Opened
