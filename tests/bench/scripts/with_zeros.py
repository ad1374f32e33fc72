"""bench.run with a further contender, zeros.py."""

from __future__ import annotations

import sys
from unittest.mock import patch

from bench.contenders import CONTENDERS, Contender
from bench.run import main

if __name__ == "__main__":
    contenders = (*CONTENDERS, Contender("zeros", (sys.executable, "-m", "tests.bench.scripts.zeros")))
    with patch("bench.rounds.CONTENDERS", contenders), patch("bench.run.CONTENDERS", contenders):
        sys.exit(main(sys.argv[1:]))
