"""Encoders for others: a folder that the Hugging Face hub takes, and the way there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ancor.checkpoints import checkpoint, export, hub, pretrained
from ancor.data.resolve import resolve_data
from ancor.errors import InputError, capped
from ancor.models.names import HUB
from ancor.runtime.text import printable
from ancor.safe_io.writing import write_result

CARD = "README.md"


def write(source: str, folder: Path, repository: str) -> None:
    """Write what a repository holds: the encoder as `hub.SHARED`, and a card for people.

    The file is what `ancor.checkpoints.export` writes as .safetensors: weights, class names and
    preprocessing, without folders of this machine, which the card does not name either.

    Args:
        source: a checkpoint that tells what it was trained on.
        folder: created if there is none.
        repository: OWNER/NAME, for the card.

    Raises:
        InputError: the file cannot be read or does not tell that, or the folder cannot be written
            or has another card.
    """
    encoder, content = pretrained.load_encoder(source)
    config = content["config"]
    if "dataset" not in (config["data"] or {}):
        raise InputError(
            f"{source!r} does not tell what it was trained on, nor how its images were prepared; "
            "push a checkpoint that train.py wrote, or a file exported from one"
        )
    if (folder / CARD).exists() and not (folder / hub.SHARED).exists():
        raise InputError(
            f"`folder` {str(folder)!r} has a {CARD} of something else, which would be lost; name "
            "another folder"
        )
    content, data = export.without_folders(content, resolve_data({}, config["data"]))
    outputs = export.available_outputs(encoder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_result(folder / CARD, card(content, repository))
    except OSError as error:
        raise InputError(
            f"cannot write to {str(folder)!r} ({error.strerror}); name another folder"
        ) from error
    export.export(source, encoder, content, data, folder / hub.SHARED, "safetensors", outputs)


def push(folder: Path, repository: str, private: bool = False) -> str:
    """Send a folder to the hub, as the user whom its own client knows; return the address.

    Args:
        folder: what `write` made.
        repository: OWNER/NAME, created if there is none.
        private: whether a new one is.

    Raises:
        InputError: the hub cannot be reached, or refuses.
    """
    client = hub.require()
    try:
        hub.check_answers(hub.endpoint())
        api = client.HfApi()
        address = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=[hub.SHARED, CARD],
            commit_message="ancor push",
        )
    except hub.network_errors() as error:
        why = str(error).strip().partition("\n")[0]
        raise InputError(
            f"{repository!r} cannot be pushed to {hub.endpoint()} ({why:.150}); log in by 'hf auth "
            "login', and name a repository of your own"
        ) from error
    return str(address)


def card(content: Mapping[str, Any], repository: str) -> str:
    """Return the text for people: what the encoder is, and how it is used."""
    config = content["config"]
    encoder, data = config["encoder"], config["data"]
    names = checkpoint.class_names(content, repository)
    trained = config["training"].get("mode")
    facts = {
        "backbone": encoder["arch"],
        "head": encoder["head"],
        "began with": config.get("pretrained_on"),
        "dataset": data.get("dataset"),
        "trained on": f"{trained} labels" if trained else None,
        "classes": capped(map(printable, names)) if names else None,
    }
    shown = {
        name: printable(value, 600).replace("|", r"\|") for name, value in facts.items() if value
    }
    lines = [f"| {name} | {value} |" for name, value in shown.items()]
    return "\n".join(
        [
            *("---", "library_name: ancor-toolkit", "pipeline_tag: image-feature-extraction"),
            *("tags: [few-shot, coarse-to-fine]", "---", "", f"# {repository}", ""),
            *("An image encoder for coarse-to-fine few-shot classification.", ""),
            *("| | |", "| --- | --- |", *lines, ""),
            *("```python", "import ancor", ""),
            f'encoder = ancor.load_encoder("{HUB}{repository}")',
            "classifier = ancor.FewShotClassifier(encoder).fit(images, labels)",
            *("```", ""),
        ]
    )
