"""Own images of which a part would be left out, merged or mistaken without a word (C18, C20)."""

import argparse
import re
import shlex
import sys
import types
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from ancor.cli import check_data, eval, show, train
from ancor.data import files
from ancor.data.config import DataConfig
from ancor.data.decode import decode
from ancor.data.guess import candidates, guess
from ancor.data.notes import alike, class_notes, name_notes
from ancor.data.report import check
from ancor.data.resolve import resolve_data
from ancor.fewshot import inputs
from ancor.training.given import run_config
from tests import made
from tests.data.test_folder import load, refusal, table, tree
from tests.refusals import one_line, refused, refuses, tells

QUICK = shlex.split(
    "--mode coarse --arch conv4 --image-size 32 --queue-k 4 --max-steps 1 --workers 0 "
    "--device cpu --val-episodes 0"
)
HEIC = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf\0\0\1\xc8meta"


def notes(root: Path, partition: str = "train") -> str:
    return "\n".join(load(root, partition).notes)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("1.jpg,dog,big one,train\n", ["4", "3"]),  # C18
        ("1.jpg,dog, big,pug,,\n", ["6", "3"]),
        ("1.jpg,dog\n", ["partition", "2", "3"]),
        ('1.jpg,"dog,\n', []),
        ('1.jpg,"dog"s,\n', ["','"]),
    ],
)
def test_a_line_of_another_number_of_fields_is_refused(tmp_path, line, named):
    tree(tmp_path, "1.jpg", "2.jpg")
    refusal(table(tmp_path, "path,coarse,partition\n2.jpg,dog,\n" + line), "line 3", *named)


def test_a_line_is_numbered_as_an_editor_does(tmp_path):
    """A field of several lines and empty lines before it count."""
    tree(tmp_path, "1.jpg")
    refusal(table(tmp_path, 'path,coarse\n1.jpg,"a\nb"\n\n2.jpg,a,b\n'), "line 5")


def test_quotes_keep_delimiters_and_lines(tmp_path):
    tree(tmp_path, "a, b.jpg", "2.jpg")
    table(tmp_path, 'path,coarse\n"a, b.jpg","dog, big"\n2.jpg,"one\ntwo"\n')
    assert load(tmp_path).hierarchy.coarse_names == ("dog, big", "one\ntwo")
    assert tells(notes(tmp_path), "labels.csv", r"'one\ntwo'")


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_tables_are_recognized(tmp_path, delimiter):
    """C18: a semicolon table, as spreadsheets write it in much of Europe."""
    tree(tmp_path, "1.jpg", "2.jpg")
    rows = (("path", "coarse", "fine"), ("1.jpg", "dog, big", "pug"), ("2.jpg", '"cat"', "manx"))
    table(tmp_path, "".join(delimiter.join(row) + "\r\n" for row in rows))
    loaded = load(tmp_path)
    assert loaded.hierarchy.coarse_names == ("cat", "dog, big")
    assert loaded.fine_labels.tolist() == [1, 0]


def test_a_header_that_may_be_split_in_two_ways_is_refused(tmp_path):
    table(tree(tmp_path, "1.jpg"), "path,coarse,a;path;coarse;b\n")
    refusal(tmp_path, "','", "';'")


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "latin-1", "cp1252"])
def test_other_encodings_are_refused(tmp_path, coding):
    text = "path,coarse\n1.jpg,Äpfel\n"
    tree(tmp_path, "1.jpg").joinpath("labels.csv").write_bytes(text.encode(coding))
    refusal(tmp_path, "UTF-8", "line 1" if coding == "utf-16" else "line 2")


@pytest.mark.parametrize(
    ("header", "values", "named"),
    [
        ("path,coarse,split", "train", ["'split'", "'partition'"]),  # C18
        ("path,coarse,Partition", "", ["'Partition'", "'partition'"]),
        ("path,coarse,subset", "1", ["'subset'", "'partition'"]),
        ("path,coarse,usage", "Test", ["'usage'", "'partition'"]),  # by what stands in it
        ("path,coarse,Fine ", "pug", ["'Fine'", "'fine'"]),
        ("path,coarse,coarse", "a", ["'coarse'", "twice"]),
        ("path,coarse,x,x", "a,b", ["'x'", "twice"]),
    ],
)
def test_columns_that_were_meant_to_be_read_are_refused(tmp_path, header, values, named):
    table(tree(tmp_path, "1.jpg"), f"{header}\n1.jpg,dog,{values}\n")
    refusal(tmp_path, *named)


