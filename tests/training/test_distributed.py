"""Two gloo processes against one."""

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ancor.checkpoints import checkpoint
from ancor.cli.train import main
from ancor.errors import InputError, RunError
from ancor.methods.ancor import Ancor
from ancor.methods.base import Batch
from ancor.methods.config import AncorConfig
from ancor.models.backbones import BACKBONES
from ancor.models.config import EncoderConfig
from ancor.runtime import distributed
from ancor.runtime.launch import Group, launch
from ancor.runtime.rendezvous import unused
from ancor.runtime.seeding import generator
from ancor.training.batches import EpochBatches
from ancor.training.config import TrainConfig
from ancor.training.metrics import Meter
from ancor.training.resume import start_from
from ancor.training.trainer import Trainer
from tests.cases import slow
from tests.conftest import SMALL
from tests.refusals import one_line, refuses, tells
from tests.training.failing import fail

ROOT = Path(__file__).parents[2]
STEPS, BATCH, IMAGES = 5, 10, 50
HEADS = {
    "ancor": ("seq", ("cls", "cst_by_class")),
    "moco-like": ("none", ("cst_all",)),
    "on features": ("seq", ("cls", "cst_by_class")),
}


def free_group(processes: int = 2) -> Group:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    return Group(processes, url=f"tcp://localhost:{port}", backend="gloo")


class Linear(nn.Module):
    """A backbone whose samples do not touch each other: no batch norm, no dropout."""

    out_features = 12

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 4 * 4, self.out_features)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.layer(images.flatten(1)))


class FakeBatches:
    """What a trainer needs of its batches."""

    def __init__(self) -> None:
        self.batch_size, self.device = BATCH, torch.device("cpu")


def train_steps(folder: str, name: str, accumulate: int, odd: bool) -> None:
    """Take some steps on this process's shares and leave what came out in a file."""
    BACKBONES["linear"] = Linear
    head, calculators = HEADS[name]
    torch.manual_seed(0)
    config = AncorConfig(
        queue="multi" if head == "seq" else "single",
        queue_length=16,
        calculators=calculators,
        encoder_momentum=0.5,
    )
    method = Ancor(EncoderConfig("linear", head, True, 6, 3), config).double()
    settings, shape = TrainConfig(accumulate=accumulate, lr=0.1), (3, 4, 4)
    if name == "on features":
        settings, shape = replace(settings, freeze="all"), (Linear.out_features,)
        method.encoder.backbone.requires_grad_(False)
    method.prepare(torch.device("cpu"))
    batches = FakeBatches()
    batches.batch_size = BATCH - 1 if odd else BATCH
    trainer = Trainer(method, batches, settings, None, None, None)
    data = torch.randn(2, IMAGES, *shape, generator=generator(0, "data"), dtype=torch.float64)
    labels = torch.arange(IMAGES) % 3
    losses = []
    for request in list(EpochBatches(IMAGES, batches.batch_size, seed=3))[:STEPS]:
        indices = torch.tensor([index for _, index in request])
        meter = Meter()
        trainer.step(Batch((data[0, indices], data[1, indices]), labels[indices], indices), meter)
        figures, _ = meter.read()
        losses.append([figures[f"loss/{calculator}"] for calculator in calculators])
    state = {"losses": torch.tensor(losses), "queue": method.queue.queue}
    state |= {f"pointer{i}": p for i, p in enumerate(method.queue.queue_ptr)}
    state |= {f"weight {n}": p.detach() for n, p in method.named_parameters()}
    torch.save(state, Path(folder) / f"{distributed.world_size()}-{distributed.rank()}.pt")


CASES = [(name, accumulate, odd) for name in HEADS for accumulate in (1, 2) for odd in (0, 1)]


def train_all_cases(folder: str) -> None:
    for number, case in enumerate(CASES):
        (Path(folder) / str(number)).mkdir(exist_ok=True)
        train_steps(str(Path(folder) / str(number)), *case)
    check_gather()


def train_and_count(folder: str) -> None:
    train_all_cases(folder)
    count_bytes(folder)


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """A folder of what one process, and both of one group of two, leave."""
    folder = tmp_path_factory.mktemp("steps")
    train_all_cases(str(folder))
    launch(train_and_count, free_group(), str(folder))
    return folder


