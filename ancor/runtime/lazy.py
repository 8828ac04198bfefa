"""Modules that a command may need or not, and that take long to import."""

from importlib import import_module
from typing import Any


class Lazy:
    """A module that is imported when something of it is first asked for.

    For what few runs use and takes about a second to import, such as scikit-learn.

    Args:
        name: the module's dotted name.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)
