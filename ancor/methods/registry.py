"""The table of methods: a name, its settings, and the class that trains by it.

A new method is a file here and a row in `METHODS`. Classes are imported when they are built, so
that command lines are parsed without torch.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ancor.errors import choose
from ancor.methods.config import AncorConfig

if TYPE_CHECKING:
    from ancor.methods.base import Method


@dataclass(frozen=True)
class MethodSpec:
    """A row of the table.

    Attributes:
        path: module and name of the class, `ancor.methods.ancor:Ancor`.
        config: the dataclass of its settings.
    """

    path: str
    config: type = AncorConfig

    def load(self) -> "type[Method]":
        """Import the class."""
        module, _, name = self.path.partition(":")
        return getattr(import_module(module), name)


METHODS: dict[str, MethodSpec] = {
    "ancor": MethodSpec("ancor.methods.ancor:Ancor"),
}


def method_spec(name: str) -> MethodSpec:
    """Return a row of the table; InputError names the accepted ones."""
    return METHODS[choose("`method`", name, METHODS)]


def build_method(encoder_config: Any, config: Any, labels: Any = None) -> "Method":
    """Build the method that `config.name` names; see `Method`."""
    return method_spec(config.name).load()(encoder_config, config, labels)
