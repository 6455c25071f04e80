"""Counts how often something has happened within the last seconds, for many callers at once, in bounded memory."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from typing import Final

import attrs

from nexus.abc import Clock
from nexus.exceptions import RateLimitError
from nexus.models import Call, Quota, Rate

__all__ = ["Limiter", "SlidingWindow"]

MOST_KEYS: Final = 100_000
"""Of how many callers one limit is kept; beyond that, the one that has not called for longest begins anew."""

GROUPS: Final = 16
"""Into how many parts of its window the calls of one caller are grouped, where there may be more of them than that."""

TOLERANCE_S: Final = 1e-6
"""By how much a sum of times may miss the time that it stands for."""


@attrs.define(eq=False)
class _Bucket:
    """
    The calls of one caller: groups of those that came close to each other.

    Attributes:
        used: How many they are.
        groups: Of each when it began, when it was last added to, and how many are in it; the oldest first.
    """

    used: int = 0
    groups: list[tuple[float, float, int]] = attrs.field(factory=list)


@attrs.define(eq=False)
class SlidingWindow:
    """
    One limit, of many callers.

    In no window are there more calls than the rate allows: each counts until the last one of its group has left the window. So a
    caller gets back what it used up to a sixteenth of the window late; where the rate is sixteen or less, on the spot.

    Args:
        policy: What is counted; the window is added to it.
        rate: The limit.
        most: Of how many callers, at most.
    """

    policy: str
    rate: Rate
    most: int = MOST_KEYS
    _grain_s: float = attrs.field(init=False)
    _buckets: OrderedDict[Hashable, _Bucket] = attrs.field(factory=OrderedDict, init=False)

    def __attrs_post_init__(self) -> None:
        self.policy = f"{self.policy}-{self.rate.window_s}s"
        self._grain_s = 0.0 if self.rate.amount <= GROUPS else self.rate.window_s / GROUPS

    def __len__(self) -> int:
        return len(self._buckets)

    def wait_s(self, key: Hashable, now: float) -> float:
        """Return in how many seconds there is room for another call; 0 where there is."""
        bucket = self._buckets.get(key)
        if bucket is None:
            return 0.0
        self._buckets.move_to_end(key)
        groups = bucket.groups
        while groups and self._left(groups[0], now):
            bucket.used -= groups.pop(0)[2]
        return 0.0 if bucket.used < self.rate.amount else groups[0][1] + self.rate.window_s - now

    def count(self, key: Hashable, now: float) -> Quota:
        """Count a call for which there is room; see `wait_s`."""
        bucket = self._buckets.get(key)
        if bucket is None:
            self._make_room(now)
            bucket = self._buckets[key] = _Bucket()
        groups = bucket.groups
        if groups and now - groups[-1][0] < self._grain_s:
            began, _, count = groups[-1]
            groups[-1] = (began, now, count + 1)
        else:
            groups.append((now, now, 1))
        bucket.used += 1
        reset_s = math.ceil(groups[0][1] + self.rate.window_s - now - TOLERANCE_S)
        return Quota(self.policy, self.rate, self.rate.amount - bucket.used, reset_s)

    def _left(self, group: tuple[float, float, int], now: float) -> bool:
        return group[1] + self.rate.window_s <= now + TOLERANCE_S

    def _make_room(self, now: float) -> None:
        """Forget who has not called for longest: two whose calls count no more, so that they get fewer; else one, if need be."""
        for _ in range(2):
            if not self._buckets:
                return
            key = next(iter(self._buckets))
            groups = self._buckets[key].groups
            counts = bool(groups) and not self._left(groups[-1], now)
            if counts and len(self._buckets) < self.most:
                return
            del self._buckets[key]


@attrs.define(eq=False)
class Limiter:
    """
    Counts calls against limits, on the application's clock; one for all guards of an application.

    Args:
        clock: The application's.
    """

    clock: Clock
    _windows: dict[tuple[str, Rate], SlidingWindow] = attrs.field(factory=dict, init=False)

    def windows(self, policy: str, rates: Iterable[Rate]) -> Sequence[SlidingWindow]:
        """Return what counts against those rates; the same for the same policy and rate."""
        return [self._window(policy, rate) for rate in rates]

    def _window(self, policy: str, rate: Rate) -> SlidingWindow:
        window = self._windows.get((policy, rate))
        if window is None:
            window = self._windows[policy, rate] = SlidingWindow(policy, rate)
        return window

    def take(self, call: Call, *demands: tuple[Sequence[SlidingWindow], Hashable]) -> None:
        """
        Count the call against every limit, and note on it what is left; against none where one of them has no room.

        Args:
            call: What is asked.
            demands: Limits, and whose calls they are to be counted with.

        Raises:
            RateLimitError: A limit is used up; `retry_after` has the seconds after which all of them have room.
        """
        now = self.clock.monotonic()
        full: list[Quota] = []
        for windows, key in demands:
            for window in windows:
                wait = window.wait_s(key, now)
                if wait > 0:
                    full.append(Quota(window.policy, window.rate, 0, max(1, math.ceil(wait - TOLERANCE_S))))
        if full:
            call.quotas = full
            raise _too_many(full)
        left = list(call.quotas)
        for windows, key in demands:
            left.extend(window.count(key, now) for window in windows)
        call.quotas = left


def _too_many(full: Sequence[Quota]) -> RateLimitError:
    seconds = max(quota.reset_s for quota in full)
    rates = " and ".join(str(quota.rate) for quota in full)
    return RateLimitError(
        f"too many calls: at most {rates}; try again in {seconds} s",
        retry_after=seconds,
        violated_policies=[quota.policy for quota in full],
    )
