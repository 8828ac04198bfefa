"""What a file of weights is, as `ancor inspect` says it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ancor.checkpoints.checkpoint import class_names, load, own_encoder
from ancor.checkpoints.state_dicts import parts, recognize, tensors_of
from ancor.errors import capped
from ancor.runtime.text import printable


def describe(path: Path | str) -> dict[str, Any]:
    """Say what a file is, even one whose backbone is not whole, in plain values.

    Returns:
        `arch`, `head`, `mlp`, `dim`, `num_classes` (None where the head has none), `parameters`;
        `epoch`, `dataset`, `selected_on` (None where the file does not tell); `class_names`, by
        number, empty likewise; `ours`; `bytes` of
        the file; `parts`: tensors and bytes by part; `missing`, `unexpected`: names.

    Raises:
        InputError: it cannot be read, or holds no encoder known here.
    """
    content = load(path)
    tensors = tensors_of(content, str(path))
    own = own_encoder(content, path)
    found = recognize(tensors, str(path), arch=own and own.arch)
    config, ours = own or found.config, own is not None
    about = content["config"] if ours else {}
    return {
        "arch": config.arch,
        "head": config.head,
        "mlp": config.mlp,
        "dim": config.dim if config.embeds else None,
        "num_classes": config.num_classes if config.classifies else None,
        "parameters": sum(
            t.numel()
            for name, t in found.state.items()
            if t.is_floating_point() and "running_" not in name
        ),
        "epoch": content["epoch"] if isinstance(content.get("epoch"), int) else None,
        "dataset": (about.get("data") or {}).get("dataset"),
        "selected_on": about.get("selected_on"),
        "class_names": list(class_names({"config": about}, path)),
        "ours": ours,
        "bytes": Path(path).stat().st_size,
        "parts": parts(tensors),
        "missing": list(found.missing),
        "unexpected": list(found.unexpected),
    }


def lines(report: dict[str, Any]) -> Iterator[str]:
    """Yield the report for people."""
    head = {
        "architecture": f"{report['arch']}, {report['parameters'] / 1e6:.2f} M parameters",
        "head": report["head"] + (" + mlp" if report["mlp"] else ""),
        "embedding": report["dim"],
        "classes": report["num_classes"],
        "named": capped(report["class_names"]) or None,
        "epoch": report["epoch"],
        "trained on": report["dataset"],
        "chosen on": report["selected_on"],
        "file": f"{report['bytes'] / 2**20:.1f} MB",
    }
    for name, value in head.items():
        yield f"{name:<14}{'unknown' if value is None else printable(value, 1200)}"
    for part, size in report["parts"].items():
        yield f"  {part:<12}{size['tensors']} tensors, {size['bytes'] / 2**20:.1f} MB"
    for kind in ("missing", "unexpected"):
        names = report[kind]
        shown = capped(f"{name!r:.120}" for name in names)
        yield f"{kind:<14}{len(names)} names{': ' + shown if names else ''}"
