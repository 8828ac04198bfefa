"""Published weights by a hub on this machine: fetched whole and once, or told in one line."""

import hashlib
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest
import safetensors.torch
import timm
import torch

from ancor.checkpoints import hub
from ancor.checkpoints.pretrained import read_backbone
from ancor.models.libraries import Published
from ancor.models.names import OWN_WEIGHTS
from tests.made import write
from tests.refusals import one_line, refuses, tells

NAME = "test_resnet.r160_in1k"
PLACE = f"/timm/{NAME}/resolve/main/model.safetensors"
ODD = ("silent", "cut", 401, 404, 429, 500)


class Hub(ThreadingHTTPServer):
    """Answers as the Hugging Face hub and a plain server of files do, or oddly."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.how: str | int = "well"
        self.asked: list[str] = []
        self.over = Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def answer(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        content, how = self.server.files.get(self.path), self.server.how
        if how == "silent":
            self.server.over.wait(20)
            return
        status = how if isinstance(how, int) else 200 if content is not None else 404
        content = content if status == 200 else b""
        self.send_response(status)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[: len(content) // 2] if how == "cut" else content)


@pytest.fixture
def server(tmp_path, monkeypatch):
    hub_ = Hub()
    Thread(target=hub_.serve_forever, daemon=True).start()
    for name, value in {
        "HF_ENDPOINT": hub_.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path / "hf"),
        "TORCH_HOME": str(tmp_path / "torch"),
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    yield hub_
    hub_.over.set()
    hub_.shutdown()
    hub_.server_close()


@pytest.fixture
def own_hub(server, monkeypatch):
    """The hub of this process, which read its address when it was imported."""
    import huggingface_hub

    known = huggingface_hub.constants
    template = known.HUGGINGFACE_CO_URL_TEMPLATE.replace(known.ENDPOINT, server.url)
    monkeypatch.setattr(known, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(known, "ENDPOINT", server.url)
    monkeypatch.setattr(known, "HF_HUB_OFFLINE", False)
    folder = os.path.join(os.environ["HF_HOME"], "hub")
    monkeypatch.setattr(known, "HF_HUB_CACHE", folder)
    return server


def test_pretrained_alone_takes_the_tags_weights_and_fetches_them_once(own_hub):
    torch.manual_seed(0)
    network = timm.create_model("test_resnet")
    own_hub.files[PLACE] = safetensors.torch.save(network.state_dict())
    for asked in (True, False):
        found = read_backbone("timm:test_resnet", OWN_WEIGHTS)
        assert (f"GET {PLACE}" in own_hub.asked) == asked
        own_hub.asked.clear()
        assert found.name == f"timm:{NAME}"
        assert "apache-2.0" in found.line
        own = network.state_dict()
        assert all(torch.equal(t, own[n]) for n, t in found.backbone.state_dict().items())


@pytest.mark.slow
def test_a_command_fetches_from_the_hub_that_the_environment_names(server, tmp_path):
    network = timm.create_model("test_resnet")
    server.files[PLACE] = safetensors.torch.save(network.state_dict())
    words = "-m ancor embed --arch timm:test_resnet --pretrained --dataset digits --views 0"
    words = [*words.split(), *("--image-size", "32", "--output", str(tmp_path / "f.npz"))]
    ended = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert f"GET {PLACE}" in server.asked
    assert tells(ended.stdout, NAME, "apache-2.0")


@pytest.mark.parametrize("how", [how for how in ODD if how != "cut"])
@pytest.mark.parametrize("place", ["hub", "url"])
def test_a_server_that_gives_nothing_is_one_line_at_once(own_hub, how, place, monkeypatch):
    """One that takes connections and is silent was waited for without end, others for 23 s."""
    monkeypatch.setattr(hub, "SECONDS", 1.0)
    own_hub.how = how
    url = f"{own_hub.url}/x-0123abcd.pth" if place == "url" else ""
    weights = Published("x", url, "" if url else "timm/x", "model.safetensors")
    began = time.monotonic()
    told = str(how) if isinstance(how, int) and (place, how) != ("hub", 404) else "cannot"
    with refuses("x", "`pretrained`", told):
        hub.fetched(weights)
    assert time.monotonic() - began < 5


ARCH = f"timm:{NAME}"


@pytest.mark.parametrize("how", ["silent", "well", 500])
def test_a_host_is_asked_while_the_library_is_imported(own_hub, how, monkeypatch):
    """The wait for a silent one came after seconds of imports; it is not waited for twice."""
    monkeypatch.setattr(hub, "SECONDS", 0.5)
    own_hub.how = how
    hub.ask_ahead(ARCH)
    weights = Published(ARCH, repository=f"timm/{NAME}", file="model.safetensors")
    with refuses(ARCH, "`pretrained`"):
        hub.fetched(weights)
    assert own_hub.asked[0] == "HEAD /"
    assert (own_hub.asked == ["HEAD /"]) == (how == "silent")
    own_hub.asked.clear()
    with refuses(ARCH, "`pretrained`"):  # an answer is of one start
        hub.fetched(weights)
    assert f"HEAD {PLACE}" in own_hub.asked


def test_nobody_is_asked_where_a_cache_has_the_name_or_no_library_has_it(own_hub, tmp_path):
    (tmp_path / f"hf/hub/models--timm--{NAME}").mkdir(parents=True)
    (tmp_path / "torch/hub/checkpoints/resnet18-0123.pth").mkdir(parents=True)
    for arch in (ARCH, "timm:test_resnet", "torchvision:resnet18", "conv4", ""):
        hub.ask_ahead(arch)
    own_hub.files[PLACE] = b"weights"
    weights = Published(ARCH, repository=f"timm/{NAME}", file="model.safetensors")
    assert hub.fetched(weights).read_bytes() == b"weights"
    assert "HEAD /" not in own_hub.asked


def test_a_file_that_was_cut_off_is_not_kept(own_hub):
    """It stayed in the cache under its name, and every later start found it broken."""
    own_hub.files["/x-0123abcd.pth"] = bytes(range(256)) * 999
    weights = Published("x", f"{own_hub.url}/x-0123abcd.pth")
    own_hub.how = "cut"
    with refuses("x-0123abcd.pth", str(256 * 999)):
        hub.fetched(weights)
    own_hub.how = "well"
    assert hub.fetched(weights).read_bytes() == own_hub.files["/x-0123abcd.pth"]


# What a user may call with a library's weights; each but the first goes through its own parser.
COMMANDS = (
    "eval.py {} --dataset digits",
    "train.py {} --dataset digits --mode coarse",
    "tsne.py {} --dataset digits",
    "-m ancor embed {} --dataset digits --output x.npz",
    "-m ancor predict --model-path timm:test_resnet --support x --query x",
    "ensemble.py --model-path timm:test_resnet timm:test_vit --dataset digits",
    "concat.py --model-path timm:test_resnet timm:test_vit --dataset digits",
    "-m ancor export --model-path timm:test_resnet --to onnx",
)


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_without_a_network_ends_in_one_line(words, tmp_path):
    nowhere = "http://127.0.0.1:9"
    places = {"HF_HOME": str(tmp_path), "TORCH_HOME": str(tmp_path), "HF_ENDPOINT": nowhere}
    words = words.format("--arch timm:test_resnet --pretrained").split()
    write(tmp_path / "x/a/1.png", 1, (20, 20))
    words = [str(tmp_path / word) if word in ("x", "x.npz") else word for word in words]
    ended = subprocess.run(
        [sys.executable, *words],
        env={**os.environ, **places},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 2, ended.stderr
    one_line(ended.stderr, "timm:test_resnet.r160_in1k", "model.safetensors")
