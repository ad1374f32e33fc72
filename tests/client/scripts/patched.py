"""`patched.py TARGET STATE` uses the client in a process that is `unpatched`, `patched` first, or `patched late`."""

from __future__ import annotations

import sys

from gevent import monkey

if sys.argv[2] == "patched late":
    import geventecho.client  # noqa: F401
if sys.argv[2] != "unpatched":
    monkey.patch_all()

import gevent

from geventecho.client import connect
from geventecho.errors import ReadTimeout


def is_as_asked() -> bool:
    return monkey.is_module_patched("socket") is (sys.argv[2] != "unpatched")


def main(target: str) -> None:
    assert is_as_asked()
    turns = 0

    def count() -> None:
        nonlocal turns
        while True:
            gevent.sleep(0.01)
            turns += 1

    gevent.spawn(count)
    with connect(target) as client:
        payload = bytes(range(256)) * 40000
        assert client.echo(payload) is payload
        client.send(b"bye")
        client.end()
        assert b"".join(client) == b"bye"
    with connect("localhost:" + target.rpartition(":")[2], timeout=0.3) as client:
        try:
            client.recv()
        except ReadTimeout:
            pass
        else:
            raise AssertionError("bytes were received that the client had not sent")
    assert turns > 10, "the wait must be cooperative"
    assert is_as_asked()
    print("done")


if __name__ == "__main__":
    main(sys.argv[1])
