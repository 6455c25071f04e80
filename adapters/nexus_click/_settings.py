"""The options that every command has which runs something; imports click alone, because `nexus --help` shows them."""

from __future__ import annotations

from collections.abc import Iterator

import click


def setting_options(*, remote: bool = False) -> Iterator[click.Option]:
    """Make the options of output and input; *remote* are also those for what is carried out elsewhere."""
    yield click.Option(
        ["--format"],
        type=click.Choice(["text", "json"]),
        help="How results are written; by default text on a terminal and JSON in a pipe.",
    )
    yield click.Option(["--yes", "assume_yes"], is_flag=True, help="Answer questions with yes, or with their default.")
    yield click.Option(["--no-input"], is_flag=True, help="Never prompt.")
    yield click.Option(["--idempotency-key"], metavar="KEY", help="The same caller, workflow and key get the same run.")
    yield click.Option(["--verbose"], is_flag=True, help="Tell the run's id and how long it took.")
    if remote:
        yield click.Option(["--output-dir"], metavar="DIR", help="Where files of a result go; by default the current folder.")