@pytest.fixture(scope="module")
def outcomes(steps):
    """Each case's state after some steps: of one process, and of both of two."""
    return {
        case: [
            torch.load(steps / str(number) / f"{which}.pt", weights_only=True)
            for which in ("1-0", "2-0", "2-1")
        ]
        for number, case in enumerate(CASES)
    }


@pytest.mark.parametrize("case", CASES, ids=str)
def test_two_processes_do_what_one_does(case, outcomes):
    one, first, second = outcomes[case]
    assert one.keys() == first.keys()
    for key, expected in outcomes[(case[0], 1, case[2])][0].items():
        assert torch.equal(first[key], second[key]), key  # on both processes to the bit
        # A meter's mean over processes of unequal parts is no mean over images: it is for looking.
        if not (case[2] and key == "losses"):
            torch.testing.assert_close(first[key], expected, rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(one[key], expected, rtol=1e-9, atol=1e-9)
    assert not torch.equal(one["losses"][0], one["losses"][-1])


def check_gather() -> None:
    """Divide, gather and exchange every count: run by both processes of the fixture above."""
    for count in (1, 2, 3, 7, 9):
        whole = torch.arange(2 * count).view(count, 2)
        part = whole[distributed.rank_slice(count)]
        assert torch.equal(distributed.gather(part, count), whole)
        for seed in range(5):
            order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
            expected = whole[order][distributed.rank_slice(count)]
            assert torch.equal(distributed.exchange(part, order), expected)
    calls = []
    word = distributed.text_from_main(lambda: calls.append(1) or f"of {distributed.rank()}")
    assert word == "of 0"
    assert len(calls) == distributed.is_main_process()


def bytes_of_a_step(length: int) -> int:
    """Count what collectives are given in one step."""
    sent = []

    class Collectives(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function.namespace == "c10d":
                tensors = torch.utils._pytree.tree_leaves(args)
                sent.extend(t.nbytes for t in tensors if isinstance(t, torch.Tensor))
            return function(*args, **(kwargs or {}))

    BACKBONES["linear"] = Linear
    method = Ancor(EncoderConfig("linear", "seq", True, 6, 3), AncorConfig(queue_length=length))
    method.prepare(torch.device("cpu"))
    trainer = Trainer(method, FakeBatches(), TrainConfig(), None, None, None)
    images = torch.randn(2, BATCH // 2, 3, 4, 4)
    labels = torch.arange(BATCH // 2) % 3
    with Collectives():
        trainer.step(Batch(tuple(images), labels, labels), Meter())
    return sum(sent)


def count_bytes(folder: str) -> None:
    counts = [bytes_of_a_step(length) for length in (16, 4096)]
    (Path(folder) / f"bytes-{distributed.rank()}.json").write_text(json.dumps(counts))


def test_bytes_sent_in_a_step_do_not_depend_on_the_queue(steps):
    for rank in (0, 1):
        short, long = json.loads((steps / f"bytes-{rank}.json").read_text())
        assert short == long > 0


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("input", InputError, ["--lr 9: too much"]),
        slow("other", RunError, ["process 1", "KeyError: 'lost'"]),
        slow("lines", RunError, ["process 1", "RuntimeError: what was wrong"]),
        ("killed", RunError, ["process 1", "SIGKILL"]),
    ],
)
def test_a_process_that_dies_ends_all_with_its_own_error(how, kind, words):
    with refuses(*words, kind=kind):
        launch(fail, free_group(), how)


@pytest.mark.parametrize(
    ("gpus", "process", "backend", "taken"),
    [(2, 1, "nccl", [1]), (2, 1, "gloo", [1]), (1, 1, "gloo", []), (0, 3, "gloo", [])],
)
def test_a_process_takes_the_gpu_of_its_number(monkeypatch, gpus, process, backend, taken):
    found = []
    monkeypatch.setattr(distributed, "count_gpus", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", found.append)
    distributed.take_gpu(process, backend)
    assert found == taken


def test_nccl_needs_a_gpu_for_each_process(monkeypatch):
    monkeypatch.setattr(distributed, "count_gpus", lambda: 1)
    with refuses("process 1", "at most 1", "--dist-backend gloo"):
        distributed.take_gpu(1, "nccl")


def test_a_taken_port_is_one_line():
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        url = f"tcp://localhost:{taken.getsockname()[1]}"
        with refuses("--dist-url", repr(url), os.strerror(errno.EADDRINUSE)):
            launch(check_gather, Group(2, url=url))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"url": "localhost"}, ["--dist-url", "'localhost'"]),
        ({"node": 2, "nodes": 2}, ["--rank", "2", "0 to 1"]),
        ({"backend": "smoke"}, ["--dist-backend", "'smoke'", "gloo"]),
        ({"processes": 0}, ["--nproc 0"]),
    ],
)
def test_groups_that_cannot_be_are_refused(flags, words):
    with refuses(*words):
        Group(**{"processes": 2, **flags})


