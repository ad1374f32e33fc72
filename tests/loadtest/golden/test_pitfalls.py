"""The table of pitfalls names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

from tests.loadtest import golden
from tests.support import ROOT

HERE = Path(golden.__file__).parent
ROW = re.compile(r"^ +(\d+)  (.*?)(?=^ +\d+  |\Z)", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"(?:(tests/\S+\.py)::)?\b(test_\w+)\b(?!\.py)")


def test_each_pitfall_has_a_test() -> None:
    assert golden.__doc__
    rows = dict(ROW.findall(golden.__doc__))
    assert list(rows) == [str(number) for number in range(1, 29)]
    for text in rows.values():
        named = NAME.findall(text)
        assert named or re.search(r"\((compare|doctor)\)$", text.strip()), text
        for path, name in named:
            files = [ROOT / path] if path else HERE.glob("test_*.py")
            assert any(f"def {name}(" in file.read_text() for file in files), (path, name)
