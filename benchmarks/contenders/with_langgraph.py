"""LangGraph: nodes that read and write one state."""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from operator import itemgetter
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph

from benchmarks.harness import Work


class Chain(TypedDict):
    """What the steps of a chain hand on."""

    start: int


class Wide(TypedDict):
    """What steps side by side add up."""

    start: int
    total: Annotated[int, operator.add]


@asynccontextmanager
async def chain(length: int) -> AsyncIterator[Work]:
    """A node for each step."""

    async def step(state: Chain) -> dict[str, int]:
        return {"start": state["start"] + 1}

    graph = StateGraph(Chain)
    names = [f"step_{place}" for place in range(1, length + 1)]
    for name in names:
        graph.add_node(name, step)
    for before, after in pairwise([START, *names, END]):
        graph.add_edge(before, after)
    yield Work(unit=graph.compile().ainvoke, read=itemgetter("start"))


@asynccontextmanager
async def wide(width: int) -> AsyncIterator[Work]:
    """A node for each step; the sum is the state's own."""

    def adding(place: int) -> Any:
        async def step(state: Any) -> dict[str, int]:
            return {"total": state["start"] + place}

        return step

    graph = StateGraph(Wide)
    for place in range(width):
        graph.add_node(f"step_{place}", adding(place))
        graph.add_edge(START, f"step_{place}")
        graph.add_edge(f"step_{place}", END)
    yield Work(unit=graph.compile().ainvoke, read=itemgetter("total"))
