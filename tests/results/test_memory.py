"""Memory of earlier results."""

from __future__ import annotations

from geventecho.results import Memory


def test_a_result_is_kept_while_each_round_uses_it() -> None:
    calls: list[tuple[int, int]] = []

    def double(number: int, plus: int = 0) -> int:
        calls.append((number, plus))
        return 2 * number + plus

    memory = Memory(is_kept=True)
    assert [memory.call(double, 1), memory.call(double, 1), memory.call(double, 1, plus=3)] == [2, 2, 5]
    assert calls == [(1, 0), (1, 3)]
    for _ in range(2):
        memory.forget_unused()
        assert memory.call(double, 1) == 2
    assert len(calls) == 2
    assert memory.call(double, 1, plus=3) == 5
    assert len(calls) == 3, "the round before did not use it"
    unkept = Memory()
    assert [unkept.call(double, 1), unkept.call(double, 1)] == [2, 2]
    assert len(calls) == 5
