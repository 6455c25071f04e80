"""A Typer program with one command."""

import json

import typer

main = typer.Typer()


@main.callback()
def sums() -> None:
    """Do sums."""


@main.command()
def add(left: int, right: int) -> None:
    """Add two numbers."""
    typer.echo(json.dumps(left + right))


main()
