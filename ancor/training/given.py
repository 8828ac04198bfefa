"""From what is given and what files say to the configuration of a run, and what to tell of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ancor.data.config import PERMISSIONS
from ancor.errors import InputError
from ancor.runtime.settings import as_typed
from ancor.safe_io import bounded
from ancor.safe_io.own_files import hint
from ancor.training.resolve import resolve, settings_in

if TYPE_CHECKING:
    from ancor.training.config import RunConfig


def run_config(
    given: Mapping[str, Any], content: Mapping[str, Any] | None
) -> "tuple[RunConfig, list[str]]":
    """Resolve a run's settings; return them, and lines about where the unusual ones come from.

    Args:
        given: flags that were given, by setting.
        content: the checkpoint that is resumed; None: a new run.
    """
    from ancor.data.resolve import guessed, widening, without_parts

    from_file: dict[str, Any] = {}
    if content is not None:
        from_file = settings_in(content["config"])
        from_file.pop("max_steps", None)  # where to stop is asked of each start anew
    elif "config" in given:
        from_file = without_parts(_read_config(Path(given["config"])), given)
    notes = widening(from_file, given)
    from_file = {name: value for name, value in from_file.items() if name not in PERMISSIONS}
    told = {**given, **from_file}
    if given.get("root") is not None and not {"dataset", "features"} & told.keys():
        given = {**given, "dataset": guessed(given["root"])}
    config, taken = resolve(given, from_file)
    for whose, values in taken.items():
        shown = " ".join(as_typed(name, value) for name, value in values.items())
        notes += [f"{whose}: {shown}"] if shown else []
    return config, notes


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return settings_in(bounded.parsed(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(
            f"`config` {str(path)!r} cannot be read as a run's config.json ({error}); give the one "
            f"that train.py wrote into a run's folder{hint(path)}"
        ) from error
