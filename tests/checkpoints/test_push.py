"""Encoders on the hub: what is sent, what is fetched, and a hub at 127.0.0.1 in between."""

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import numpy as np
import pytest
import torch
from safetensors import safe_open

import ancor
from ancor.checkpoints import checkpoint, hub, push
from ancor.checkpoints.pretrained import weights_file
from ancor.cli import embed, export
from ancor.cli.eval import main as evaluate
from ancor.cli.push import main
from ancor.models.backbones import build_backbone
from ancor.training.resolve import resolve
from ancor.training.start import start_of
from tests.refusals import refused, refuses, tells

constants = pytest.importorskip("huggingface_hub.constants")
COMMIT = "0" * 39 + "1"


@pytest.fixture
def folder(quick_run, tmp_path) -> Path:
    """What would be sent of a short run."""
    model = str(quick_run / "model_best.pth.tar")
    words = ["--model-path", model, "--repo", "me/digits", "--folder", str(tmp_path / "sent")]
    assert main(words) == 0
    return tmp_path / "sent"


def no_network(url: str) -> None:
    raise OSError("no network")


def in_cache(folder: Path, home: Path, repository: str = "me/digits") -> None:
    """Lay a folder out as the hub's client keeps what it fetched."""
    place = home / "hub" / f"models--{repository.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    kept = place / "snapshots" / COMMIT
    kept.mkdir(parents=True)
    (kept / hub.SHARED).write_bytes((folder / hub.SHARED).read_bytes())


def test_what_is_sent_is_a_whole_encoder_and_a_card(folder, quick_run):
    assert {path.name for path in folder.iterdir()} == {hub.SHARED, push.CARD}
    own = ancor.load_encoder(quick_run / "model_best.pth.tar")
    sent = ancor.load_encoder(folder / hub.SHARED)
    images = [np.full((8, 8), value, np.uint8) for value in (0, 90, 250)]
    assert np.array_equal(own.encode(images), sent.encode(images))
    assert sent.coarse_names == own.coarse_names != ()
    card = (folder / push.CARD).read_text(encoding="utf-8")
    assert tells(card, 'ancor.load_encoder("hf-hub:me/digits")')
    assert tells(card, "dataset", "digits")


def test_no_folder_of_this_machine_is_sent(quick_run, tmp_path):
    content = torch.load(quick_run / "model_best.pth.tar", weights_only=True)
    config = content["config"]
    config["data"] |= {"root": "/home/me/secret", "labels": "/home/me/secret/table.csv"}
    config["pretrained_on"] = "/home/me/secret/weights.pth"
    checkpoint.save({n: v for n, v in content.items() if n != "checksum"}, tmp_path / "m.pth.tar")
    push.write(str(tmp_path / "m.pth.tar"), tmp_path / "sent", "me/digits")
    for name in (hub.SHARED, push.CARD):
        assert b"secret" not in (tmp_path / "sent" / name).read_bytes()
    with safe_open(tmp_path / "sent" / hub.SHARED, "pt") as file:
        assert "weights.pth" in file.metadata()["pretrained_on"]
    for to in ("pt2", "safetensors"):
        path = tmp_path / f"exported.{to}"
        words = ["--model-path", str(tmp_path / "m.pth.tar"), "--output", str(path)]
        assert export.main(words) == 0
        assert b"weights.pth" in path.read_bytes()
        assert b"secret" not in path.read_bytes()


def test_a_readme_of_something_else_is_not_replaced(quick_run, tmp_path, capsys):
    (tmp_path / "README.md").write_text("mine")
    model = str(quick_run / "model_best.pth.tar")
    words = ["--model-path", model, "--repo", "me/digits", "--folder", str(tmp_path)]
    refused(main, words, capsys, repr(str(tmp_path)), "README.md")
    assert (tmp_path / "README.md").read_text() == "mine"
    for _ in range(2):  # what it wrote itself is written anew
        assert main([*words[:-1], str(tmp_path / "sent")]) == 0


def test_a_cached_encoder_needs_no_network(folder, tmp_path, monkeypatch, capsys):
    in_cache(folder, tmp_path / "home")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setattr(hub, "check_answers", no_network)
    sent = ancor.load_encoder("hf-hub:me/digits")
    assert sent.coarse_names == ancor.load_encoder(folder / hub.SHARED).coarse_names
    report = tmp_path / "report.json"
    words = ["--model-path", "hf-hub:me/digits", "--partition", "test", "--n-test-runs", "2"]
    assert evaluate([*words, "--json", str(report)]) == 0
    digest = hashlib.sha256((folder / hub.SHARED).read_bytes()).hexdigest()
    assert digest in report.read_text()
    with refuses("hf-hub:me/other", "me/other/model.safetensors"):
        ancor.load_encoder("hf-hub:me/other")


def test_a_training_starts_from_the_hub(folder, tmp_path, monkeypatch):
    """By `--pretrained`, and by features whose file tells where their backbone is from."""
    in_cache(folder, tmp_path / "home")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    name, rows = "hf-hub:me/digits", str(tmp_path / "rows.npz")
    own = checkpoint.load_encoder(folder / hub.SHARED)[0].backbone.state_dict()
    words = ["--model-path", name, "--partition", "train", "--views", "2", "--output", rows]
    assert embed.main(words) == 0
    for given in ({"features": rows}, {"arch": "conv4", "pretrained": name, "dataset": "digits"}):
        config, start, _ = start_of(resolve({**given, "mode": "coarse"})[0], None)
        assert config.pretrained_on == name
        for key, tensor in start.backbone.state_dict().items():
            assert torch.equal(tensor, own[key])
    assert weights_file(f"torchvision:resnet18={name}") == weights_file(name)


