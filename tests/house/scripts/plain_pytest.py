"""pytest as if only requirements.txt were installed: the import of a package of requirements-dev.txt fails."""

from __future__ import annotations

import sys
from typing import Any

MODULES = (
    "build", "coverage", "hypothesis", "numpy", "playwright", "pyte", "pytest_timeout", "scipy", "wcwidth", "xdist",
)  # fmt: skip

if __name__ == "__main__":
    absent: dict[str, Any] = dict.fromkeys(MODULES)
    sys.modules.update(absent)
    import pytest

    sys.exit(pytest.main(["--quiet", "-p", "no:cacheprovider", *sys.argv[1:]]))