def test_columns_that_are_not_read_are_named(tmp_path):
    tree(tmp_path, "1.jpg")
    table(tmp_path, "path,coarse,url,is_test\n1.jpg,dog,x,1\n")
    assert tells(notes(tmp_path), "'url', 'is_test'", "partition")
    table(tmp_path, "path,coarse,partition,split\n1.jpg,dog,train,test\n")
    one_line(notes(tmp_path), "'split'")
    many = ",".join(f"c{n}" for n in range(40))
    table(tmp_path, f"path,coarse,{many}\n1.jpg,dog{',x' * 40}\n")
    assert tells(notes(tmp_path), "'c4'", "35")


def test_names_that_outer_blanks_tell_apart_are_told(tmp_path):
    tree(tmp_path, "1.jpg", "2.jpg")
    table(tmp_path, "path,coarse,fine\n1.jpg,dog,pug\n2.jpg, dog,pug \n")
    assert load(tmp_path).hierarchy.coarse_names == ("dog",)
    assert tells(notes(tmp_path), "' dog', 'dog'", "labels.csv", "coarse")
    assert tells(notes(tmp_path), "'pug', 'pug '", "labels.csv", "fine")
    table(tmp_path, "path,coarse,fine\n1.jpg, dog, pug\n2.jpg, dog, pug\n")
    assert not notes(tmp_path)


@pytest.mark.parametrize(
    ("written", "there"),
    [
        (r"x\1.jpg", "x/1.jpg"),
        (" x/1.jpg ", "x/1.jpg"),
        (unicodedata.normalize("NFC", "x/é.jpg"), unicodedata.normalize("NFD", "x/é.jpg")),
    ],
)
def test_a_path_that_is_nearly_right_is_told(tmp_path, written, there):
    table(tree(tmp_path, there), f"path,coarse\n{written},a\n")
    refusal(tmp_path, f"{written!a}", f"{there!a}")


def test_images_that_the_table_does_not_list_are_counted(tmp_path, without_heif, capsys):
    """C18: a class that was forgotten in labels.csv was left out without a word."""
    root = tree(tmp_path / "photos", "a/1.jpg", "a/2.jpg", "a/3.jpg", "b/x/4.png", "5.tif")
    leftovers(root, "b/6.HEIC", "readme.txt", ".thumbnails/1.jpg")
    (root / "linked").symlink_to("a")  # the same images again
    table(root, "path,coarse,partition\na/1.jpg,dog,\nlinked/2.jpg,dog,\na/../a/3.jpg,cat,val\n")
    told = one_line(notes(root), "3", "labels.csv", "'5.tif', 'b/6.HEIC', 'b/x/4.png'")
    assert notes(root, "validation") == told
    words = ["--data", str(root)]
    check_data.main(words)
    said = capsys.readouterr().out
    assert tells(said, "'train', 'validation'", told)
    assert said.count(told) == 1
    assert train.main([*words, *QUICK, "--output-dir", str(tmp_path / "run")]) == 0
    assert tells(capsys.readouterr().out, "'train'", told)
    table(root, "path,coarse\n" + "".join(f"a/{n}.jpg,dog\n" for n in "123") + "5.tif,cat\n")
    for path in (root / "b").rglob("*.*"):
        path.unlink()
    assert not notes(root)


def test_images_beyond_links_are_counted_where_the_table_reaches(tmp_path):
    """C18: of a folder outside, only where it is allowed and used; a loop of links ends."""
    tree(tmp_path, "disk/1.jpg", "disk/2.jpg", "disk/deep/3.jpg", "photos/4.jpg", "other/5.jpg")
    for link, target in {"disk": "../disk", "other": "../other", "loop": "."}.items():
        (tmp_path / "photos" / link).symlink_to(target)
    root = table(tmp_path / "photos", "path,coarse\n4.jpg,a\ndisk/1.jpg,b\n")
    (told,) = load(root, allow_outside_root=True).notes
    one_line(told, "1", "labels.csv", "'../disk/2.jpg'")
    assert told.count("'") == 2  # and no other file
    assert not notes(table(root, "path,coarse\n4.jpg,a\n"))


# Image files

ALL_READ = sorted({end for kind in files.formats() for end in files.KINDS[kind]})


