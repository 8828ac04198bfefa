"""Which source of a setting goes before which, and what the settings of a run then are."""

import os
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from ancor.data.config import DataConfig
from ancor.data.fields import as_now
from ancor.errors import InputError
from ancor.methods.registry import METHODS, method_spec, own_defaults
from ancor.models.config import HEADS, EncoderConfig
from ancor.models.names import OWN_WEIGHTS, library_name
from ancor.runtime.from_dict import from_dict
from ancor.runtime.lazy import Lazy
from ancor.runtime.settings import as_words, defaults_of, one_of, settings_of
from ancor.training.config import RunConfig, TrainConfig
from ancor.training.defaults import following

if TYPE_CHECKING:
    from ancor.models.libraries import Library

hub, libraries = Lazy("ancor.checkpoints.hub"), Lazy("ancor.models.libraries")
data, features = Lazy("ancor.data.resolve"), Lazy("ancor.data.features")
QUEUE = {"queue_length", "encoder_momentum"}
RENAMED = {"init_from": "pretrained"}  # settings of old files
REMOVED = {"method": ("losses",)}  # settings of old files that only ever had one value


def library_for(arch: str, pretrained: str | None) -> "Library | None":
    """Return the library's backbone, which tells how it is shown images; None: it is not one's."""
    name = library_name(arch, pretrained)
    if not name:
        return None
    if pretrained == OWN_WEIGHTS:
        hub.ask_ahead(name)
    return libraries.library(name)


def sections(method: str) -> dict[str, type]:
    """Return the sections of a run's settings under a method, each a dataclass."""
    return {
        "encoder": EncoderConfig,
        "method": method_spec(method).config,
        "data": DataConfig,
        "training": TrainConfig,
    }


def paper_defaults() -> dict[str, Any]:
    """Return the default of every setting of every method, by field; the first method's first."""
    kinds = [EncoderConfig, DataConfig, TrainConfig, *(m.config for m in METHODS.values())]
    return {
        name: default
        for kind in reversed(kinds)
        for name, default in defaults_of(kind).items()
        if name in settings_of(kind)
    } | {"dataset": "living17"}


def mode_of(method: str) -> str:
    """Return the labels that a method trains on where none are named: its own, or coarse."""
    return method_spec(method).training_defaults.get("mode", "coarse")


