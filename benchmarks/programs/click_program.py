"""A click program with one command."""

import json

import click


@click.group()
def main() -> None:
    """Do sums."""


@main.command()
@click.argument("left", type=int)
@click.argument("right", type=int)
def add(left: int, right: int) -> None:
    """Add two numbers."""
    click.echo(json.dumps(left + right))


main()
