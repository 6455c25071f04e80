"""Ids that nobody can guess."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading

import pytest

from nexus._ids import AT_ONCE, new_id


def test_an_id_has_128_bits_in_hexadecimal() -> None:
    assert all(re.fullmatch(r"[0-9a-f]{32}", new_id()) for _ in range(2 * AT_ONCE + 1))


def test_each_is_given_once_whatever_the_thread() -> None:
    given: list[str] = []
    threads = [threading.Thread(target=lambda: given.extend([new_id() for _ in range(5 * AT_ONCE)])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(given)) == len(given) == 8 * 5 * AT_ONCE


FORKS = """
import os
from nexus._ids import new_id
new_id()
if os.fork() == 0:
    print("child", *(new_id() for _ in range(10)), flush=True)
    os._exit(0)
os.wait()
print("parent", *(new_id() for _ in range(10)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_process_that_was_forked_off_gives_others() -> None:
    told = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, check=True).stdout.split()
    ids = [word for word in told if word not in {"child", "parent"}]
    assert len(set(ids)) == len(ids) == 20
