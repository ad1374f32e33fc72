"""bench.run with a short profile of two servers."""

from __future__ import annotations

import sys
from unittest.mock import patch

from bench.run import main

if __name__ == "__main__":
    with patch("bench.anatomy.SECONDS", 0.2), patch("bench.anatomy.SERVERS", ("geventecho", "C epoll")):
        sys.exit(main(sys.argv[1:]))
