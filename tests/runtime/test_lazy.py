"""Modules that are imported when something of them is first asked for."""

import sys

import pytest

from ancor.runtime.lazy import Lazy


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
