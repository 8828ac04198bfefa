"""C19: files that the toolkit wrote are recognized by content, and nothing of them is run."""

import json
import pickle
import shutil

import pytest
import torch

from ancor.checkpoints import checkpoint
from ancor.checkpoints.description import describe
from ancor.checkpoints.state_dicts import tensors_of
from ancor.cli import (
    check_data,
    choose,
    doctor,
    embed,
    eval,
    export,
    inspect,
    methods,
    predict,
    search,
)
from ancor.safe_io.own_files import recognized
from tests import made
from tests.refusals import refused, refuses


@pytest.fixture(scope="module")
def shelf(quick_run, tmp_path_factory):
    """All kinds of files that the toolkit writes, under names that tell nothing."""
    root = tmp_path_factory.mktemp("shelf")
    model = ["--model-path", str(quick_run / "model_best.pth.tar")]
    for name in ("a", "b"):
        for number in range(2):
            made.write(root / "support" / name / f"{number}.png", number, (32, 32))
    images = str(root / "support")
    files = ["--json", str(root / "prediction report"), "--csv", str(root / "prediction table")]
    saved = ["--save", str(root / "classifier"), "--device", "cpu"]
    assert predict.main([*model, "--support", images, "--query", images, *files, *saved]) == 0
    files = ["--json", str(root / "report"), "--csv", str(root / "table")]
    files += ["--feature-cache", str(root / "cache"), "--device", "cpu", "--n-test-runs", "2"]
    assert eval.main([*model, *files, "--n-shots", "1"]) == 0
    check_data.main(["--dataset", "digits", "--json", str(root / "check")])
    files = ["--json", str(root / "search report"), "--csv", str(root / "search table")]
    assert search.main([*model, "--query", images, "--gallery", images, "--k", "1", *files]) == 0
    flags = ["--support", images, "--cls", "Proto", "--json", str(root / "choice")]
    assert choose.main([*model, *flags, "--n-augmentations", "0"]) == 0
    assert doctor.main(["--json", str(root / "doctor")]) == 0
    assert methods.main(["--json", str(root / "methods")]) == 0
    rows = ["--views", "0", "--output", str(root / "rows.csv")]
    assert embed.main([*model, "--data", images, "--image-size", "32", *rows]) == 0
    (root / "rows.csv").rename(root / "rows")
    for to in ("pt2", "safetensors"):
        assert export.main([*model, "--output", str(root / f"x.{to}")]) == 0
        (root / f"x.{to}").rename(root / to)
    for name in ("config.json", "metrics.jsonl", "model_best.pth.tar"):
        shutil.copy(quick_run / name, root / name.partition(".")[0])
    (events,) = quick_run.glob("events.*")
    shutil.copy(events, root / "events")
    (root / "cached").write_bytes(next(root.glob("cache/*/*.features")).read_bytes())
    (root / "labels").write_text("\ufeffpath;coarse\na.png;x\n", encoding="utf-8")
    return root


KINDS = {
    "classifier": "ancor predict --saved",
    "pt2": "torch.export",
    "safetensors": ".safetensors",
    "config": "train.py --config",
    "metrics": "ancor compare",
    "events": "tensorboard --logdir",
    "cached": "--feature-cache",
    "labels": "--data",
    "report": "no command",
    "table": "no command",
    "prediction report": "no command",
    "prediction table": "no command",
    "search report": "no command",
    "search table": "no command",
    "choice": "no command",
    "doctor": "no command",
    "methods": "no command",
    "rows": ".npz",
    "check": "no command",
    "model_best": "--model-path",
}


