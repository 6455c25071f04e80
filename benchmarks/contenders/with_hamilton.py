"""Hamilton: functions wired by their parameters' names, by its two drivers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import ModuleType

from hamilton import ad_hoc_utils, async_driver, base, driver

from benchmarks.harness import Work
from benchmarks.work import chain_source, functions, wide_source


@asynccontextmanager
async def chain(length: int) -> AsyncIterator[Work]:
    """The driver for plain functions."""
    module, names = _steps(chain_source(length, "def"))
    yield _blocking(module, names[-1:])


@asynccontextmanager
async def wide(width: int) -> AsyncIterator[Work]:
    """The driver for plain functions; it is asked for all steps, for one that needs a thousand takes it twenty times as long."""
    module, names = _steps(wide_source(width, "def"))
    yield _blocking(module, names[:-1])


@asynccontextmanager
async def chain_async(length: int) -> AsyncIterator[Work]:
    """The driver for coroutine functions."""
    yield await _async(chain_source(length, "async def"))


@asynccontextmanager
async def wide_async(width: int) -> AsyncIterator[Work]:
    """The driver for coroutine functions."""
    yield await _async(wide_source(width, "async def"))


def _steps(source: str) -> tuple[ModuleType, list[str]]:
    """Return a module of the steps, and their names."""
    steps = functions(source)
    return ad_hoc_utils.create_temporary_module(*steps.values()), list(steps)


def _blocking(module: ModuleType, wanted: list[str]) -> Work:
    plan = driver.Builder().with_modules(module).with_adapters(base.DictResult()).build()

    async def unit(inputs: Mapping[str, int]) -> int:
        return sum(plan.execute(wanted, inputs=inputs).values())

    return Work(unit=unit)


async def _async(source: str) -> Work:
    module, names = _steps(source)
    plan = await async_driver.Builder().with_modules(module).build()

    async def unit(inputs: Mapping[str, int]) -> int:
        result: int = (await plan.execute(names[-1:], inputs=inputs))[names[-1]]
        return result

    return Work(unit=unit)