@pytest.mark.parametrize("end", [*ALL_READ, ".JFIF"])
def test_tables_and_folders_accept_the_same_files(tmp_path, end):
    """C18: .jfif was not looked for in folders, .gif neither though tables took it."""
    kind = next(kind for kind in files.KINDS if end.lower() in files.KINDS[kind])
    path = tmp_path / "folders" / "dog" / f"1{end}"
    path.parent.mkdir(parents=True)
    picture = made.picture(1)
    (picture.convert("L") if end == ".pgm" else picture).save(path, kind)
    table(tmp_path, f"path,coarse\nfolders/dog/1{end},dog\n")
    for root in (tmp_path, tmp_path / "folders"):
        loaded = load(root)
        assert loaded.images[0].size == (12, 10)
        assert not loaded.notes


def leftovers(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(HEIC)
    return root


@pytest.fixture
def without_heif(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for cached in (files.heif_version, files.formats, files.extensions):
        cached.cache_clear()
    yield
    for cached in (files.heif_version, files.formats, files.extensions):
        cached.cache_clear()


def test_files_that_are_not_read_are_counted(tmp_path, without_heif):
    tree(tmp_path, "train/a/1.jpg", "train/b/2.jpg")
    leftovers(tmp_path, *(f"train/a/{n}.HEIC" for n in range(3)), "train/b/x.mov", "train/a/no")
    leftovers(tmp_path, "train/a/.hidden.jpg", "train/a/._1.jpg", "train/a/.DS_Store")
    leftovers(tmp_path, "train/a/Thumbs.db", "train/__MACOSX/a/._1.jpg")
    kinds = ["3 .heic", "1 hidden", "1 without", "1 .mov"]
    one_line(notes(tmp_path), "6 files", *kinds, "pip install pillow-heif")
    assert len(load(tmp_path)) == 2
    leftovers(tmp_path, *(f"train/b/x.{n}" for n in range(40)))
    assert tells(notes(tmp_path), re.compile(r"\b\d+ more\b"))
    assert len(notes(tmp_path)) < 200


def test_a_class_of_files_that_are_not_read_says_so(tmp_path, without_heif):
    leftovers(tree(tmp_path, "train/a/1.jpg"), "train/b/1.heic", "train/b/2.heic")
    refusal(tmp_path, "2 .heic", "pip install pillow-heif")
    with refuses("train/b'", "2 .heic"):
        inputs.class_folders(tmp_path / "train")


def test_heic_by_name_or_by_content_says_how(tmp_path, without_heif):
    with refuses("'x.jpg'", "HEIC", "pip install pillow-heif"):
        decode(HEIC, "x.jpg")
    leftovers(tmp_path, "1.heic")
    table(tmp_path, "path,coarse\n1.heic,a\n")
    refusal(tmp_path, "'1.heic'", "pip install pillow-heif")


def test_heic_is_read_where_pillow_heif_is_there(tmp_path, without_heif, monkeypatch):
    """A stand-in for the package: it registers a reader under the name that the real one takes."""

    def register() -> None:
        Image.register_open(
            "HEIF", JpegImagePlugin.jpeg_factory, lambda start: start[:2] == b"\xff\xd8"
        )

    monkeypatch.setitem(
        sys.modules,
        "pillow_heif",
        types.SimpleNamespace(register_heif_opener=register, __version__="1"),
    )
    for cached in (files.heif_version, files.formats, files.extensions):
        cached.cache_clear()
    path = tmp_path / "a" / "1.HEIC"
    path.parent.mkdir()
    made.picture(0).save(path, "JPEG")
    loaded = load(tmp_path)
    assert loaded.images[0].size == (12, 10)
    assert not loaded.notes
    Image.OPEN.pop("HEIF")


def test_coarse_classes_that_training_has_not_are_told(tmp_path):
    """A slip in a folder's name made another class, which no one was told of."""
    tree(tmp_path, "train/dog/1.jpg", "train/cat/1.jpg", "val/dogs/pug/1.jpg", "val/cat/tom/1.jpg")
    data = DataConfig("folder", root=str(tmp_path))
    parts = [data.load("train"), data.load("validation")]
    (line,) = name_notes(parts)
    one_line(line, "'validation'", "'dogs'")
    assert "'cat'" not in line
    assert name_notes(parts[:1]) == name_notes(parts[1:]) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"labels": "x.csv"}, ("`labels`", "'x.csv'", "digits")),
        ({"coarse_level": "1"}, ("`coarse_level`", "'1'", "digits")),
        ({"breeds_level": 3}, ("`breeds_level`", "3", "digits")),
        ({"root": "/nowhere"}, ("`root`", "'/nowhere'", "digits")),
        ({"partition_seed": 7}, ("`partition_seed`", "7", "`val_fraction`", "`test_fraction`")),
        ({"partition_seed": 7, "test_fraction": 0.5}, ()),
        ({"download": True, "skip_bad_images": True}, ()),
        ({"val_fraction": 0.5}, ()),
    ],
)
def test_settings_that_a_dataset_has_not_are_told(settings, words):
    notes = DataConfig("digits", **settings).read("train").notes
    told = [line for line in notes if "not read" in line]
    assert len(told) == bool(words)
    if words:
        one_line(told[0], *words)


