"""Graphs as files for other programs, ONNX and torch.export's .pt2, compared before they are named.

A graph is a module of one input: it has `takes`, the input's name, and `outputs`, the names of what
it returns, a dict of tensors whose rows are those of the input, for any number of rows.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from ancor.errors import InputError, RunError
from ancor.safe_io.writing import replacing

TOLERANCE = 1e-4
BATCHES = (1, 8)  # numbers of rows that a written file is tried on

Run = Callable[[Tensor], dict[str, Tensor]]  # from a graph's input to its outputs
Writer = Callable[[nn.Module, Tensor, dict[str, str], Path], Run]


def write(
    path: Path,
    writer: Writer,
    graph: nn.Module,
    inputs: Tensor,
    about: dict[str, str],
    expected: Run,
    tolerance: float = TOLERANCE,
) -> float:
    """Write a graph, run what was written, and give the file its name if the outputs are right.

    Args:
        path: the file's name; at no moment is it a file that is cut off or wrong.
        writer: writes a graph and returns what runs the file.
        graph: see above.
        inputs: what it is tried on, `max(BATCHES)` rows.
        about: the file's metadata: by name, each value in JSON.
        expected: gives the right outputs.
        tolerance: largest difference that is accepted.

    Returns:
        The largest difference of any output, relative to the output's largest value if above 1.

    Raises:
        InputError: a package is missing, or the file cannot be written.
        RunError: the difference is above the tolerance; nothing is left behind.
    """
    with _renamed_when_right(path) as temporary:
        run = writer(graph, inputs, about, temporary)
        difference = max(_difference(expected, run, inputs[:count]) for count in BATCHES)
        if not difference <= tolerance:  # nan is no agreement
            raise RunError(
                f"{str(path)!r} was not written: its outputs differ from PyTorch's by "
                f"{difference:.2g}, and {tolerance:g} is accepted"
            )
    return difference


@contextmanager
def _renamed_when_right(path: Path) -> Iterator[Path]:
    """Yield a name in the same folder; rename it to `path` at the end, or remove it on an error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, f".tmp{path.suffix}") as temporary:  # readers go by it
            temporary.touch()
            yield temporary
    except OSError as error:
        raise InputError(
            f"cannot write {str(path)!r} ({error.strerror}); name another `output`"
        ) from error


@torch.inference_mode()
def _difference(expected: Run, run: Run, inputs: Tensor) -> float:
    """Largest difference of any output, relative to the output's largest value if above 1."""
    wanted, found = expected(inputs), run(inputs)
    return max(
        ((found[name].float() - right).abs().max() / right.abs().max().clamp(min=1)).item()
        for name, right in ((name, right.float()) for name, right in wanted.items())
    )


def _package(name: str, to: str) -> ModuleType:
    """Import a package of the extra; InputError where it is missing."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"`to` {to} needs the package {error.name!r}, which is not installed: "
            "pip install 'ancor-toolkit[export]'"
        ) from error


def _any_number() -> tuple[dict]:
    return ({0: torch.export.Dim("batch", min=1)},)


def _write_onnx(graph: nn.Module, inputs: Tensor, about: dict[str, str], path: Path) -> Run:
    for name in ("onnx", "onnxscript"):
        _package(name, "onnx")
    runtime = _package("onnxruntime", "onnx")
    program = torch.onnx.export(
        graph,
        (inputs[:2],),
        dynamo=True,
        verbose=False,
        input_names=[graph.takes],
        output_names=list(graph.outputs),
        dynamic_shapes=_any_number(),
    )
    program.model.metadata_props.update(about)
    program.save(path, external_data=False)
    # Bytes and open files: these libraries open no name that is not UTF-8.
    session = runtime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])

    def run(inputs: Tensor) -> dict[str, Tensor]:
        found = session.run(list(graph.outputs), {graph.takes: inputs.numpy()})
        return dict(zip(graph.outputs, map(torch.from_numpy, found), strict=True))

    return run


def _write_pt2(graph: nn.Module, inputs: Tensor, about: dict[str, str], path: Path) -> Run:
    program = torch.export.export(graph, (inputs[:2],), dynamic_shapes=_any_number())
    with open(path, "wb") as file:
        torch.export.save(program, file, extra_files={"metadata.json": json.dumps(about)})
    with open(path, "rb") as file:
        return torch.export.load(file).module()


GRAPHS: dict[str, Writer] = {"onnx": _write_onnx, "pt2": _write_pt2}