def settings_in(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in a file's `config` by field; InputError where sections lack."""
    if not isinstance(config, Mapping):
        raise InputError(f"expected a table of settings, got {config!r:.40}")
    found: dict[str, Any] = {}
    for section in ("encoder", "method", "data", "training"):
        values = config.get(section)
        if not isinstance(values, Mapping):
            raise InputError(f"the file's configuration has no section {section!r}; give another")
        values = as_now(values) if section == "data" else values
        removed = ("num_classes", "version", *REMOVED.get(section, ()))
        found |= {RENAMED.get(k, k): v for k, v in values.items() if k not in removed}
    return found


def resolve(
    given: Mapping[str, Any],
    from_file: Mapping[str, Any] | None = None,
    left: Collection[str] = (),
) -> tuple[RunConfig, dict[str, dict[str, Any]]]:
    """Resolve every setting: paper's < dataset's < method's < what follows < a file's < given.

    A method's are `ancor.methods.registry.own_defaults`; `ancor.training.defaults` tells what
    follows.

    Args:
        given: settings by field name, `lr`; others are not looked at.
        from_file: what `settings_in` found in a file.
        left: names of those that are not taken from there, but as if there were no file.

    Returns:
        The configuration; and the defaults that it took from others than the paper, by what to
        call them: the dataset's own first, then the method's, the backbone's, and what follows;
        and what was left of the file.

    Raises:
        InputError: the mode is not given, or a value is not accepted.
    """
    told = from_file or {}
    from_file = without(told, left)
    paper = paper_defaults()
    known = {name: value for name, value in given.items() if name in paper}
    of_features = features_settings(known) if not told or "features" in left else {}
    named = {**paper, **of_features, **from_file, **known}
    backbone, title, follow = None, "", {}
    if left or not told:
        backbone = library_for(str(named["arch"]), named["pretrained"])
        pretrained = backbone is not None and named["pretrained"] is not None
        start = "features" if named["features"] else "pretrained" if pretrained else "drawn"
        before = {**from_file, **known}
        title, follow = following(start, before, pretrained and backbone.has_batch_norm())
        named |= {k: v for k, v in follow.items() if k == "name"}
    kinds = sections(named["name"])
    settings = {name for kind in kinds.values() for name in settings_of(kind)}
    for name in sorted(known.keys() - settings):
        raise InputError(
            f"`{name}` is not a setting of the method {named['name']}; leave it out, or choose "
            "another `name`"
        )
    of_method = own_defaults(named["name"], paper)
    dataset = {"dataset": named["dataset"]}
    own = from_dict(DataConfig, dataset, "the run's settings (data)").spec.training_defaults
    own = {k: v for k, v in own.items() if k in settings and k not in of_method}
    if "calculators" in {**of_method, **known}:
        for defaults in (own, follow):
            defaults.pop("loss_weights", None)  # they are of the losses that were meant
    of_backbone = {**(backbone.preprocessing() if backbone else {}), **of_features}
    # What the method says of its queue stays, and of none nothing follows.
    queue = QUEUE if of_method.get("queue") == "none" else of_method.keys() & QUEUE
    follow = {k: v for k, v in follow.items() if k in settings and k not in queue}
    if told:
        own, of_backbone, follow = (
            {k: v for k, v in defaults.items() if k in left}
            for defaults in (own, of_backbone, follow)
        )
    values = {**paper, **own, **of_method, **of_backbone, **follow, **from_file, **known}
    if "mode" not in {**of_method, **from_file, **known}:
        raise InputError("`mode` is needed: coarse (the method) or fine (an upper bound)")
    if "mode" in of_method and values["mode"] != of_method["mode"]:
        raise InputError(
            f"`mode` {values['mode']}: the method {named['name']} is of {of_method['mode']} "
            "labels; leave it out, or choose another `name`"
        )
    one_of(HEADS).require("`head`", values["head"])  # files may hold a backbone alone
    for name in ("root", "labels", "features"):  # files are read from elsewhere than written
        if isinstance(values[name], str):
            values[name] = os.path.abspath(values[name])
    config = RunConfig(
        *(
            from_dict(
                kind,
                {name: values[name] for name in settings_of(kind)},
                f"the run's settings ({section})",
            )
            for section, kind in kinds.items()
        )
    )
    taken = {
        f"{config.data.dataset}'s own defaults": without(own, {**follow, **known}),
        f"{config.method.name}'s own defaults": without(
            of_method, {"name", *follow, *from_file, *known}
        ),
        f"{config.encoder.arch}'s own preprocessing": without(
            of_backbone, {**of_features, **known}
        ),
        f"As {given.get('features')!r} says": without(of_features, known),
        title: follow,
        "Not taken from `config`, as of another method, backbone, ...": {
            name: value
            for name, value in told.items()
            if value is not None
            and name in {*left} - {*known}
            and as_words(value) != as_words(values.get(name))
        },
    }
    return config, taken


def features_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what follows from features in place of images, by setting.

    Raises:
        InputError: they cannot be read, or what is given beside them means nothing on them.
    """
    if given.get("features") is None:
        return {}
    told = features.settings_of_run(given["features"])
    fixed = {"arch": told["arch"], "freeze": "all", "freeze_epochs": None}
    for name, value in fixed.items():
        if given.get(name, value) != value:
            raise InputError(
                f"`{name}` {given[name]}: `features` are of a frozen {told['arch']}; leave it out"
            )
    data.check_beside_features(given, told)
    return told


def without(settings: Mapping[str, Any], others: Collection[str]) -> dict[str, Any]:
    """Return the settings whose names are not among others."""
    return {name: value for name, value in settings.items() if name not in others}