def test_folders_for_predict_tell_too(tmp_path, caplog):
    leftovers(tree(tmp_path, "s/Dog/1.jpg", "s/dog/2.jpg"), "s/dog/film.mov")
    with caplog.at_level("INFO"):
        inputs.class_folders(tmp_path / "s")
        inputs.image_paths(tmp_path / "s" / "dog")
    assert caplog.text.count("1 .mov") == 2
    assert tells(caplog.text, "'Dog', 'dog'")


@pytest.mark.parametrize("name", ["Train", "TEST", "training", " val"])
def test_folders_that_seem_to_be_partitions_are_no_classes(tmp_path, name):
    tree(tmp_path, f"{name}/dog/1.jpg", "x/cat/2.jpg")
    meant = {"Train": "train", "TEST": "test", "training": "train", " val": "val"}[name]
    refusal(tmp_path, f"/{name}'", repr(meant))


def test_what_lies_beside_partitions_is_named(tmp_path):
    leftovers(tree(tmp_path, "train/a/1.jpg", "valid/a/2.jpg", "3.jpg"), "labels.tsv")
    (tmp_path / "dead").symlink_to("nowhere")
    assert tells(notes(tmp_path), "'valid', '3.jpg'")
    assert tells(notes(tmp_path), "1 .tsv")


# Names and classes


@pytest.mark.parametrize(
    "other",
    ["dog", "Dög ", "D\u0308og".replace("D\u0308o", "Do\u0308"), "Dög\u200b", "DÖG", " Dög"],
)
def test_names_that_look_alike(other):
    assert bool(alike(["Dög", other, "cat"])) == (other != "dog")
    assert not alike(["dog", "dogs", "dog 1", "dog 2"])


@pytest.mark.parametrize("form", ["folders", "labels.csv"])
def test_names_alike_are_told_at_both_levels_and_across_partitions(tmp_path, form):
    """C18: train 'Dog' and val 'dog'; fine 'pug' and 'Pug'."""
    paths = [
        "train/Dog/pug/1.jpg",
        "train/Dog/Pug/2.jpg",
        "val/dog/manx/3.jpg",
        "val/dog/Manx /4.jpg",
    ]
    tree(tmp_path, *paths)
    if form == "labels.csv":
        rows = [path.split("/") for path in paths]
        lines = [f"{'/'.join(r)},{r[1]},{r[2]},{r[0]}\n" for r in rows]
        table(tmp_path, "path,coarse,fine,partition\n" + "".join(lines))
        assert "'Manx', 'Manx " not in str(check(DataConfig("folder", str(tmp_path)))["notes"])
    told = check(DataConfig("folder", str(tmp_path)))["notes"]
    assert tells("\n".join(told), "coarse", "'Dog', 'dog'")
    assert tells("\n".join(told), "fine", "'Pug', 'pug'")
    assert any("manx" in line.lower() for line in told)


def test_one_class_or_one_image_a_class():
    names = tuple("abcdefghij")
    assert tells(class_notes(np.full(4, 2), names, "coarse")[0], "one coarse", "'c'")
    said = class_notes(np.array([0, 0, *range(1, 10)]), names, "coarse")
    assert tells(said[0], "9 of 10 coarse", "one", "'b', 'c', 'd', 'e', 'f'", "4")
    assert class_notes(np.array([0, 0, 1, 1]), names[:2], "coarse") == []
    said = class_notes(np.array([0, 0, 2, 2]), names[:3], "coarse")
    assert tells(said[0], "1 of 3 coarse", "no", "'b'")


