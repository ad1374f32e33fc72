"""The calls and answers of the process that makes the results of a running test."""

from __future__ import annotations

import io
import os
import pickle

import pytest

from geventecho.results import Collection, Encoded
from geventecho.results.live import follow
from tests.results.samples import FACTS, START


def text_of(collection: Collection, text: str) -> bytes:
    return f"{text} {collection.timeline.begun}".encode()


def test_answers_are_sent_before_the_next_call_is_read() -> None:
    """The caller waits for an answer before it calls again."""
    first = pickle.dumps((START, 0.0))
    calls = [(Collection.end, (START + 5.0,), {}), (text_of, (), {"text": "a file"})]
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    with open(readable, "rb") as answers, open(writable, "wb") as sink:
        with pytest.raises(EOFError):
            follow(io.BytesIO(first + b"".join(map(pickle.dumps, calls))), sink)
        assert answers.read1() == b"11\na file 1000", "a change has no answer"
        with pytest.raises(EOFError):
            follow(io.BytesIO(first + pickle.dumps((Collection.result, (START + 5.0, FACTS), {}))), sink)
        assert Encoded.read(answers) == Encoded.of(Collection(START, 0.0).result(START + 5.0, FACTS))
