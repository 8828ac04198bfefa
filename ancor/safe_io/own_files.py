"""Recognizing the files that this toolkit writes, by their content and without unpickling."""

import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

HEAD = 2**16  # bytes that tell most files
MOST_JSON = 2**20  # a longer one is known by its first name only
MOST_NAMES = 2**20  # bytes at the end of an archive that are looked into


class OwnFile(NamedTuple):
    """What a file is, and what takes it."""

    what: str
    taken: str
    weights: bool = False

    def __str__(self) -> str:
        return f"{self.what}: {self.taken}"


EXPORTED = "other programs run it; commands here take the checkpoint it was made from"
CLASSIFIER = OwnFile("a saved few-shot classifier", "ancor predict --saved takes it")
CHECKPOINT = OwnFile(
    "a checkpoint or file of weights", "eval.py --model-path takes it", weights=True
)
SAFETENSORS = OwnFile(
    "a file of weights", "eval.py --model-path takes it, under a name in .safetensors", weights=True
)
ONNX = OwnFile("an encoder exported as ONNX", EXPORTED)
PT2 = OwnFile("an encoder exported by torch.export (.pt2)", EXPORTED)
FEATURES = OwnFile("a file of features", "train.py --features takes it")
ROWS = OwnFile("a table of features", "train.py --features takes what ancor embed writes as .npz")
CACHE = OwnFile("part of a feature cache", "eval.py --feature-cache takes the folder above its own")
METRICS = OwnFile("the metrics.jsonl of a run", "ancor compare takes its folder")
CONFIG = OwnFile("the config.json of a run", "train.py --config takes it")
EVENTS = OwnFile("a TensorBoard file of a run", "tensorboard --logdir takes its folder")
LABELS = OwnFile("a table of labeled images", "named labels.csv, train.py --data takes its folder")
PACKED = OwnFile("a file of packed images", "train.py --data takes it")
REPORT = OwnFile("a report of a command", "no command takes it")
SESSION = OwnFile("the labels of a session", "ancor app --output takes its folder")
RUN = OwnFile("the folder of a run", "eval.py --model-path takes model_best.pth.tar in it")
# What names at the start of a JSON file tell: all of a set have to be there.
JSON_NAMES = (
    ({"kind", "version", "sha256"}, CLASSIFIER),
    ({"key", "width", "rows", "features"}, CACHE),
    ({"kind", "step"}, METRICS),
    ({"encoder", "data", "training"}, CONFIG),
    ({"results"}, REPORT),
    ({"predictions"}, REPORT),
    ({"queries"}, REPORT),
    ({"take", "candidates"}, REPORT),
    ({"partitions", "problems"}, REPORT),
    ({"arch", "parameters", "parts"}, REPORT),
    ({"file", "is", "taken_by"}, REPORT),
    ({"packages", "devices", "cores"}, REPORT),  # of doctor
    ({"ancor", "moco", "fine"}, REPORT),  # of methods
    ({"kind", "classes", "labels", "dropped"}, SESSION),
)
TABLES = (
    ({"path", "class", "probability"}, REPORT),  # which may tell coarse classes too
    ({"path", "coarse"}, LABELS),
    ({"mode", "n_shots", "episode", "accuracy"}, REPORT),
    ({"query", "rank", "path", "similarity"}, REPORT),
    ({"partition", "image", "view", "f0"}, ROWS),
)
PACKED_MAGIC = b"ANCORPK1"
PARQUET = b"PAR1"
LEGACY_TORCH = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"


def recognized(path: Path | str) -> OwnFile | None:
    """Tell which of the toolkit's own files this is; None: none, or it cannot be read."""
    try:
        if os.path.isdir(path):
            return RUN if os.path.isfile(os.path.join(path, "metrics.jsonl")) else None
        if not os.path.isfile(path):
            return None
        with open(path, "rb") as file:
            head = file.read(HEAD)
        kinds = (_json, _zip, _parquet)
        found = _by_head(head) or next(filter(None, (kind(path, head) for kind in kinds)), None)
        return found or _table(head)
    except (OSError, ValueError):
        return None


def is_packed(path: Path | str | None) -> bool:
    """Tell whether a path names a file of packed images, by how it begins."""
    if path is None or not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(len(PACKED_MAGIC)) == PACKED_MAGIC
    except OSError:
        return False


def hint(path: Path | str) -> str:
    """Return `; it is ...` for a message about a file that was taken for another; else nothing."""
    found = recognized(path)
    return f"; it is {found}" if found else ""


def _by_head(head: bytes) -> OwnFile | None:
    if head.startswith(LEGACY_TORCH):
        return CHECKPOINT
    if head.startswith(PACKED_MAGIC):
        return PACKED
    if re.match(rb"\x08[\x01-\x20]\x12.pytorch", head, re.S):  # ONNX's version, who made it
        return ONNX
    if head[8:9] == b"{" and b'"data_offsets"' in head and int.from_bytes(head[:8], "little"):
        return SAFETENSORS
    return EVENTS if b"brain.Event:" in head[:64] else None


def _json(path: Path | str, head: bytes) -> OwnFile | None:
    if not head.startswith(b"{"):
        return None
    whole = _names(head.partition(b"\n")[0])
    if not whole and os.path.getsize(path) <= MOST_JSON:
        whole = _names(Path(path).read_bytes())
    first = re.match(rb'\{\s*"(\w+)"', head)
    names = whole or ({first[1].decode()} if first else set())
    return next((file for wanted, file in JSON_NAMES if wanted <= names), None)


def _names(text: bytes) -> set[str]:
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError):
        return set()
    return set(content) if isinstance(content, dict) else set()


def _zip(path: Path | str, head: bytes) -> OwnFile | None:
    if not head.startswith(b"PK"):
        return None
    names = _end(path)
    if b"models/model.json" in names or b"serialized_exported_program.json" in names:
        return PT2
    if b"about.npy" in names and b"_features.npy" in names:
        return FEATURES
    return CHECKPOINT if b"/data.pkl" in names else None


def _parquet(path: Path | str, head: bytes) -> OwnFile | None:
    """Tell by the schema, whose metadata `ancor` says what the features are."""
    return ROWS if head.startswith(PARQUET) and b"ancor" in _end(path) else None


def _end(path: Path | str) -> bytes:
    """Return the end of a file, where names stand; a hostile list of them has any length."""
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - MOST_NAMES))
        return file.read(MOST_NAMES)


def _table(head: bytes) -> OwnFile | None:
    line = head.partition(b"\n")[0].decode("utf-8-sig", errors="replace")
    names = {name.strip() for name in re.split("[,;\t]", line)}
    return next((file for wanted, file in TABLES if wanted <= names), None)
