from __future__ import annotations

from firehose_indexer.stream.clocks import Backoff, StallWatch, TrickleWatch


def high(low, top):
    return top


def low(low, top):
    return low


def test_backoff_doubles_to_a_minute_and_stays():
    backoff = Backoff(high)
    waits = [backoff.after(lasted=0, delivered=False, clean=False) for _ in range(9)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert Backoff(low).after(lasted=0, delivered=False, clean=False) == 0.5


def test_only_a_minute_with_data_earns_a_fresh_start():
    backoff = Backoff(high)
    for lasted, delivered, wait in [
        (0, False, 1),
        (59, True, 2),
        (61, False, 4),
        (60, True, 1),
        (0, False, 2),
    ]:
        assert backoff.after(lasted=lasted, delivered=delivered, clean=False) == wait


def test_a_clean_close_spreads_the_herd_once():
    backoff = Backoff(high)
    assert backoff.after(lasted=100, delivered=True, clean=True) == 2.0
    assert backoff.after(lasted=0, delivered=False, clean=True) == 2.0
    assert Backoff(low).after(lasted=100, delivered=True, clean=True) == 0.0


def busy_watch(gap=0.01, frames=200):
    watch = StallWatch()
    watch.began(0.0)
    for n in range(frames):
        watch.data(1, (n + 1) * gap)
    return watch, frames * gap


def test_a_source_hardly_known_has_ten_minutes():
    watch, now = busy_watch(frames=99)
    assert watch.limit == 600
    assert not watch.stalled(now + 599)
    assert watch.stalled(now + 600)


def test_a_busy_relay_is_caught_in_thirty_seconds_and_a_slow_one_in_fifty_gaps():
    watch, now = busy_watch()
    assert not watch.stalled(now + 29.9)
    assert watch.stalled(now + 30)
    assert 99 < busy_watch(gap=2.0)[0].limit < 101
    assert busy_watch(gap=60.0)[0].limit == 600


def test_stalls_running_double_the_limit_and_make_the_source_quiet_until_data():
    watch, now = busy_watch()
    limits = []
    for _ in range(7):
        limits.append(watch.limit)
        assert watch.stalled(now + 1000)
        watch.began(now)
    assert limits == [30, 30, 60, 120, 240, 480, 600]
    assert watch.quiet
    watch.data(1, now + 1)
    assert not watch.quiet
    assert watch.limit < 600


def test_many_frames_at_once_count_as_many():
    watch = StallWatch()
    watch.began(0.0)
    for n in range(50):
        watch.data(10, (n + 1) * 0.1)
    assert watch.limit == 30


def grow(watch, samples, *, start=0.0, cpu=0.0, backlog=0, lag=lambda n: 10.0 * n, worked=0.0):
    """Feed samples 30 s apart; the numbers of those that fired."""
    fired = []
    for n in range(1, samples + 1):
        watch.worked(worked)
        if watch.sample(start + 30.0 * n, lag(n), cpu=cpu * n, backlog=backlog):
            fired.append(n)
    return fired


def test_lag_that_grows_for_five_idle_minutes_asks_for_a_new_connection_once_in_ten():
    watch = TrickleWatch()
    watch.began(0.0, 0.0)
    fired = grow(watch, 40)
    assert fired[0] == 11
    assert fired[1] - fired[0] == 20


def test_lag_of_our_own_making_never_does():
    for how in (
        {"cpu": 20.0},
        {"backlog": 1},
        {"worked": 20.0},
        {"lag": lambda n: 5.0},
        {"lag": lambda n: None},
    ):
        watch = TrickleWatch()
        watch.began(0.0, 0.0)
        assert grow(watch, 40, **how) == [], how
