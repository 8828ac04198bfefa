"""The table of methods: a name, its settings, and the class that trains by it.

A new method is a file here and a row in `METHODS`. Classes are imported when they are built, so
that command lines are parsed without torch.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ancor.errors import choose
from ancor.methods.config import AncorConfig, MethodConfig
from ancor.methods.contrastive_config import (
    CoinsConfig,
    GrafitConfig,
    MaskConConfig,
    SimCLRConfig,
    SupConConfig,
)
from ancor.methods.whole_set_config import ScgmAConfig, ScgmGConfig, SncaConfig
from ancor.runtime.settings import as_typed, as_words, defaults_of

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
        source: the paper.
        labels: which labels its losses read.
        keeps: what it keeps beside the encoder.
    """

    method: "str | type[Method]"
    config: type[MethodConfig]
    training_defaults: Mapping[str, object] = field(default_factory=dict)
    source: str = ""
    labels: str = "coarse"
    keeps: str = "nothing"

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

COARSE_ONLY = {"head": "cls", "queue": "none", "calculators": ("cls",)}
MOCO = {**PROJECTED, "queue": "single", "calculators": ("cst_all",)}


def _ancor(own: Mapping[str, object], source: str, *about: str) -> MethodSpec:
    """Return a row of ANCOR with other parts."""
    return MethodSpec("ancor.methods.ancor:Ancor", AncorConfig, own, source, *about)


def _maskcon(method: str, config: type[MethodConfig], source: str) -> MethodSpec:
    keeps = "key encoder, one queue with labels"
    return MethodSpec(
        f"ancor.methods.maskcon:{method}", config, OF_MASKCON, source, "coarse", keeps
    )


OF_SCGM = {**PROJECTED, "cos": True, "num_cycles": 10, "lr": 0.03}
OF_SNCA = {"head": "none", "mlp": False, "epochs": 130, "lr": 0.1, "schedule": (40, 80, 120)}


METHODS: dict[str, MethodSpec] = {
    "ancor": _ancor({}, "Bukchin et al., CVPR 2021", "coarse", "key encoder, a queue a class"),
    "ancor-norm": _ancor(
        {"metric": "norm"}, "the same, without the angle", "coarse", "key encoder, a queue a class"
    ),
    "fork": _ancor(
        {"head": "fork", "metric": "norm"},
        "the same, heads side by side",
        "coarse",
        "key encoder, a queue a class",
    ),
    "moco": _ancor(MOCO, "Chen et al., 2020 (MoCo-v2)", "none", "key encoder, one queue"),
    "ce": _ancor(COARSE_ONLY, "cross-entropy"),
    "fine": _ancor({**COARSE_ONLY, "mode": "fine"}, "cross-entropy, an upper bound", "fine"),
    "supcon": MethodSpec(
        "ancor.methods.supcon:SupCon", SupConConfig, SUPCONTRAST, "Khosla et al., NeurIPS 2020"
    ),
    "simclr": MethodSpec(
        "ancor.methods.supcon:SimCLR", SimCLRConfig, SUPCONTRAST, "Chen et al., ICML 2020", "none"
    ),
    "maskcon": _maskcon("MaskCon", MaskConConfig, "Feng and Patras, CVPR 2023"),
    "grafit": _maskcon("Grafit", GrafitConfig, "MaskCon's mode, after Touvron et al., ICCV 2021"),
    "coins-maskcon": _maskcon(
        "CoinsMaskCon", GrafitConfig, "MaskCon's mode, after Xu et al., ICCV 2021"
    ),
    "coins": MethodSpec(
        "ancor.methods.coins:Coins",
        CoinsConfig,
        {**PROJECTED, **ONE_COSINE},
        "Xu et al., ICCV 2021",
        "coarse",
        "key encoder, one queue, class centers",
    ),
    "snca": MethodSpec(
        "ancor.methods.snca:Snca",
        SncaConfig,
        OF_SNCA,
        "Wu et al., ECCV 2018",
        "coarse",
        "a vector of each training image",
    ),
    "scgm-g": MethodSpec(
        "ancor.methods.scgm:ScgmG",
        ScgmGConfig,
        OF_SCGM,
        "Ni et al., ICLR 2022",
        "coarse",
        "means of classes and subclasses, a subclass of each image",
    ),
    "scgm-a": MethodSpec(
        "ancor.methods.scgm:ScgmA",
        ScgmAConfig,
        OF_SCGM,
        "the same, with ANCOR's losses",
        "coarse",
        "these, key encoder, a queue a class",
    ),
}


def method_spec(name: str) -> MethodSpec:
    """Return a row of the table; InputError names the accepted ones."""
    return METHODS[choose("`name`", name, METHODS)]


def own_defaults(method: str, paper: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults of a method that go before the datasets' and the paper's, by setting.

    They are its row's `training_defaults`, and those of its settings' that are not the paper's.
    """
    spec = method_spec(method)
    differ = {k: v for k, v in defaults_of(spec.config).items() if v != paper.get(k)}
    return {**differ, **spec.training_defaults, "name": method}


def overview(paper: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what the table says of each method, with the defaults that are its own."""
    return {
        name: {
            "labels": spec.labels,
            "source": spec.source,
            "keeps": spec.keeps,
            "defaults": {k: v for k, v in own_defaults(name, paper).items() if k != "name"},
        }
        for name, spec in METHODS.items()
    }


def overview_lines(table: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a table of `overview` for people, settings in backticks."""
    yield f"{'method':<14} {'labels':<7} source; what it keeps; defaults of its own"
    for name, row in table.items():
        yield f"{name:<14} {row['labels']:<7} {row['source']}; {row['keeps']}"
        if row["defaults"]:
            yield f"{'':<22} {' '.join(as_typed(*item) for item in row['defaults'].items())}"


def differing_defaults(paper: Mapping[str, Any]) -> dict[str, str]:
    """Return what `--help` says of settings whose defaults differ among methods, by setting.

    As `0.2; one, another: 0.1`: the paper's, and those of the methods that have another.
    """
    others: dict[str, dict[str, list[str]]] = {}
    for method in METHODS:
        own = own_defaults(method, paper)
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
