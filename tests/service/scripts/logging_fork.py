"""Forks after logging was configured, and logs in both processes."""

from __future__ import annotations

import logging
import os

from geventecho.service import configure_logs


def main() -> None:
    log = configure_logs("info", "text")
    logging.getLogger("parent").info("before")
    child = os.fork()
    for number in range(3):
        logging.getLogger("parent" if child else "child").info("line %d", number)
    log.close()
    if child:
        assert os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    main()
