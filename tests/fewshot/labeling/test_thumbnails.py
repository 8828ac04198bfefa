"""Small pictures: made once, kept, made anew when the picture is another one."""

import io

import pytest
from PIL import Image

from ancor.data.images import ImageFiles
from ancor.fewshot.labeling.thumbnails import LARGE, SIDE, Thumbnails
from tests.refusals import refuses, tells


class Once(ImageFiles):
    """Files of which each may be decoded once."""

    seen = ()

    def __getitem__(self, index):
        assert index not in self.seen
        self.seen = (*self.seen, index)
        return super().__getitem__(index)


@pytest.fixture
def images(tmp_path):
    (tmp_path / "in").mkdir()
    Image.new("RGB", (1600, 400), "red").save(tmp_path / "in" / "a.png")
    Image.new("RGB", (30, 40), "blue").save(tmp_path / "in" / "b.png")
    return Once([(str(tmp_path / "in"), ["a.png", "b.png"])], upright=True)


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_a_picture_is_decoded_once_for_all_sessions(images, tmp_path):
    first = Thumbnails(tmp_path / "out", images).small(0)
    assert opened(first).size == (SIDE, SIDE)
    assert opened(first).format == "JPEG"
    assert Thumbnails(tmp_path / "out", images).small(0) == first
    assert opened(Thumbnails(tmp_path / "out", images).small(1)).getpixel((9, 9))[2] > 200


def test_a_picture_that_changes_is_made_anew(images, tmp_path):
    made = Thumbnails(tmp_path / "out", images)
    made.small(0)
    Image.new("RGB", (90, 90), "lime").save(tmp_path / "in" / "a.png")
    images.seen = ()
    assert opened(made.small(0)).getpixel((9, 9))[1] > 200


def test_the_whole_picture_is_no_larger_than_a_screen(images, tmp_path):
    assert opened(Thumbnails(tmp_path / "out", images).large(0)).size == (LARGE, LARGE // 4)
    images.seen = ()
    assert opened(Thumbnails(tmp_path / "out", images).large(1)).size == (30, 40)


def test_where_none_can_be_kept_that_is_told_once(images, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    made = Thumbnails(tmp_path / "file", images)
    made.small(0)
    made.small(1)
    assert tells(caplog.text, repr(str(tmp_path / "file")))
    assert len(caplog.records) == 1


def test_a_broken_picture_is_named(images, tmp_path):
    (tmp_path / "in" / "a.png").write_bytes(b"no picture")
    with refuses(repr(str(tmp_path / "in" / "a.png"))):
        Thumbnails(tmp_path / "out", images).small(0)