@pytest.mark.parametrize("damage", ["cut", "pickle", "text"])
def test_a_hostile_file_of_the_hub_is_refused(damage, folder, tmp_path, monkeypatch):
    whole = (folder / hub.SHARED).read_bytes()
    made = {"cut": whole[:-100], "pickle": b"\x80\x04c__builtin__\neval\n.", "text": b"{" * 100}
    (folder / hub.SHARED).write_bytes(made[damage])
    in_cache(folder, tmp_path / "home")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    with refuses("model.safetensors"):
        ancor.load_encoder("hf-hub:me/digits")


def test_names_and_files_that_will_not_do_are_refused(tmp_path, monkeypatch, capsys, quick_run):
    for name in ("digits", "a/b/c", "../x", "me/", "me/dig its", "me/\u202ex"):
        with refuses("OWNER/NAME"):
            ancor.load_encoder(f"hf-hub:{name}")
    model = ["--model-path", str(quick_run / "model_best.pth.tar")]
    refused(main, [*model, "--repo", "me"], capsys, "'me'", "OWNER/NAME")
    monkeypatch.setattr(hub, "check_answers", no_network)
    refused(main, [*model, "--repo", "me/x"], capsys, "'me/x'", "hf auth login")
    torch.save({"conv1.weight": torch.ones(1)}, tmp_path / "w.pth")
    words = ["--model-path", str(tmp_path / "w.pth"), "--repo", "me/x", "--folder", str(tmp_path)]
    refused(main, words, capsys, repr(str(tmp_path / "w.pth")))
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    with refuses("pip install 'ancor-toolkit[hub]'"):
        ancor.load_encoder("hf-hub:me/digits")


def test_what_tells_of_no_training_is_refused_with_what_can_be_sent(quick_run, tmp_path):
    """The advice was an export that tells as little; a backbone asked for a flag that is none."""
    content = torch.load(quick_run / "last.pth.tar", weights_only=True)
    bare, weights = tmp_path / "bare.pth.tar", tmp_path / "w.pth"
    torch.save({"state_dict": content["state_dict"], "epoch": 2}, bare)
    torch.save(build_backbone("timm:test_resnet").state_dict(), weights)
    for source in (str(bare), f"timm:test_resnet={weights}"):
        with refuses(repr(source), "train.py"):
            push.write(source, tmp_path / "sent", "me/x")
    exported = tmp_path / "own.safetensors"
    flags = ["--model-path", str(quick_run / "last.pth.tar"), "--output", str(exported)]
    assert export.main(flags) == 0
    push.write(str(exported), tmp_path / "sent", "me/x")


class Hub(BaseHTTPRequestHandler):
    """So much of a hub as one repository needs; every file is sent inside its commit."""

    files: ClassVar[dict[str, bytes]] = {}
    made: ClassVar[list[dict]] = []

    def log_message(self, *words: object) -> None:
        """Say nothing."""

    def answer(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/repos/create":
            self.made.append(json.loads(body))
            self.answer({"url": "http://127.0.0.1/me/digits"})
        elif "/preupload/" in self.path:
            files = [{**each, "uploadMode": "regular"} for each in json.loads(body)["files"]]
            self.answer({"files": [{**each, "shouldIgnore": False} for each in files]})
        elif "/commit/" in self.path:
            for line in body.splitlines():
                told = json.loads(line)
                if told["key"] == "file":
                    content = base64.b64decode(told["value"]["content"])
                    self.files[told["value"]["path"]] = content
            self.answer(
                {"commitUrl": f"http://127.0.0.1/me/digits/commit/{COMMIT}", "commitOid": COMMIT}
            )
        else:  # such as the check of a card's front matter
            self.answer({"errors": [], "warnings": []})

    def do_HEAD(self) -> None:
        self.file(body=False)

    def do_GET(self) -> None:
        if self.path.startswith("/api/"):
            self.answer({"id": "me/digits", "sha": COMMIT, "siblings": []})
        else:
            self.file(body=True)

    def file(self, body: bool) -> None:
        content = self.files.get(self.path.rpartition("/")[2])
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a hub on this machine, which is empty."""
    Hub.files.clear()
    Hub.made.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.mark.slow
def test_pushed_and_loaded(server, quick_run, tmp_path):
    """The client reads its endpoint when it is imported: in a process of its own."""
    environment = {
        **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
        "HF_ENDPOINT": server,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": "hf_" + "x" * 30,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }

    def run(*command: str) -> str:
        shown = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, env=environment
        )
        assert shown.returncode == 0, shown.stderr
        return shown.stdout

    model = str(quick_run / "model_best.pth.tar")
    said = run("-m", "ancor", "push", "--model-path", model, "--repo", "me/digits", "--private")
    assert "hf-hub:me/digits" in said
    assert set(Hub.files) == {hub.SHARED, push.CARD}
    assert Hub.made[0]["name"] == "digits"
    assert Hub.made[0].get("private") or Hub.made[0].get("visibility") == "private"
    code = "import ancor; print(ancor.load_encoder('hf-hub:me/digits').coarse_names)"
    told = run("-c", code)
    assert told.strip() == str(ancor.load_encoder(model).coarse_names)
    Hub.files.clear()
    assert run("-c", code) == told  # from the cache now