def test_messages_of_many_names_are_short(tmp_path):
    """C20: 3 KB of class names; the same of any list that data make."""
    for number in range(200):
        (tmp_path / "train" / f"a class of a long name {number}").mkdir(parents=True)
    refusal(tmp_path, "195")
    made.imagenet(tmp_path / "I", ["n00000001"])
    for dataset in ("living17", "entity13"):
        with refuses(re.compile(r"\b\d+ more\b")) as caught:
            DataConfig(dataset, root=str(tmp_path / "I")).load("train")
        assert len(str(caught.value)) < 500


# Guessing the dataset


def test_a_start_tells_what_was_guessed_and_left_out(tmp_path, capsys):
    """C20 and C18, as a user meets them: train, show and check-data without --dataset."""
    root = leftovers(tree(tmp_path / "photos", "Dog/1.jpg", "dog/2.jpg", "dog/3.jfif"), "Dog/x.mov")
    words = ["--data", str(root)]
    assert train.main([*words, *QUICK, "--output-dir", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    for told in (
        ["--dataset", "'folder'"],
        ["Data", "folder", "3"],
        ["1 .mov"],
        ["coarse", "'Dog', 'dog'"],
        ["1 of 2 coarse", "one", "'Dog'"],
    ):
        assert tells(said, *told)
    assert "1 .mov" in (tmp_path / "run" / "log.txt").read_text()
    assert show.main([*words, "--image-size", "32", "--output", str(tmp_path / "x.png")]) == 0
    said = capsys.readouterr().out
    assert tells(said, "--dataset", "'folder'")
    assert tells(said, "1 .mov")
    assert check_data.main(words) == 0
    said = capsys.readouterr().out
    assert tells(said, "note", "--dataset", "'folder'")
    assert tells(said, "1 .mov")


def test_evaluation_tells_and_guesses_other_data(tmp_path, capsys):
    assert train.main(["--dataset", "digits", *QUICK, "--output-dir", str(tmp_path / "run")]) == 0
    root = leftovers(tmp_path / "photos", "val/a/x/y.mov")
    tree(
        root, *(f"val/{n % 2}/{n % 4}/{n}.jpg" for n in range(16)), "val/a/x/1.jpg", "val/a/x/2.jpg"
    )
    words = f"--model-path {tmp_path}/run/last.pth.tar --data {root} --n-queries 1 --cls Proto"
    capsys.readouterr()
    assert eval.main([*words.split(), "--n-test-runs", "3", "--image-size", "32"]) == 0
    said = capsys.readouterr().out
    assert tells(said, "--dataset", "'folder'")
    assert tells(said, "1 .mov")
    assert eval.main([*words.split(), "--n-test-runs", "3", "--dataset", "digits"]) == 0
    said = capsys.readouterr().out
    assert tells(said, f"--data {str(root)!r}", "digits")


def test_guesses(tmp_path):
    def at(name: str, *paths: str) -> str:
        for path in paths:
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_bytes(b"")
        return str(tmp_path / name)

    assert guess(at("c", "cifar-100-python/train"))[0] == "cifar100"
    assert guess(at("d", "train", "test", "meta"))[0] == "cifar100"
    assert guess(at("t", "train_labels.pkl"))[0] == "tiered"
    assert guess(at("f", "train/dog/1.jpg"))[0] == "folder"
    assert guess(at("l", "labels.csv"))[0] == "folder"
    from ancor.data.datasets.breeds_classes import known_table

    made.imagenet(tmp_path / "i", list(known_table("living17").class_names), images=1)
    name, told = guess(str(tmp_path / "i"))
    assert name == "living17"
    one_line(told, "nonliving26")
    for root, named in (
        (at("m", "train/n01440764/1.jpg"), ["--dataset", "living17"]),
        (at("e", "x.txt"), ["--dataset", "folder"]),
        (str(tmp_path / "no"), []),
    ):
        with refuses(repr(root), *named):
            guess(root)


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ("cifar-100-python/x FashionMNIST/x", "cifar100, fashion-mnist"),
        ("FashionMNIST/x train/dog/1.jpg", "fashion-mnist, folder"),
        ("labels.csv tiered-imagenet/x", "tiered, folder"),
        ("labels.csv train/n01440764/1.jpg", "folder, living17"),
        ("val/n01440764/1.jpg", "living17, nonliving26"),
        ("val/ILSVRC2012_val_1.JPEG LOC_val_solution.csv", "living17, nonliving26"),
        ("ILSVRC/Data/CLS-LOC/val/n01440764/1.JPEG", "living17, nonliving26"),
    ],
)
def test_of_several_datasets_none_is_taken(tmp_path, capsys, entries, named):
    """C20: the first mark was taken; an ImageNet of validation images alone was own classes."""
    for name in entries.split():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    refused(check_data.main, ["--data", str(tmp_path)], capsys, "--dataset", named)


