"""From what is given and what files say to the configuration of a run, and what to tell of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ancor.data.config import PERMISSIONS, PREPROCESSING
from ancor.errors import InputError
from ancor.methods.registry import method_spec, own_defaults
from ancor.models.names import library_name
from ancor.runtime.lazy import Lazy
from ancor.runtime.settings import as_typed, settings_of
from ancor.safe_io import bounded
from ancor.safe_io.own_files import hint
from ancor.training.resolve import paper_defaults, resolve, settings_in

if TYPE_CHECKING:
    from ancor.training.config import RunConfig

data = Lazy("ancor.data.resolve")  # which brings torch


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
    if content is not None:
        from_file = settings_in(content["config"])
        from_file.pop("max_steps", None)  # where to stop is asked of each start anew
    elif "config" in given:
        from_file = data.without_parts(_read_config(Path(given["config"])), given)
        left = _of_others(given, from_file)
    notes = data.widening(from_file, given)
    from_file = {name: value for name, value in from_file.items() if name not in PERMISSIONS}
    told = {**given, **from_file}
    if given.get("root") is not None and not {"dataset", "features"} & told.keys():
        given = {**given, "dataset": data.guessed(given["root"])}
    config, taken = resolve(given, from_file, left)
    for whose, values in taken.items():
        shown = " ".join(as_typed(name, value) for name, value in values.items())
        notes += [f"{whose}: {shown}"] if shown else []
    return config, notes


def _of_others(given: Mapping[str, Any], from_file: Mapping[str, Any]) -> set[str]:
    """Return the names of a file's settings that are of another method or backbone than is meant.

    Of a method that are its settings and those that it has a default of its own for, of the one
    that is given too; of a library's backbone, its preprocessing, and what none has asked for.
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
    return found - {"name"}


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return settings_in(bounded.parsed(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(
            f"`config` {str(path)!r} cannot be read as a run's config.json ({error}); give the one "
            f"that train.py wrote into a run's folder{hint(path)}"
        ) from error
