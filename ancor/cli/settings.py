"""From flags to the configuration of a training run: defaults, files, what goes before what."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ancor.cli.data_flags import DATA_FLAGS, PERMISSIONS, widening
from ancor.errors import InputError

if TYPE_CHECKING:
    from ancor.training.config import RunConfig

log = logging.getLogger(__name__)

# The paper's settings. A dataset's own defaults (`ancor.data.catalog`) go before them, a file's
# (--resume, --config) before those, and flags that were given before all.
DEFAULTS: dict[str, Any] = {
    "arch": "resnet50",
    "head": "seq",
    "mlp": False,
    "cst_dim": 128,
    "method": "ancor",
    "queue": "multi",
    "queue_k": 65536,
    "metric": "angular",
    "calc_types": ("cls", "cst_by_class"),
    "loss_types": ("ce", "ce"),
    "loss_weights": None,
    "cst_t": 0.2,
    "encoder_m": 0.999,
    "drop_unfilled": False,
    "queue_dtype": "fp32",
    "dataset": "living17",
    "data": None,
    "image_size": None,
    "mean": None,
    "std": None,
    "crop_scale": None,
    "download": False,
    "skip_bad_images": False,
    "split": None,
    "breeds_info": None,
    "breeds_level": None,
    "breeds_ancestor": None,
    "breeds_subclasses": None,
    "coarse_level": "manufacturer",
    "allow_outside_root": False,
    "mode": None,
    "epochs": 200,
    "batch_size": 256,
    "lr": 0.03,
    "momentum": 0.9,
    "wd": 1e-4,
    "schedule": (120, 160),
    "gamma": 0.1,
    "cos": False,
    "num_cycles": 10,
    "seed": 0,
    "select": "validation",
    "val_episodes": 200,
    "print_freq": 10,
    "save_freq": 1,
    "save_minutes": None,
    "figure_freq": 0,
    "skip_nonfinite": 0,
    "keep_epochs": (59, 99, 159, 199),
    "max_steps": None,
    "workers": None,
    "accumulate": 1,
    "sync_bn": False,
    "compile": False,
    "init_from": None,
}
# Which flag sets which attribute of the configuration, section by section.
FLAGS: dict[str, dict[str, str]] = {
    "encoder": {"arch": "arch", "head": "head", "mlp": "mlp", "dim": "cst_dim"},
    "method": {
        "name": "method",
        "queue": "queue",
        "queue_length": "queue_k",
        "metric": "metric",
        "calculators": "calc_types",
        "losses": "loss_types",
        "loss_weights": "loss_weights",
        "temperature": "cst_t",
        "encoder_momentum": "encoder_m",
        "drop_unfilled": "drop_unfilled",
        "queue_dtype": "queue_dtype",
    },
    "data": DATA_FLAGS,
    "training": {
        name: "wd" if name == "weight_decay" else name
        for name in (
            "mode",
            "epochs",
            "batch_size",
            "lr",
            "momentum",
            "weight_decay",
            "schedule",
            "gamma",
            "cos",
            "num_cycles",
            "seed",
            "select",
            "val_episodes",
            "print_freq",
            "save_freq",
            "save_minutes",
            "figure_freq",
            "skip_nonfinite",
            "keep_epochs",
            "max_steps",
            "workers",
            "accumulate",
            "sync_bn",
            "compile",
            "init_from",
        )
    },
}


def resolve(
    given: dict[str, Any], content: dict[str, Any] | None
) -> tuple[dict[str, Any], list[str]]:
    """Resolve every setting; return them, and lines about where the unusual ones come from."""
    from ancor.data.catalog import DataConfig
    from ancor.data.guess import guess

    from_file: dict[str, Any] = {}
    notes = []
    if content is not None:
        from_file = _flags_of(content["config"])
        from_file.pop("max_steps", None)  # where to stop is asked of each start anew
    elif "config" in given:
        from_file = _read_config(Path(given["config"]))
    notes += widening(from_file, given)
    from_file = {flag: value for flag, value in from_file.items() if flag not in PERMISSIONS}
    if given.get("data") is not None and "dataset" not in given | from_file:
        name, line = guess(given["data"])
        log.info("Notice: %s", line)
        given = given | {"dataset": name}
    dataset = given.get("dataset", from_file.get("dataset", DEFAULTS["dataset"]))
    own = {} if from_file else dict(DataConfig(dataset).spec.training_defaults)
    if "calc_types" in given:
        own.pop("loss_weights", None)  # they are of the losses that were meant
    settings = {**DEFAULTS, **own, **from_file, **given}
    if settings["mode"] is None:
        raise InputError("--mode is needed: coarse (the method) or fine (an upper bound)")
    used = {flag: value for flag, value in own.items() if flag not in given}
    shown = " ".join(_as_typed(flag, value) for flag, value in used.items())
    return settings, [*notes, f"{dataset}'s own defaults: {shown}"] if shown else notes


def _as_typed(flag: str, value: Any) -> str:
    """Write a flag as a command has it."""
    values = value if isinstance(value, tuple) else () if value is True else (value,)
    return " ".join([f"--{flag.replace('_', '-')}", *map(str, values)])


def _flags_of(config: Any) -> dict[str, Any]:
    """Turn a configuration's plain sections back into flags."""
    for section in FLAGS:
        if not isinstance(config, dict) or not isinstance(config.get(section), dict):
            raise InputError(f"the file's configuration has no section {section!r}; give another")
    return {
        flag: config[section][name]
        for section, names in FLAGS.items()
        for name, flag in names.items()
        if name in config[section]
    }


def _read_config(path: Path) -> dict[str, Any]:
    from ancor.safe_io import bounded
    from ancor.safe_io.own_files import hint

    try:
        return _flags_of(bounded.parsed(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(
            f"--config {str(path)!r} cannot be read as a run's config.json ({error}); give the one "
            f"that train.py wrote into a run's folder{hint(path)}"
        ) from error


def run_config(settings: dict[str, Any]) -> "RunConfig":
    """Build the configuration of a run from its settings."""
    from ancor.data.catalog import DataConfig
    from ancor.methods.ancor import AncorConfig
    from ancor.models.encoder import EncoderConfig
    from ancor.runtime.devices import check_workers
    from ancor.runtime.from_dict import built
    from ancor.training.config import RunConfig, TrainConfig

    def section(kind: type, name: str) -> Any:
        values = {field: settings[flag] for field, flag in FLAGS[name].items()}
        return built(kind, values, f"the run's settings ({name})")

    config = RunConfig(
        section(EncoderConfig, "encoder"),
        section(AncorConfig, "method"),
        section(DataConfig, "data"),
        section(TrainConfig, "training"),
        selected_on="validation",
    )
    if config.training.workers is not None:
        check_workers("--workers", config.training.workers)
    return config