def test_a_files_own_dataset_is_kept_where_it_may_be_there(tmp_path):
    """C20: an encoder of living17 met ImageNet's validation images as if they were own classes."""
    (tmp_path / "val" / "n01440764").mkdir(parents=True)
    assert "living17" in candidates(tmp_path)
    args = argparse.Namespace(root=str(tmp_path), dataset=None)
    assert resolve_data(vars(args), {"dataset": "living17"}).dataset == "living17"


def test_a_named_dataset_goes_before_a_guess(tmp_path):
    tree(tmp_path, "a/1.jpg")
    given = {"root": str(tmp_path), "mode": "coarse"}
    assert run_config(given, None)[0].data.dataset == "folder"
    assert run_config({**given, "dataset": "digits"}, None)[0].data.dataset == "digits"
    assert run_config({"mode": "coarse"}, None)[0].data.dataset == "living17"


@pytest.mark.parametrize("unusable", ["one image a class", "no fine labels"])
def test_a_validation_that_cannot_be_used_is_told_of_too(tmp_path, capsys, unusable):
    """C18: what was left out of the validation images was not told where too few were left."""
    paths = ["val/a/x/1.jpg", "val/B/y/2.jpg"]
    if unusable == "no fine labels":
        paths = ["val/a/1.jpg", "val/a/2.jpg", "val/B/3.jpg", "val/B/4.jpg"]
    root = tree(tmp_path / "photos", *(f"train/{'ab'[n % 2]}/{n}.jpg" for n in range(8)))
    leftovers(tree(root, *paths), f"{Path(paths[0]).parent}/film.mov")
    (root / paths[1]).write_bytes(b"no image")
    words = ["--data", str(root), *QUICK, "--val-episodes", "3", "--skip-bad-images"]
    assert train.main([*words, "--output-dir", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert "No validation (" in said
    assert tells(said, "Notice", "'validation'", "1 .mov")
    assert tells(said, "coarse", "'B', 'b'")
    assert tells(said, "1 images")
    assert tells(said, f"{paths[1]}'")


@pytest.mark.parametrize(
    ("paths", "mode", "told"),
    [
        ("a/1.jpg a/2.jpg a/3.jpg", "coarse", ["one coarse", "'a'"]),
        ("a/x/1.jpg a/x/2.jpg", "fine", ["one fine", "'x'"]),
        ("a/1.jpg b/2.jpg c/3.jpg", "coarse", ["3 of 3 coarse", "one"]),
        ("a/x/1.jpg a/y/2.jpg a/y/3.jpg", "fine", ["1 of 2 fine", "one", "'x'"]),
        ("a/1.jpg", "coarse", ["1 of 1 coarse", "one"]),
    ],
)
def test_training_starts_by_telling_of_classes_it_learns_little_from(
    tmp_path, capsys, paths, mode, told
):
    """C18: in the log before the first step, and by check-data."""
    root = tree(tmp_path / "photos", *(f"train/{path}" for path in paths.split()))
    words = ["--data", str(root), *QUICK, "--mode", mode, "--output-dir", str(tmp_path / "run")]
    assert train.main(words) == 0
    said = capsys.readouterr().out
    assert tells(said[: said.index("Done:")], *told)
    if mode == "coarse":
        check_data.main(["--data", str(root)])
        assert tells(capsys.readouterr().out, *told)


def test_notes_name_the_table_that_is_read(tmp_path):
    """Those on another one were of labels.csv, which may be there and list all."""
    root = tree(tmp_path / "photos", "a/1.jpg", "a/2.jpg")
    table(root, "path,coarse\na/1.jpg,dog\na/2.jpg,cat\n")
    other = tmp_path / "mine.csv"
    other.write_text("path,coarse,by\na/1.jpg,dog,me\n")
    config = DataConfig("folder", root=str(root), labels=str(other))
    told = "\n".join(config.load("train").notes)
    assert tells(told, "mine.csv", "'a/2.jpg'")
    assert tells(told, "mine.csv", "'by'")
    other.write_text("path,coarse\na/3.jpg,dog\n")
    with refuses("mine.csv", "'a/3.jpg'"):
        config.load("train")
