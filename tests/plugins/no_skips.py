"""A pytest plugin for the machine that decides: what was skipped was not tested, so it has failed."""

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    return _failed_if_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    return _failed_if_skipped((yield))


def _failed_if_skipped(report):
    is_expected_failure = hasattr(report, "wasxfail")
    if report.skipped and not is_expected_failure:
        report.outcome = "failed"
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.longrepr = f"A skipped test counts as a failure here. {reason}"
    return report
