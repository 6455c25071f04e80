from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from nexus import adapters
from nexus.abc import Channel, SessionStore
from nexus.exceptions import AdapterError

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a distribution with one module and its entry points, for the time of the test."""

    def installed(distribution: str, points: dict[str, str], /, **modules: str) -> None:
        folder = tmp_path / distribution
        metadata = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = "\n".join(f"{name} = {value}" for name, value in points.items())
        (metadata / "entry_points.txt").write_text(f"[nexus.adapters]\n{lines}\n")
        for name, source in modules.items():
            (folder / f"{name}.py").write_text(dedent(source))
            monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.syspath_prepend(folder)

    return installed


def test_adapters_are_listed_by_kind_without_importing_them(install: Install) -> None:
    install("desk", {"channel.zulu": "desk_zulu:Zulu", "clerk.alpha": "desk_zulu:Alpha"}, desk_zulu="raise SystemExit")

    assert "zulu" in adapters.available("channel")
    assert adapters.available("clerk") == ("alpha",)
    assert adapters.available("nothing") == ()


def test_our_own_channels_are_listed() -> None:
    assert {"api", "cli", "mcp"} <= set(adapters.available("channel"))


def test_loading_imports_the_one_adapter_that_is_asked_for(install: Install) -> None:
    zulu = """
        from nexus.abc import Channel
        class Zulu(Channel):
            name = "zulu"
    """
    install("desk", {"channel.zulu": "desk_zulu:Zulu", "channel.other": "desk_other:Other"}, desk_zulu=zulu, desk_other="1 / 0")

    loaded = adapters.load("channel.zulu", Channel)

    assert (loaded.name, issubclass(loaded, Channel)) == ("zulu", True)


def test_an_unknown_adapter_is_an_error_that_lists_what_is_installed(install: Install) -> None:
    install("desk", {"clerk.alpha": "desk:Alpha", "clerk.beta": "desk:Beta"})

    with pytest.raises(
        AdapterError, match=r"^there is no adapter 'clerk\.gamma'; installed of this kind: clerk\.alpha, clerk\.beta$"
    ):
        adapters.load("clerk.gamma", Channel)
    with pytest.raises(AdapterError, match=r"^there is no adapter 'cook\.alpha'; installed of this kind: none$"):
        adapters.load("cook.alpha", Channel)


def test_two_distributions_with_one_name_are_an_error_that_names_both(install: Install) -> None:
    install("desk-one", {"channel.zulu": "desk_one:Zulu"})
    install("desk-two", {"channel.zulu": "desk_two:Zulu"})

    with pytest.raises(AdapterError, match=r"'channel\.zulu' is installed by 'desk-one' and 'desk-two'; uninstall all but one$"):
        adapters.load("channel.zulu", Channel)


@pytest.mark.parametrize("value", ["desk_zulu:Zulu", "desk_zulu:zulu"])
def test_an_adapter_that_is_not_what_it_says_is_refused(install: Install, value: str) -> None:
    install("desk", {"channel.zulu": value}, desk_zulu="class Zulu: ...\nzulu = 3")

    with pytest.raises(AdapterError) as caught:
        adapters.load("channel.zulu", SessionStore)

    assert str(caught.value) == (
        f"adapter 'channel.zulu' of 'desk' is {value}, which is not a subclass of nexus.abc.SessionStore"
    )


def test_an_adapter_of_ours_without_its_library_says_what_to_install(install: Install) -> None:
    install("nexus-channels", {"channel.zulu": "nexus_zulu:Zulu"}, nexus_zulu="import zulu_wire.frames")

    with pytest.raises(AdapterError) as caught:
        adapters.load("channel.zulu", Channel)

    assert str(caught.value) == "adapter 'channel.zulu' needs 'zulu_wire'; run: pip install 'nexus-channels[zulu]'"


def test_an_adapter_of_somebody_else_without_its_library_names_its_distribution(install: Install) -> None:
    install("desk", {"channel.zulu": "desk_zulu:Zulu"}, desk_zulu="import zulu_wire")

    with pytest.raises(
        AdapterError, match=r"^adapter 'channel\.zulu' needs 'zulu_wire', which 'desk' did not install; install it$"
    ):
        adapters.load("channel.zulu", Channel)


@pytest.mark.parametrize("module", ["nexus.nothing_here", "desk_zulu.nothing_here", "email.nothing_here"])
def test_a_failing_import_inside_an_adapter_surfaces_unchanged(install: Install, module: str) -> None:
    install("desk", {"channel.zulu": "desk_zulu:Zulu"}, desk_zulu=f"import {module}")

    with pytest.raises(ModuleNotFoundError, match=module):
        adapters.load("channel.zulu", Channel)


def test_an_error_while_an_adapter_is_imported_surfaces_unchanged(install: Install) -> None:
    install("desk", {"channel.zulu": "desk_zulu:Zulu"}, desk_zulu="1 / 0")

    with pytest.raises(ZeroDivisionError):
        adapters.load("channel.zulu", Channel)


def test_the_metadata_of_the_environment_is_read_only_when_it_is_asked_for() -> None:
    script = "import sys, nexus.adapters; print('importlib.metadata' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"
