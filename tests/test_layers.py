"""What the import linter is told is the whole house."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parent.parent
PUBLIC = {"abc", "adapters", "clock", "config", "exceptions", "models", "streams"}

pytestmark = pytest.mark.checkout


@pytest.fixture
def contracts() -> dict[str, Any]:
    linter = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]
    return {contract["id"]: contract for contract in linter["contracts"]}


def test_every_room_that_is_not_public_is_closed_to_the_adapters(contracts: dict[str, Any]) -> None:
    rooms = {path.stem for path in (REPOSITORY / "nexus").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}

    assert set(contracts["public"]["forbidden_modules"]) == {f"nexus.{room}" for room in rooms - PUBLIC - {"__init__"}}


def test_every_adapter_is_in_every_contract_about_adapters(contracts: dict[str, Any]) -> None:
    adapters = {path.name for path in (REPOSITORY / "adapters").iterdir() if (path / "__init__.py").is_file()}

    assert set(contracts["public"]["source_modules"]) == adapters
    assert set(contracts["core"]["forbidden_modules"]) == adapters
    assert set(contracts["siblings"]["modules"]) == adapters
