"""A short soak, so that `make soak` is known to run, and that it can fail. Memory is measured over minutes only."""

from dataclasses import replace

from tests.soak.soak import Report, Sight, _check_process, soak


def test_a_few_seconds_of_everything_leave_the_books_right(tmp_path):
    report = soak(tmp_path, seconds=6, trouble_every=0.7, say=lambda text: None)

    assert [violation for violation in report.violations if not violation.startswith("memory")] == []
    assert report.orders and report.edits and report.promotions


def test_what_grows_is_a_violation():
    before = Sight(memory_mb=100, descriptors=10, threads=15)
    for after, word in (
        (replace(before, memory_mb=111), "memory"),
        (replace(before, descriptors=11), "descriptors"),
        (replace(before, threads=16), "threads"),
    ):
        report = Report(1, before=before, after=after)
        _check_process(report)
        assert len(report.violations) == 1 and word in report.violations[0]
