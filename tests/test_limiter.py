"""Limits as they are written, and as they are counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nexus
from nexus import ConfigurationError, NexusConfig, RegistrationError
from nexus.models import Rate
from nexus.models.rates import parse_rates
from nexus.security.limiter import SlidingWindow


async def hello() -> str:
    return "hello"


# ---- rates as text


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("10/minute", [Rate(10, 60)]),
        ("100/minute; 2000/hour", [Rate(100, 60), Rate(2000, 3600)]),
        ("100/minute, 2000 / hour", [Rate(100, 60), Rate(2000, 3600)]),
        ("10 per 5 minutes", [Rate(10, 300)]),
        ("1/s;1/sec;1/second;1/1 SECOND", [Rate(1, 1)]),
        ("5/2h", [Rate(5, 7200)]),
        ("1/day", [Rate(1, 86_400)]),
        ("none", []),
        (None, []),
        (Rate(3, 7), [Rate(3, 7)]),
        (["1/s", Rate(3, 7)], [Rate(1, 1), Rate(3, 7)]),
        ([], []),
    ],
)
def test_a_limit_is_text_or_several(text: Any, rates: list[Rate]) -> None:
    assert parse_rates(text) == tuple(rates)


@pytest.mark.parametrize(
    "value", ["", "10", "0/minute", "10/0 minutes", "-1/s", "10/fortnight", "1.5/s", 7, ["x"], [3], "1/s;", {}]
)
def test_what_is_no_limit_is_an_error_that_names_key_and_place(value: Any) -> None:
    expected = r"expected text like '100/minute', '10/5 minutes' or '100/minute; 2000/hour', or none, got "
    for key, settings in (
        ("rate_limit", {"rate_limit": value}),
        ("address_rate_limit", {"address_rate_limit": value}),
        ("channels.mcp.rate_limit", {"channels": {"mcp": {"rate_limit": value}}}),
    ):
        with pytest.raises(ConfigurationError, match=f"^{key}, given in code: {expected}"):
            NexusConfig().merge(**settings)
    with pytest.raises(RegistrationError, match=f"rate_limit=: {expected}"):
        nexus.workflow(rate_limit=value)(hello)


@given(st.builds(Rate, st.integers(1, 10**9 - 1), st.integers(1, 99_999)))
def test_a_rate_says_itself(rate: Rate) -> None:
    assert parse_rates(str(rate)) == (rate,)


def test_limits_are_read_from_files_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nexus.toml").write_text('rate_limit = "9/minute"\n[channels.api]\nrate_limit = ["1/s", "5/minute"]\n')
    monkeypatch.setenv("NEXUS_ADDRESS_RATE_LIMIT", "100/minute; 2000/hour")
    monkeypatch.setenv("NEXUS_CHANNELS__CLI__RATE_LIMIT", "none")
    config = NexusConfig.from_env()
    assert config.rate_limit == (Rate(9, 60),)
    assert config.address_rate_limit == (Rate(100, 60), Rate(2000, 3600))
    assert (config.channels.api.rate_limit, config.channels.cli.rate_limit) == ((Rate(1, 1), Rate(5, 60)), ())


# ---- windows

STEPS = st.lists(st.floats(0, 40, allow_nan=False), min_size=1, max_size=150)


@given(steps=STEPS, amount=st.integers(1, 40), window_s=st.integers(1, 90))
def test_in_no_window_are_there_more_calls_than_allowed_and_after_the_wait_the_next_passes(
    steps: list[float], amount: int, window_s: int
) -> None:
    window = SlidingWindow("test", Rate(amount, window_s))
    now, taken = 0.0, list[float]()
    for step in steps:
        now += step
        wait = window.wait_s("key", now)
        if wait:
            assert 0 < wait <= window_s * (1 + 1 / 16)
            assert window.wait_s("key", now + wait) == 0
            now += wait
        quota = window.count("key", now)
        taken.append(now)
        counted = [time for time in taken if time > now - window_s + 1e-3]
        assert len(counted) <= amount - quota.remaining <= amount
        assert 0 <= quota.reset_s <= window_s + 1


def test_up_to_sixteen_calls_are_given_back_one_by_one() -> None:
    window = SlidingWindow("test", Rate(3, 60))
    for now in (0.0, 1.0, 2.0):
        window.count("key", now)
    assert [window.wait_s("key", now) for now in (2.0, 59.0, 60.0)] == [58.0, 1.0, 0.0]
    window.count("key", 60.0)
    assert window.wait_s("key", 60.0) == 1.0


def test_of_a_hundred_thousand_callers_no_more_is_kept_than_the_bound() -> None:
    window = SlidingWindow("test", Rate(1, 60), most=1000)
    window.count("first", 0.0)
    for number in range(100_000):
        if number % 500 == 0:
            window.wait_s("first", 1.0)
        window.count(number, 1.0)
    assert len(window) == 1000
    assert window.wait_s("first", 1.0) == 59.0
    assert window.wait_s(0, 1.0) == 0.0


def test_callers_whose_calls_count_no_more_are_forgotten() -> None:
    window = SlidingWindow("test", Rate(5, 60))
    for number in range(100_000):
        window.count(number, 0.0)
    assert len(window) == 100_000
    for number in range(60_000):
        window.count(f"later {number}", 61.0)
    assert len(window) == 60_000