@pytest.mark.slow  # the fast ones: `outcomes` by own processes, tests/training/test_elastic.py
def test_scripts_train_in_two_processes_of_their_own_and_of_torchruns(tmp_path):
    flags = [*SMALL, "--max-steps", "2"]
    port = free_group().url
    own = tmp_path / "own"
    command = [*flags, "--multiprocessing-distributed", "--nproc", "2", "--dist-url", port]
    assert main([*command, "--output-dir", str(own)]) == 0
    theirs = tmp_path / "torchrun"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launcher += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    ended = subprocess.run(
        [*launcher, str(ROOT / "train.py"), *flags, "--output-dir", str(theirs)],
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    ours, others = (
        torch.load(folder / "last.pth.tar", weights_only=True)["state_dict"]
        for folder in (own, theirs)
    )
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, others[name], msg=name)


COME = ["--dataset", "digits", "--mode", "coarse", "--val-episodes", "0", "--dist-timeout", "0.02"]


@pytest.mark.parametrize("node", ["0", slow("1")])
def test_nodes_that_never_meet_are_one_line(node, tmp_path, capfd):
    """A7: it took 10 to 19 minutes, and ended in tracebacks."""
    flags = ["--multiprocessing-distributed", "--world-size", "2", "--nproc", "1", "--rank", node]
    place = ["--dist-url", free_group().url, "--output-dir", str(tmp_path / "run")]
    started = time.monotonic()
    assert main([*COME, *flags, *place]) == 1
    assert time.monotonic() - started < 60
    said = capfd.readouterr()
    assert said.out == ""
    one_line(said.err, "0.02 minutes", "--world-size", "--dist-timeout")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", ["0", "1"])
