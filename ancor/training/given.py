"""From what is given and what files say to the configuration of a run, and what to tell of it."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ancor.data.config import PERMISSIONS, PREPROCESSING, DataConfig
from ancor.errors import InputError
from ancor.methods.registry import method_spec, own_defaults
from ancor.models.names import library_name
from ancor.runtime.lazy import Lazy
from ancor.runtime.settings import as_typed, as_words, settings_of
from ancor.safe_io import bounded
from ancor.safe_io.own_files import hint
from ancor.training.defaults import FROM_DRAWN, FROM_PRETRAINED
from ancor.training.resolve import paper_defaults, resolve, settings_in
from ancor.training.unused import unused

if TYPE_CHECKING:
    from ancor.training.config import RunConfig

data = Lazy("ancor.data.resolve")  # which brings torch
OF_OPTIMIZERS = (*FROM_DRAWN.values(), *FROM_PRETRAINED.values())


def run_config(
    given: Mapping[str, Any], content: Mapping[str, Any] | None
) -> "tuple[RunConfig, list[str]]":
    """Resolve a run's settings; return them, and lines about where the unusual ones come from.

    Args:
        given: flags that were given, by setting.
        content: the checkpoint that is resumed; None: a new run.
    """
    from_file: dict[str, Any] = {}
    left: set[str] = set()
    notes: list[str] = []
    if content is not None:
        from_file = settings_in(content["config"])
        from_file.pop("max_steps", None)  # where to stop is asked of each start anew
        notes += _passed_over(given, from_file)
        given = {name: value for name, value in given.items() if name != "pretrained"}
    elif "config" in given:
        from_file = data.without_parts(_read_config(Path(given["config"])), given)
        left = _of_others(given, from_file)
    notes += data.widening(from_file, given)
    from_file = {name: value for name, value in from_file.items() if name not in PERMISSIONS}
    told = {**given, **from_file}
    if given.get("root") is not None and not {"dataset", "features"} & told.keys():
        given = {**given, "dataset": data.guessed(given["root"])}
    config, taken = resolve(given, from_file, left)
    for whose, values in taken.items():
        shown = " ".join(as_typed(name, value) for name, value in values.items())
        notes += [f"{whose}: {shown}"] if shown else []
    return config, [*notes, *unused(config, given)]


def _passed_over(given: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[str]:
    """Say which files are not read where a run goes on with settings, if they have others."""
    start = settings.get("pretrained")
    if given.get("pretrained", start) != start:
        yield (
            f"Notice: `pretrained` {given['pretrained']} given without effect, as the run goes on "
            "with the weights that it has"
        )
    others = _read_config(Path(given["config"])) if "config" in given else {}
    others = {name: value for name, value in others.items() if name in settings}
    shown = " ".join(
        f"no `{name}`" if value is None else as_typed(name, value)
        for name, value in others.items()
        if as_words(value) != as_words(settings[name])
    )
    if shown:
        yield (
            f"Notice: `config` {given['config']!r} given without effect, as the run goes on with "
            f"its own settings; it has {shown}"
        )


def _of_others(given: Mapping[str, Any], from_file: Mapping[str, Any]) -> set[str]:
    """Return the names of a file's settings that are of another method, ... than is meant.

    Of a method that are its settings and those that it has a default of its own for, of the one
    that is given too, and likewise of an optimizer; of a library's backbone, its preprocessing, and
    what none has asked for; of images or features, in whose place others are given, all that says
    which they are.
    """
    found: set[str] = set()
    paper = paper_defaults()
    now = {**from_file, **given}
    before, method = (values.get("name", paper["name"]) for values in (from_file, now))
    if before != method:
        for each in (before, method):
            found |= {*settings_of(method_spec(each).config), *own_defaults(each, paper)}
    before, backbone = (
        library_name(str(values.get("arch")), values.get("pretrained"))
        for values in (from_file, now)
    )
    if before != backbone:
        found |= data.own_preprocessing(from_file).keys()
        found |= {name for name in PREPROCESSING if from_file.get(name) is None}
    before, optimizer = (v.get("optimizer", paper["optimizer"]) for v in (from_file, now))
    if before != optimizer:
        found |= {name for own in OF_OPTIMIZERS for name in own}
    features = given.get("features")
    if features is None and {"root", "dataset"} & given.keys():
        found |= {"features"} & from_file.keys()  # images are named
    if features is not None and os.path.abspath(features) != from_file.get("features"):
        found |= {*settings_of(DataConfig), "arch", "pretrained", "freeze", "freeze_epochs"}
    return found - {"name"}


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return settings_in(bounded.parsed(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(
            f"`config` {str(path)!r} cannot be read as a run's config.json ({error}); give the one "
            f"that train.py wrote into a run's folder{hint(path)}"
        ) from error
