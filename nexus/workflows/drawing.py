"""
A workflow's graph as SVG: inputs round, steps square, fan-outs stacked, each to the right of what it needs.

Lines are dashed where a step comes after another and takes nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import attrs

from nexus.exceptions import RegistrationError
from nexus.models.html import escaped, framed
from nexus.workflows.graph import Graph, inputs_of
from nexus.workflows.wiring import StepNode

__all__ = ["graph_html", "svg_of"]

CHARACTER: Final = 7.5
HEIGHT: Final = 26
ROW: Final = 42
GAP: Final = 56
MARGIN: Final = 10
STACKED: Final = 4
RESULT: Final = ("out", "")

Key = tuple[str, str]
"""What kind of node it is, and its name: a step may be called as an input is."""


@attrs.define(eq=False, kw_only=True, repr=False)
class Node:
    """
    A box.

    Attributes:
        layer: The column, from the left.
        x: Its left edge.
        y: Its middle.
    """

    label: str
    layer: int
    round: bool = False
    stacked: bool = False
    x: float = 0.0
    y: float = 0.0

    @property
    def width(self) -> float:
        """As wide as its text needs."""
        return 20 + CHARACTER * len(self.label)


def graph_html(heading: str, analyse: Callable[[], Graph]) -> str:
    """
    Return what a notebook shows of a workflow.

    Args:
        heading: Its name.
        analyse: Gives its graph; what it raises is told instead, for the workflow may be half written.
    """
    try:
        drawing = svg_of(analyse())
    except RegistrationError as error:
        return framed(heading, f"<div>{escaped(error)}</div>")
    return framed(heading, f'<div style="overflow:auto;max-height:40em">{drawing}</div>')


def svg_of(graph: Graph) -> str:
    """Return the drawing, in the colours of the text around it."""
    nodes, edges = _nodes(graph), _edges(graph)
    width, height = _place(nodes, edges)
    # Lines first: one may pass behind a box.
    parts = [_line(nodes[source], nodes[target], dashed=dashed) for (source, target), dashed in edges.items()]
    parts += [_box(node) for node in nodes.values()]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" fill="none" stroke="currentColor" font-family="monospace" font-size="12">'
        f"{''.join(parts)}</svg>"
    )


def _nodes(graph: Graph) -> dict[Key, Node]:
    depths: dict[str, int] = {}
    for step in graph.steps:
        depths[step.name] = 1 + max((depths[name] for name in step.needs), default=0)
    first_use: dict[str, int] = {}
    for step in graph.steps:
        for _, name in inputs_of(step):
            first_use[name] = min(depths[step.name], first_use.get(name, depths[step.name]))
    nodes = {("in", p.name): Node(label=p.name, layer=first_use[p.name] - 1, round=True) for p in graph.inputs}
    nodes |= {("step", s.name): Node(label=_label(s), layer=depths[s.name], stacked=s.each is not None) for s in graph.steps}
    return {**nodes, RESULT: Node(label="result", layer=1 + depths[graph.output], round=True)}


def _label(step: StepNode) -> str:
    return step.name if step.each is None else f"{step.name} over {step.each[2]}"


def _edges(graph: Graph) -> dict[tuple[Key, Key], bool]:
    """Return what is joined with what, and whether by a dashed line."""
    edges: dict[tuple[Key, Key], bool] = {}
    for step in graph.steps:
        here = ("step", step.name)
        edges |= {(("in", name), here): False for _, name in inputs_of(step)}
        edges |= {(("step", name), here): name not in step.takes for name in step.needs}
    return {**edges, (("step", graph.output), RESULT): False}


def _place(nodes: Mapping[Key, Node], edges: Iterable[tuple[Key, Key]]) -> tuple[float, float]:
    """Give every node its place, and return the size of the whole."""
    before: dict[Key, list[Node]] = {}
    for source, target in edges:
        before.setdefault(target, []).append(nodes[source])
    columns: dict[int, list[Key]] = {}
    for key, node in nodes.items():
        columns.setdefault(node.layer, []).append(key)
    height = 2 * MARGIN + ROW * max(len(column) for column in columns.values())
    x: float = MARGIN
    for _, column in sorted(columns.items()):
        # Near to what it needs, so that fewer lines cross; an input, which needs nothing, stays above.
        column.sort(key=lambda key: sum(node.y for node in before.get(key, ())) / max(1, len(before.get(key, ()))))
        top = (height - ROW * (len(column) - 1)) / 2
        for row, key in enumerate(column):
            nodes[key].x, nodes[key].y = x, top + ROW * row
        x += GAP + max(nodes[key].width for key in column)
    return x - GAP + MARGIN + STACKED, height


def _line(source: Node, target: Node, *, dashed: bool) -> str:
    x1, x2 = source.x + source.width + (STACKED if source.stacked else 0), target.x
    bend = (x2 - x1) / 2
    way = f"M{x1:.0f} {source.y:.0f}C{x1 + bend:.0f} {source.y:.0f} {x2 - bend:.0f} {target.y:.0f} {x2:.0f} {target.y:.0f}"
    dashes = ' stroke-dasharray="4 3"' if dashed else ""
    return f'<path d="{way}" opacity=".6"{dashes}/><path d="M{x2 - 6:.0f} {target.y - 4:.0f}l6 4l-6 4" opacity=".6"/>'


def _box(node: Node) -> str:
    radius = HEIGHT / 2 if node.round else 3
    top = node.y - HEIGHT / 2
    frame = f'width="{node.width:.0f}" height="{HEIGHT}" rx="{radius:.0f}" fill="#888" fill-opacity=".2"'
    behind = f'<rect x="{node.x + STACKED:.0f}" y="{top - STACKED:.0f}" {frame}/>' if node.stacked else ""
    text = (
        f'<text x="{node.x + node.width / 2:.0f}" y="{node.y:.0f}" text-anchor="middle" dominant-baseline="central" '
        f'fill="currentColor" stroke="none">{escaped(node.label)}</text>'
    )
    return f'{behind}<rect x="{node.x:.0f}" y="{top:.0f}" {frame}/>{text}'
