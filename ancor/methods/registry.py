"""The table of methods: a name, its settings, and the class that trains by it.

A new method is a file here and a row in `METHODS`. Classes are imported when they are built, so
that command lines are parsed without torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ancor.errors import choose
from ancor.methods.config import (
    AncorConfig,
    CoinsConfig,
    GrafitConfig,
    MaskConConfig,
    MethodConfig,
    SimCLRConfig,
    SupConConfig,
)
from ancor.runtime.settings import as_words, defaults_of

if TYPE_CHECKING:
    from ancor.methods.base import Method


@dataclass(frozen=True)
class MethodSpec:
    """A row of the table.

    Attributes:
        method: the class, or its module and name, `ancor.methods.ancor:Ancor`.
        config: the dataclass of its settings.
        training_defaults: settings of train.py, of any section, that suit the method better than
            the paper's and the dataset's.
    """

    method: "str | type[Method]"
    config: type[MethodConfig]
    training_defaults: Mapping[str, object] = field(default_factory=dict)

    def load(self) -> "type[Method]":
        """Return the class."""
        if not isinstance(self.method, str):
            return self.method
        module, _, name = self.method.partition(":")
        return getattr(import_module(module), name)


# Of an embedding behind a hidden layer, as MoCo-v2, SimCLR and what follows them have it.
PROJECTED = {"head": "none", "mlp": True}
ONE_COSINE = {"cos": True, "num_cycles": 1}
SUPCONTRAST = {**PROJECTED, **ONE_COSINE, "lr": 0.05, "rates": "supcontrast"}
OF_MASKCON = {**PROJECTED, **ONE_COSINE, "dim": 256, "lr": 0.02, "weight_decay": 5e-4}
OF_MASKCON |= {"warmup_epochs": 5.0}

METHODS: dict[str, MethodSpec] = {
    "ancor": MethodSpec("ancor.methods.ancor:Ancor", AncorConfig),
    "supcon": MethodSpec("ancor.methods.supcon:SupCon", SupConConfig, SUPCONTRAST),
    "simclr": MethodSpec("ancor.methods.supcon:SimCLR", SimCLRConfig, SUPCONTRAST),
    "maskcon": MethodSpec("ancor.methods.maskcon:MaskCon", MaskConConfig, OF_MASKCON),
    "grafit": MethodSpec("ancor.methods.maskcon:Grafit", GrafitConfig, OF_MASKCON),
    "coins-maskcon": MethodSpec("ancor.methods.maskcon:CoinsMaskCon", GrafitConfig, OF_MASKCON),
    "coins": MethodSpec("ancor.methods.coins:Coins", CoinsConfig, {**PROJECTED, **ONE_COSINE}),
}


def method_spec(name: str) -> MethodSpec:
    """Return a row of the table; InputError names the accepted ones."""
    return METHODS[choose("`name`", name, METHODS)]


def differing_defaults(paper: Mapping[str, Any]) -> dict[str, str]:
    """Return what `--help` says of settings whose defaults differ among methods, by setting.

    As `0.2; one, another: 0.1`: the paper's, and those of the methods that have another.
    """
    others: dict[str, dict[str, list[str]]] = {}
    for method, spec in METHODS.items():
        own = {**defaults_of(spec.config), **spec.training_defaults}
        for name in own.keys() & paper.keys() - {"name"}:
            if own[name] != paper[name]:
                others.setdefault(name, {}).setdefault(as_words(own[name]), []).append(method)
    return {
        name: "; ".join(
            [as_words(paper[name]), *(f"{', '.join(who)}: {what}" for what, who in found.items())]
        )
        for name, found in others.items()
    }


def build_method(encoder_config: Any, config: Any, labels: Any = None) -> "Method":
    """Build the method that `config.name` names; see `Method`."""
    return method_spec(config.name).load()(encoder_config, config, labels)
