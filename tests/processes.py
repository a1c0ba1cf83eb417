"""Waits for what other processes do."""

import time


def wait_until(condition, *processes, seconds=180):
    """Fail where it takes too long, or one of the processes ends before."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        for process in processes:
            assert process.poll() is None, process.communicate()
        time.sleep(0.05)
