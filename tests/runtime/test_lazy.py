"""Modules that are imported when something of them is first asked for."""

import gc
import sys

import pytest

from ancor.runtime.lazy import Lazy, imported


def test_a_module_is_imported_when_something_of_it_is_asked_for(tmp_path, monkeypatch):
    (tmp_path / "heavy_one.py").write_text("NUMBER = 7", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    heavy, gone = Lazy("heavy_one"), Lazy("heavy_two")
    assert "heavy_one" not in sys.modules
    assert heavy.NUMBER == 7
    assert "heavy_one" in sys.modules
    monkeypatch.setattr(sys.modules["heavy_one"], "NUMBER", 8)
    assert heavy.NUMBER == 8
    with pytest.raises(AttributeError):
        _ = heavy.OTHER
    with pytest.raises(ModuleNotFoundError):
        _ = gone.NUMBER


def test_the_garbage_collector_rests_while_a_module_is_imported(tmp_path, monkeypatch):
    lines = "import gc\nRAN = gc.isenabled()\n"
    (tmp_path / "heavy_three.py").write_text(lines, encoding="utf-8")
    (tmp_path / "heavy_four.py").write_text(f"{lines}raise ValueError(RAN)", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert gc.isenabled()
    assert Lazy("heavy_three").RAN is False
    assert gc.isenabled()
    with pytest.raises(ValueError, match="False"):
        imported("heavy_four")
    assert gc.isenabled()
    monkeypatch.delitem(sys.modules, "heavy_three")
    gc.disable()
    try:
        assert imported("heavy_three").RAN is False
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_a_module_does_without_is_left_out_of_its_import_alone(tmp_path, monkeypatch):
    lines = "try:\n    import heavy_seven\nexcept ImportError:\n    heavy_seven = None\n"
    (tmp_path / "heavy_five.py").write_text(lines, encoding="utf-8")
    (tmp_path / "heavy_six.py").write_text(f"{lines}raise ValueError", encoding="utf-8")
    (tmp_path / "heavy_seven.py").write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError):  # noqa: PT011
        imported("heavy_six", without=["heavy_seven"])
    assert imported("heavy_five", without=["heavy_seven"]).heavy_seven is None
    assert "heavy_seven" not in sys.modules
    seventh = imported("heavy_seven")
    monkeypatch.delitem(sys.modules, "heavy_five")
    # One that is there already costs nothing, and stays.
    assert imported("heavy_five", without=["heavy_seven"]).heavy_seven is seventh
    assert sys.modules["heavy_seven"] is seventh