@pytest.mark.parametrize("name", KINDS)
def test_each_says_what_takes_it(name, shelf, capsys):
    assert KINDS[name] in str(recognized(shelf / name))
    if name in ("model_best", "safetensors"):
        return
    assert inspect.main([str(shelf / name)]) == 0
    assert KINDS[name] in capsys.readouterr().out
    assert inspect.main([str(shelf / name), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"file", "is", "taken_by"}
    support = ["--support", str(shelf / "support")]
    for flags in (
        ["--model-path", str(shelf / name), *support, "--query", str(shelf / "support")],
        ["--model-path", str(shelf / "model_best"), *support, "--query", str(shelf / name)],
    ):
        refused(predict.main, flags, capsys, repr(str(shelf / name)), KINDS[name])
    flags = ["--model-path", str(shelf / name)]
    refused(eval.main, flags, capsys, repr(str(shelf / name)), KINDS[name])


def test_other_flags_that_meet_them_say_so_too(shelf, quick_run, capsys):
    query = ["--query", str(shelf / "support")]
    config = ["--classifier", str(shelf / "config"), *query]
    refused(predict.main, config, capsys, "config'", "train.py --config")
    flags = [str(shelf / "safetensors")]
    refused(inspect.main, flags, capsys, "safetensors'", "--model-path", ".safetensors")
    refused(check_data.main, ["--data", str(shelf / "labels")], capsys, "labels'", "labels.csv")
    flags = ["--model-path", str(quick_run)]
    refused(eval.main, flags, capsys, repr(str(quick_run)), "model_best.pth.tar")


def test_features_in_parquet_are_told_from_other_tables(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = arrow.table({"view": ["test"]})
    parquet.write_table(table, tmp_path / "other")
    assert recognized(tmp_path / "other") is None
    parquet.write_table(table.replace_schema_metadata({"ancor": "{}"}), tmp_path / "rows")
    assert ".npz" in str(recognized(tmp_path / "rows"))


def test_onnx_and_strange_files_are_told_apart(tmp_path):
    (tmp_path / "graph").write_bytes(b"\x08\x0a\x12\x07pytorch\x1a\x052.1.0:")
    assert "ONNX" in str(recognized(tmp_path / "graph"))
    strange = {"empty": b"", "json": b'{"a": 1}', "nested": b"[" * 10**5, "zip": b"PK\x03\x04rest"}
    strange |= {"nested object": b'{"a":' * 10**5, "list": b"[]", "bytes": bytes(range(256))}
    for name, content in strange.items():
        (tmp_path / name).write_bytes(content)
        assert recognized(tmp_path / name) is None, name
    made.write(tmp_path / "image.png")
    assert recognized(tmp_path / "image.png") is None
    assert recognized(tmp_path / "nothing") is None
    assert recognized("\0") is None


def test_nothing_is_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "bomb").write_bytes(pickle.dumps(Bomb()))
    torch.save(Bomb(), tmp_path / "zip")
    for name in ("bomb", "zip"):
        recognized(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: "_orig_mod." + name,
        lambda name: name.replace("module.encoder_q.", "module._orig_mod.encoder_q."),
        lambda name: name.replace("module.encoder_q.", "module.encoder_q._orig_mod."),
        lambda name: name.replace("module.encoder_q.", "_orig_mod."),
        lambda name: name.replace("module.encoder_q.layer2.", "layer2._orig_mod.").replace(
            "module.encoder_q.", ""
        ),
    ],
)
def test_names_of_compiled_modules_are_read(rename, quick_run, tmp_path):
    encoder, content = checkpoint.load_encoder(quick_run / "model_best.pth.tar")
    state = {rename(name): tensor for name, tensor in content["state_dict"].items()}
    torch.save({"state_dict": state}, tmp_path / "compiled.pth")
    found, _ = checkpoint.load_encoder(tmp_path / "compiled.pth")
    assert found.config == encoder.config
    for ours, theirs in zip(
        encoder.state_dict().values(), found.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
    report = describe(tmp_path / "compiled.pth")
    assert (report["missing"], report["unexpected"]) == ([], [])


def test_names_that_become_one_are_refused():
    both = {"a.b": torch.zeros(1), "a._orig_mod.b": torch.ones(1)}
    with refuses("'x'", "'_orig_mod.'"):
        tensors_of(both, "x")
