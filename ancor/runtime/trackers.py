"""Where a run's figures are shown: TensorBoard always, and one more by its own library."""

import hashlib
import logging
import os
import re
import time
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ancor.errors import InputError, choose

TRACKERS = ("tensorboard", "wandb", "mlflow")
PROJECT = "ancor"  # of a tracker whose environment variables name no other
MOST_PARAMETERS = 100  # MLflow takes no more at once


class Tracker:
    """Shows a run's figures and pictures.

    Attributes:
        failures: what its methods raise when figures cannot be written; training goes on.
    """

    failures: tuple[type[Exception], ...] = (OSError,)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Show figures by name, after `step` optimizer steps."""

    def picture(self, name: str, image: np.ndarray, step: int) -> None:
        """Show an image, (3, H, W) of uint8."""

    def close(self) -> None:
        """Write what waits."""


class TensorBoard(Tracker):
    """Event files in the run's folder.

    Args:
        folder: the run's output directory.
        first_step: steps done before; what a cut-off part wrote after them is dropped.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first_step + 1 if first_step else None)
        self.close = self._writer.close

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, name: str, image: np.ndarray, step: int) -> None:
        """Add to the images."""
        self._writer.add_image(name, image, step)


class WandB(Tracker):
    """Weights & Biases, or its files in the folder's `wandb/` where WANDB_MODE is offline.

    Args:
        folder: the run's output directory; its name is the run's.
        settings: the run's, shown beside it.
        goes_on: whether the folder's newest run there goes on.

    Raises:
        InputError: it cannot be started, for example as nobody is logged in.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], goes_on: bool) -> None:
        wandb = import_module("wandb")
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                dir=str(folder),
                name=folder.resolve().name,
                id=_wandb_id(folder) if goes_on else None,
                resume="allow",
                config=dict(settings),
                settings=wandb.Settings(console="off", silent=True),
            )
        except (wandb.errors.Error, OSError) as error:
            raise InputError(
                f"`log` wandb: {str(error).splitlines()[0]:.200}; log in by 'wandb login', or set "
                "WANDB_MODE=offline"
            ) from error
        self._image = wandb.Image
        self.failures = (OSError, wandb.errors.Error)
        # A run that was cut off goes on from an earlier step, which wandb's own does not.
        self._run.define_metric("*", step_metric="step")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log them with their step."""
        self._run.log({**values, "step": step})

    def picture(self, name: str, image: np.ndarray, step: int) -> None:
        """Log as media."""
        self._run.log({name: self._image(np.moveaxis(image, 0, 2)), "step": step})

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


def _wandb_id(folder: Path) -> str | None:
    """Return the id of the newest run that left files in a folder."""
    found = (folder / "wandb").glob("*run-*-*")
    newest = max(found, key=lambda path: path.name.split("run-")[-1], default=None)
    return newest and newest.name.rpartition("-")[2]


class MLflow(Tracker):
    """An MLflow server that MLFLOW_TRACKING_URI names, or `mlflow.db` in the folder.

    Args:
        folder: the run's output directory; its name is the run's.
        settings: the run's, its parameters there.
        goes_on: whether the folder's newest run there goes on.

    Raises:
        InputError: the server or file cannot be used.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], goes_on: bool) -> None:
        # The library's head imports much that no figure needs.
        tracking, entities = import_module("mlflow.tracking"), import_module("mlflow.entities")
        self.failures = (OSError, import_module("mlflow.exceptions").MlflowException)
        self._metric = entities.Metric
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of tables it makes
        path, local = folder.resolve(), None
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if uri is None:
            uri, local = f"sqlite:///{path / 'mlflow.db'}", (path / "mlflow-artifacts").as_uri()
        try:
            self._client = tracking.MlflowClient(uri)
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            experiment = self._client.get_experiment_by_name(name)
            number = experiment.experiment_id if experiment else None
            number = number or self._client.create_experiment(name, artifact_location=local)
            self._id = self._earlier(number, path) if goes_on else None
            if self._id is None:
                tags = {"ancor.folder": _address(path)}
                run = self._client.create_run(number, tags=tags, run_name=path.name)
                self._id = run.info.run_id
                told = [entities.Param(k, str(v)[:500]) for k, v in _flat(settings).items()]
                for start in range(0, len(told), MOST_PARAMETERS):
                    self._client.log_batch(self._id, params=told[start : start + MOST_PARAMETERS])
        except self.failures as error:
            raise InputError(
                f"`log` mlflow at {uri:.200}: {str(error).splitlines()[0]:.200}; set "
                "MLFLOW_TRACKING_URI, or unset it to write into the run's folder"
            ) from error

    def _earlier(self, experiment: str, path: Path) -> str | None:
        """Return the id of the folder's newest run."""
        text = f"tags.`ancor.folder` = '{_address(path)}'"
        found = self._client.search_runs([experiment], text, max_results=1)
        return found[0].info.run_id if found else None

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log them as metrics."""
        now = int(1000 * time.time())
        metrics = [self._metric(name, float(value), now, step) for name, value in values.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def picture(self, name: str, image: np.ndarray, step: int) -> None:
        """Log as an artifact, `NAME-STEP.png`."""
        file = f"{re.sub(r'[^A-Za-z0-9]+', '-', name)}-{step}.png"
        self._client.log_image(self._id, np.moveaxis(image, 0, 2), file)

    def close(self) -> None:
        """Say that the run has ended."""
        self._client.set_terminated(self._id)


def _address(path: Path) -> str:
    """Return what stands for a folder in a query, whatever its name holds."""
    return hashlib.sha256(str(path).encode()).hexdigest()[:16]


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return settings by dotted name."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        nested = isinstance(value, Mapping)
        found |= _flat(value, f"{before}{name}.") if nested else {f"{before}{name}": value}
    return found


def check_tracker(name: str, folder: Path | None) -> None:
    """Raise an InputError where a tracker is not known or installed, or no folder is written."""
    choose("`log`", name, TRACKERS)
    if name != "tensorboard" and folder is None:
        raise InputError(f"`log` {name} shows what a run writes; name its folder by `output_dir`")
    if name != "tensorboard" and find_spec(name) is None:
        raise InputError(f"`log` {name} needs {name}: pip install 'ancor-toolkit[{name}]'")


def open_tracker(
    name: str, folder: Path, settings: Mapping[str, Any], goes_on: bool
) -> Tracker | None:
    """Return what shows a run beside TensorBoard; None: nothing does.

    Args:
        name: one of `TRACKERS`.
        folder: the run's output directory.
        settings: the run's, in plain containers.
        goes_on: whether an earlier part of the run was shown.

    Raises:
        InputError: it cannot be started.
    """
    kinds = {"wandb": WandB, "mlflow": MLflow}
    return kinds[name](folder, settings, goes_on) if name in kinds else None
