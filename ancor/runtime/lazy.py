"""Modules that a command may need or not, and that take long to import."""

import gc
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from ancor.runtime.compiler import without_compiler


def imported(name: str, without: Sequence[str] = ()) -> ModuleType:
    """Import a module without what takes most of the time: a collector, and torch's compiler.

    The cyclic garbage collector finds nothing to free there: each time that objects have piled up
    it looks through all that there are, and an import piles up nothing else.

    Args:
        name: the module's dotted name.
        without: modules that it takes along where they are installed, and needs for nothing here.

    Raises:
        ImportError: there is no such module.
    """
    enabled, hidden = gc.isenabled(), [other for other in without if other not in sys.modules]
    gc.disable()
    sys.modules.update(dict.fromkeys(hidden))  # to an import, None is a module that is not there
    try:
        with without_compiler():
            return import_module(name)
    finally:
        for other in hidden:
            del sys.modules[other]
        if enabled:
            gc.enable()


class Lazy:
    """A module that is imported when something of it is first asked for.

    For what few runs use and takes about a second to import, such as scikit-learn; and for what
    brings torch into a command whose parser does without.

    Args:
        name: the module's dotted name.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(imported(self._name), attribute)
