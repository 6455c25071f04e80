"""What an installation without extras must do; run by `.ci/run` where there are none."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from tempfile import TemporaryDirectory

import nexus
from nexus.abc import Channel, RemoteGateway
from nexus.adapters import load

NEEDS = {
    "channel.api": ("starlette", "starlette", Channel),
    "channel.mcp": ("mcp", "mcp", Channel),
    "gateway.http": ("httpx", "client", RemoteGateway),
}
"""By adapter: the library that it needs, the extra that brings it, and the contract."""

app = nexus.create_nexus(title="Bare")


@app.workflow
def double(number: int) -> int:
    """Double a number."""
    return 2 * number


def main() -> None:
    """Run a workflow, and ask for each channel whose library is not there."""
    installed = [library for library in ("starlette", "click", "mcp", "httpx") if importlib.util.find_spec(library)]
    if installed:
        raise SystemExit(f"this is an environment with extras: {installed}")
    with nexus.sync(app) as bare:
        print("double(21) =", bare.execute_workflow("double", {"number": 21}).results)
    with TemporaryDirectory() as folder:
        kept = nexus.create_nexus(title="Bare, in a file", database_url=f"sqlite:///{folder}/nexus.db")
        kept.register(double)
        with nexus.sync(kept) as bare:
            print(
                "double(21) =",
                bare.execute_workflow("double", {"number": 21}).results,
                "in",
                *sorted(path.name for path in Path(folder).iterdir()),
            )
    for adapter, (library, extra, contract) in NEEDS.items():
        expected = f"adapter '{adapter}' needs '{library}'; run: pip install 'nexus-channels[{extra}]'"
        try:
            load(adapter, contract)
        except nexus.AdapterError as error:
            print(error)
            if str(error) != expected:
                raise SystemExit(f"expected: {expected}") from error
        else:
            raise SystemExit(f"adapter {adapter!r} was loaded without {library!r}")


if __name__ == "__main__":
    main()