def test_processes_of_another_launcher_that_never_meet_are_one_line(number, tmp_path):
    """A7: the same where the environment tells the group, as under torchrun."""
    port = free_group().url.rpartition(":")[2]
    told = {"RANK": number, "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    ended = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *COME, "--output-dir", str(tmp_path / "run")],
        env={**os.environ, **told},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 1
    one_line(ended.stderr, "0.02 minutes", "--dist-timeout")


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf")])
def test_a_time_that_nobody_can_wait_is_refused(minutes):
    """A7: what --dist-timeout takes."""
    with refuses(f"--dist-timeout {minutes}", "10080"):
        Group(1, minutes=minutes)


def exchange_slowly() -> None:
    """Have the first process come later than the others waited for at the start."""
    if distributed.rank() == 0:
        time.sleep(40)
    distributed.all_reduce_max(distributed.rank())


@pytest.mark.slow
def test_a_short_wait_at_the_start_does_not_shorten_later_ones():
    """A7, another case: a picture or a save of the first process."""
    group = free_group()
    launch(exchange_slowly, Group(2, url=group.url, backend="gloo", minutes=0.5))


@pytest.fixture
def gpus(monkeypatch):
    """Have torch find a number of GPUs here."""

    def found(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return found


@pytest.mark.parametrize(
    ("count", "given", "processes", "backend"),
    [
        (2, {"world_size": 2}, 2, "nccl"),
        (2, {"multiprocessing_distributed": True}, 2, "nccl"),
        (0, {"world_size": 2}, 1, "gloo"),
        (2, {"world_size": 2, "device": "cpu"}, 1, "gloo"),
        (2, {"nproc": 3, "device": "cpu"}, 3, "gloo"),
        (2, {"world_size": 2, "gpu": 1}, 1, "nccl"),
        (1, {"nproc": 2, "dist_backend": "gloo"}, 2, "gloo"),
    ],
)
def test_a_node_starts_a_process_for_each_gpu_that_is_used(gpus, count, given, processes, backend):
    gpus(count)
    group = Group.of(given)
    assert group.processes == processes
    assert (group.backend or distributed.default_backend(group.device)) == backend


def test_processes_share_a_gpu_by_gloo_alone(gpus):
    gpus(1)
    for given in ({"nproc": 2}, {"nproc": 2, "dist_backend": "nccl"}):
        with refuses("--nproc 2", "1 to 1", "--dist-backend gloo"):
            Group.of(given)


@pytest.mark.parametrize(
    ("device", "given", "backend", "taken"),
    [
        ("cpu", None, "gloo", []),
        ("auto", None, "nccl", [1]),
        ("cuda", "gloo", "gloo", [1]),
        ("cpu", "gloo", "gloo", []),
    ],
)
def test_a_process_joins_by_the_backend_of_its_device(
    monkeypatch, gpus, device, given, backend, taken
):
    gpus(2)
    joined, used = [], []
    monkeypatch.setattr(torch.cuda, "set_device", used.append)
    monkeypatch.setattr(distributed, "end_with_parent", lambda: None)
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda b, timeout: joined.append(b)
    )
    monkeypatch.setattr(torch.distributed, "set_timeout", lambda timeout: None, raising=False)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("RANK", "0")
    distributed.join(given, device=device)
    assert (joined, used) == ([backend], taken)


def test_a_process_uses_the_gpu_that_it_took(monkeypatch, gpus):
    """The second of two that share one took the first, whatever its own number."""
    gpus(1)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(distributed, "local_rank", lambda: 1)
    assert distributed.own_gpu("auto") is None  # there is no group
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    assert [distributed.own_gpu(name) for name in ("auto", "cuda", "cpu")] == [0, 0, None]


def test_nproc_alone_starts_processes(monkeypatch, tmp_path):
    started = []
    monkeypatch.setattr("ancor.runtime.launch.launch", lambda *words: started.append(words[1]))
    command = [*SMALL, "--output-dir", str(tmp_path / "run")]
    assert main([*command, "--nproc", "2"]) == 0
    assert [(group.processes, group.nodes) for group in started] == [(2, 1)]
    assert not (tmp_path / "run").exists()


def test_flags_of_processes_without_effect_are_told(tmp_path):
    folder = tmp_path / "run"
    flags = ["--rank", "1", "--dist-backend", "gloo", "--nproc", "1", "--sync-bn"]
    flags += ["--max-steps", "1"]
    assert main([*SMALL, *flags, "--val-episodes", "0", "--output-dir", str(folder)]) == 0
    told = (folder / "log.txt").read_text()
    assert tells(told, "--rank, --dist-backend, --sync-bn", "--multiprocessing-distributed")
    given = {"nproc": 2, "rank": 0, "dist_backend": "gloo", "dist_timeout": 1.0}
    (line,) = unused(given, torchrun=True)
    assert tells(line, "`nproc`, `rank`", "torchrun")
    assert not tells(line, "`dist_timeout`")
    assert unused({"dist_timeout": 1.0}, torchrun=True) == unused({}, torchrun=False) == []


def start_apart(root: str) -> None:
    """Look into a folder of this process's own for what to go on from, in each case."""
    for case in sorted(Path(root).iterdir()):
        own = case / str(distributed.rank())
        try:
            path, content = start_from("auto", str(own))
            said = f"{path and path.name} {content and content['epoch']}"
        except RunError as error:
            said = str(error)
        (own / "said.txt").write_text(said)


@pytest.mark.slow
def test_processes_that_find_other_files_do_not_go_on(quick_run, tmp_path):
    """On nodes that do not share the folder one went on and another began afresh."""
    last, previous = quick_run / "last.pth.tar", quick_run / "previous.pth.tar"
    found = {"same": (last, last), "older": (last, previous), "none": (None, last)}
    for case, files in {**found, "neither": (None, None)}.items():
        for rank, file in enumerate(files):
            (tmp_path / case / str(rank)).mkdir(parents=True)
            if file is not None:
                shutil.copy(file, tmp_path / case / str(rank) / last.name)
    launch(start_apart, free_group(), str(tmp_path))
    step, older = (checkpoint.read(file)["progress"]["step"] for file in (last, previous))
    assert older < step
    for rank in (0, 1):
        said = {case.name: (case / f"{rank}/said.txt").read_text() for case in tmp_path.iterdir()}
        assert said["same"] == f"{last.name} 2"
        assert said["neither"] == "None None"
        one_line(said["older"], "`resume`", f"{tmp_path}/older/{rank}", f"{step}", f"{older}")
        one_line(said["none"], "`resume`", f"{tmp_path}/none/{rank}", f"{step}")
