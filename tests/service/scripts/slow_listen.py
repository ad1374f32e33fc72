"""`geventecho serve` that needs a minute to look up its address; it prints "looking up" first."""

from __future__ import annotations

import os
import sys
from unittest import mock

import gevent

from geventecho.cli import main
from geventecho.server import endpoints


def slow(*_: object, **__: object) -> None:
    os.write(1, b"looking up\n")
    gevent.sleep(60)


if __name__ == "__main__":
    sys.argv[1:] = ["serve"]
    with mock.patch.object(endpoints, "listen", slow):
        sys.exit(main())
