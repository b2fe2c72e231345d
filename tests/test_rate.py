from __future__ import annotations

from firehose_indexer.rate import Rate


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_steady_stream_has_the_same_rate_over_every_span():
    clock = Clock()
    rate = Rate(clock)
    for second in range(1000):
        clock.now = 1000.0 + second
        rate.add(50)
    assert [rate.per_second(span) for span in (1, 60, 900)] == [50, 50, 50]


def test_the_running_second_does_not_count_yet():
    clock = Clock()
    rate = Rate(clock)
    rate.add(10)
    clock.now += 1
    rate.add(999)
    assert rate.per_second(1) == 10


def test_a_young_process_divides_by_its_age():
    clock = Clock()
    rate = Rate(clock)
    for _ in range(4):
        rate.add(30)
        clock.now += 1
    assert rate.per_second(900) == 30


def test_silence_empties_the_ring():
    clock = Clock()
    rate = Rate(clock)
    rate.add(500)
    clock.now += 10
    assert rate.per_second(900) == 50
    clock.now += 5000
    assert rate.per_second(900) == 0
    rate.add(7)
    clock.now += 1
    assert rate.per_second(1) == 7
