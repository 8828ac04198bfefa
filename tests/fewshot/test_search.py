"""Search in one's own pictures: what is found, what is left out, and what the command writes."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import ancor
from ancor.cli import search as command
from ancor.data.config import DataConfig
from ancor.fewshot.image_encoder import ImageEncoder
from ancor.fewshot.search import search
from tests.refusals import refused, refuses, tells


@pytest.fixture
def pictures(tmp_path):
    """Digits as files: gallery/<digit>/*.png, six each, one beside the folders, and two queries."""
    partition = DataConfig("digits").load("train")

    def write(name: str, index: int) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = partition.images[index].numpy().transpose(1, 2, 0)
        Image.fromarray(pixels).save(tmp_path / name)

    for label in (1, 4, 6):
        own = np.flatnonzero(partition.fine_labels == label).tolist()
        for n in range(6):
            write(f"gallery/{label}/{n}.png", own[n])
        write(f"queries/{label}.png", own[6])
        write("gallery/lone.png", own[7])
    return tmp_path


def names(rows: list[dict], root) -> list[list[str]]:
    return [[os.path.relpath(m["path"], root) for m in row["matches"]] for row in rows]


def test_the_nearest_are_those_by_the_features_that_predict_uses(encoder, pictures):
    queries = sorted(map(str, (pictures / "queries").iterdir()))
    gallery = sorted(map(str, (pictures / "gallery").rglob("*.png")))
    cosines = np.asarray(encoder.encode(queries)) @ np.asarray(encoder.encode(gallery)).T
    rows = search(encoder, queries, pictures / "gallery", k=4)
    assert [row["path"] for row in rows] == queries
    for row, own in zip(rows, cosines, strict=True):
        best = np.argsort(-own, kind="stable")[:4]
        assert [m["path"] for m in row["matches"]] == [gallery[n] for n in best]
        found = [m["similarity"] for m in row["matches"]]
        np.testing.assert_allclose(found, own[best], rtol=0, atol=1e-5)
    classes = {m["path"]: m["class"] for row in search(encoder, queries, pictures / "gallery", 19)
               for m in row["matches"]}  # fmt: skip
    assert classes[str(pictures / "gallery/4/2.png")] == "4"
    assert classes[str(pictures / "gallery/lone.png")] is None


def test_a_query_of_the_gallery_is_left_out_by_its_path_and_its_copies_are_not(
    encoder, pictures, caplog
):
    query = pictures / "gallery/4/0.png"
    shutil.copy(query, pictures / "gallery/6/copy.png")
    (pictures / "link.png").symlink_to(query)
    for name in (str(query), str(pictures / "link.png"), os.path.relpath(query)):
        caplog.clear()
        (found,) = names(search(encoder, [name], pictures / "gallery", 99), pictures / "gallery")
        assert found[0] == "6/copy.png"
        assert "4/0.png" not in found
        assert len(found) == len(set(found)) == 19
        assert tells(caplog.text, "1 of 1")
        assert tells(caplog.text, "`k`", "99", "20")


def test_a_file_of_the_gallery_is_found_once_whatever_links_lead_to_it(encoder, pictures, caplog):
    (pictures / "gallery/6/link.png").symlink_to(pictures / "gallery/4/0.png")
    query = str(pictures / "queries/4.png")
    (found,) = names(search(encoder, [query], pictures / "gallery", 19), pictures / "gallery")
    assert ("4/0.png" in found) != ("6/link.png" in found)
    assert len(found) == 19
    assert tells(caplog.text, "1 links")


def test_kept_features_are_used_until_a_file_changes(encoder, pictures, monkeypatch):
    asked = []
    encode = ImageEncoder.encode

    def counted(self, images, *rest, **more):
        asked.append(len(images))
        return encode(self, images, *rest, **more)

    monkeypatch.setattr(ImageEncoder, "encode", counted)
    queries = sorted(map(str, (pictures / "queries").iterdir()))
    given = (encoder, queries, pictures / "gallery", 3)
    plain = search(*given)
    assert [search(*given, pictures / "kept") for _ in range(2)] == [plain, plain]
    assert asked == [3, 19, 3, 19, 3]
    shutil.copy(queries[0], pictures / "gallery/6/0.png")
    changed = search(*given, pictures / "kept")
    assert asked[-2:] == [3, 19]
    assert names(changed, pictures / "gallery")[0][0] == "6/0.png"


def test_no_k_below_one(encoder, pictures):
    with refuses("`k`", "0"):
        search(encoder, [str(pictures / "queries/4.png")], pictures / "gallery", 0)


def test_the_command_prints_and_writes_the_same(quick_run, pictures, capsys):
    flags = ["--model-path", str(quick_run / "model_best.pth.tar"), "--device", "cpu"]
    flags += ["--query", str(pictures / "queries"), "--gallery", str(pictures / "gallery")]
    files = {name: str(pictures / f"out.{name}") for name in ("json", "csv", "png")}
    written = ["--json", files["json"], "--csv", files["csv"], "--output", files["png"]]
    assert command.main([*flags, "--k", "2", *written]) == 0
    out = capsys.readouterr().out
    with open(files["json"]) as file:
        rows = json.load(file)["queries"]
    with open(files["csv"], newline="") as file:
        table = list(csv.DictReader(file))
    assert [len(row["matches"]) for row in rows] == [2, 2, 2]
    listed = [(row["path"], m["path"], m["class"] or "") for row in rows for m in row["matches"]]
    assert [(line["query"], line["path"], line["class"]) for line in table] == listed
    assert [line["rank"] for line in table] == ["1", "2"] * 3
    for row in rows:
        assert row["path"] in out.splitlines()
        for match in row["matches"]:
            assert tells(out, f"{match['similarity']:.3f}", match["path"])
    with Image.open(files["png"]) as picture:
        assert min(picture.size) > 100
    (pictures / "out.png").unlink()
    assert command.main([*flags, "--json", "--output", files["png"]]) == 0
    assert (pictures / "out.png").exists()
    assert len(json.loads(capsys.readouterr().out)["queries"][0]["matches"]) == 5


def test_what_the_command_cannot_do_is_one_line(quick_run, pictures, capsys):
    model = ["--model-path", str(quick_run / "model_best.pth.tar")]
    images = ["--query", str(pictures / "queries"), "--gallery", str(pictures / "gallery")]
    nowhere = str(pictures / "nowhere")
    refused(command.main, images, capsys, "--model-path")
    refused(command.main, [*model, *images, "--k", "0"], capsys, "--k", "0")
    refused(command.main, [*model, *images[:2], "--gallery", nowhere], capsys, nowhere)
    refused(command.main, [*model, *images, "--output", "x.gif"], capsys, "--output", "png")
    (pictures / "gallery/4/broken.png").write_bytes(b"no picture")
    refused(command.main, [*model, *images], capsys, "broken.png", status=2)


def test_an_embedding_is_searched_where_it_is_asked_for(quick_run, pictures):
    path = quick_run / "model_best.pth.tar"
    queries, gallery = [str(pictures / "queries/4.png")], pictures / "gallery"
    found = []
    for only_base in (True, False):
        chosen = ancor.load_encoder(path, only_base=only_base, device="cpu")
        found.append([m["similarity"] for m in search(chosen, queries, gallery, 3)[0]["matches"]])
    assert not torch.allclose(*map(torch.tensor, found))
