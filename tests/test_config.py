from __future__ import annotations

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from nexus.config import ApiConfig, ChannelsConfig, NexusConfig
from nexus.exceptions import ConfigurationError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_files_and_variables_everything_has_its_default(folder: Path) -> None:
    assert NexusConfig.from_env() == NexusConfig()


def test_the_defaults_are_safe_and_bounded() -> None:
    config = NexusConfig()

    assert (config.channels.api.host, config.files_root) == ("127.0.0.1", None)
    assert (config.max_body_bytes, config.shutdown_grace) == (10_000_000, timedelta(seconds=10))


def test_what_comes_later_wins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "nexus.toml").write_text('title = "file"\ndescription = "file"\nversion = "file"\n')
    (folder / "pyproject.toml").write_text('[tool.nexus]\ndescription = "project"\nversion = "project"\n')
    monkeypatch.setenv("NEXUS_VERSION", "variable")

    config = NexusConfig.from_env()

    assert (config.title, config.description, config.version) == ("file", "project", "variable")


def test_nested_keys_come_from_tables_and_from_variables_with_two_underscores(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "nexus.toml").write_text('[channels.api]\nhost = "::1"\nport = 1\n')
    monkeypatch.setenv("NEXUS_CHANNELS__API__PORT", "9000")

    assert NexusConfig.from_env().channels.api == ApiConfig(host="::1", port=9000)


@pytest.mark.parametrize(
    "project",
    [
        'tool.nexus.title = "Desk"',
        '[tool]\nnexus = {title = "Desk"}',
        'tool = {nexus = {title = "Desk"}}',
        '["tool".nexus]\ntitle = "Desk"',
    ],
)
def test_the_table_of_the_project_is_found_however_toml_spells_it(folder: Path, project: str) -> None:
    (folder / "pyproject.toml").write_text(project)

    assert NexusConfig.from_env().title == "Desk"


def test_a_project_without_the_table_is_not_read(folder: Path) -> None:
    (folder / "pyproject.toml").write_text('[project]\nname = "nexus-desk"\n[tool.other]\nthis is no TOML')

    assert NexusConfig.from_env() == NexusConfig()


def test_a_relative_path_is_relative_to_where_it_was_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "nexus.toml").write_text('files_root = "data"\n')
    from_file = NexusConfig.from_env()
    monkeypatch.setenv("NEXUS_FILES_ROOT", "elsewhere")
    from_variable = NexusConfig.from_env()

    assert (from_file.files_root, from_variable.files_root) == (folder / "data", folder / "elsewhere")
    assert NexusConfig().merge(Path("/srv/desk"), files_root="data").files_root == Path("/srv/desk/data")
    assert NexusConfig().merge(Path("/srv/desk"), files_root="/data").files_root == Path("/data")
    assert NexusConfig(files_root="data").files_root == Path("data")


def test_merging_a_section_leaves_its_other_settings_as_they_are() -> None:
    config = NexusConfig(channels=ChannelsConfig(api=ApiConfig(host="::1")))

    merged = config.merge(title="Desk", channels={"api": {"port": 9000}, "mcp": {"enabled": False}})

    assert merged.channels.api == ApiConfig(host="::1", port=9000)
    assert (merged.title, merged.channels.mcp.enabled, merged.channels.cli.enabled) == ("Desk", False, True)


def test_merging_takes_a_whole_section_too() -> None:
    assert NexusConfig().merge(channels=ChannelsConfig(api=ApiConfig(port=1))).channels.api.port == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [(1, 1), (2.0, 2), ("10 MB", 10_000_000), ("512kib", 524_288), ("1.5 GB", 1_500_000_000), ("7", 7), ("3 b", 3)],
)
def test_sizes_are_bytes_or_text_with_a_unit(given: Any, expected: int) -> None:
    assert NexusConfig(max_body_bytes=given).max_body_bytes == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (0, timedelta()),
        (1.5, timedelta(seconds=1.5)),
        (timedelta(minutes=1), timedelta(minutes=1)),
        ("10s", timedelta(seconds=10)),
        ("30 min", timedelta(minutes=30)),
        ("12 h", timedelta(hours=12)),
        ("250 ms", timedelta(milliseconds=250)),
        ("2", timedelta(seconds=2)),
    ],
)
def test_durations_are_seconds_or_text_with_a_unit(given: Any, expected: timedelta) -> None:
    assert NexusConfig(shutdown_grace=given).shutdown_grace == expected


@pytest.mark.parametrize(("given", "expected"), [("none", None), (None, None), ("5 s", timedelta(seconds=5))])
def test_a_request_may_have_no_timeout(given: Any, expected: timedelta | None) -> None:
    assert NexusConfig(request_timeout=given).request_timeout == expected


@pytest.mark.parametrize(("given", "expected"), [("on", True), ("TRUE", True), ("0", False), ("no", False), (False, False)])
def test_flags_may_be_text(given: Any, expected: bool) -> None:
    assert ApiConfig(enabled=given).enabled is expected


@pytest.mark.parametrize(
    ("setting", "value", "allowed"),
    [
        ("title", 3, "expected text, got 3"),
        ("max_upload_bytes", 0, "expected a number of bytes, or text like '10 MB' or '512 KiB', got 0"),
        ("runs_root", 3, "expected a path, got 3"),
        ("max_body_bytes", 0, "expected a number of bytes, or text like '10 MB' or '512 KiB', got 0"),
        ("max_body_bytes", float("inf"), "expected a number of bytes, or text like '10 MB' or '512 KiB', got inf"),
        ("max_body_bytes", "10 miles", "expected a number of bytes, or text like '10 MB' or '512 KiB', got '10 miles'"),
        ("shutdown_grace", -1, "expected seconds, a timedelta, or text like '10 s', '30 min' or '12 h', got -1"),
        ("shutdown_grace", True, "expected seconds, a timedelta, or text like '10 s', '30 min' or '12 h', got True"),
        ("shutdown_grace", 1e300, "expected seconds, a timedelta, or text like '10 s', '30 min' or '12 h', got 1e+300"),
        ("request_timeout", 0, "expected a duration longer than zero, or none, got 0"),
        ("files_root", 3, "expected a path, got 3"),
        ("files_root", "", "expected a path, got ''"),
        ("channels", {}, "expected a ChannelsConfig, got {}"),
    ],
)
def test_a_bad_value_is_refused_by_name_with_what_is_allowed(setting: str, value: Any, allowed: str) -> None:
    with pytest.raises(ConfigurationError, match="^" + re.escape(f"{setting}: {allowed}") + "$"):
        NexusConfig(**{setting: value})


@pytest.mark.parametrize("value", ["x", -1, 65536, True, 1.5])
def test_a_bad_port_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^port: expected a port number from 0 \(any free one\) to 65535, got "):
        ApiConfig(port=value)


def test_a_bad_flag_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"^enabled: expected true or false, got 'maybe'$"):
        ApiConfig(enabled="maybe")


def test_a_bad_value_in_code_is_named_with_its_section() -> None:
    with pytest.raises(ConfigurationError, match=r"^channels\.api\.port, given in code: expected a port number .* got 'x'$"):
        NexusConfig().merge(channels={"api": {"port": "x"}})


def test_a_section_that_is_no_table_is_refused() -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"^channels\.api, given in code: expected a table of settings \(enabled, host, port, allowed_hosts, .*\), got 3$",
    ):
        NexusConfig().merge(channels={"api": 3})


def test_a_bad_value_in_a_file_is_named_with_the_file(folder: Path) -> None:
    (folder / "nexus.toml").write_text("[channels.mcp]\nenabled = 3\n")

    with pytest.raises(ConfigurationError) as caught:
        NexusConfig.from_env()

    assert str(caught.value) == f"channels.mcp.enabled, in {folder / 'nexus.toml'}: expected true or false, got 3"


def test_a_bad_value_in_the_environment_is_named_with_the_variable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXUS_CHANNELS__API__PORT", "eighty")

    with pytest.raises(ConfigurationError, match=r"^NEXUS_CHANNELS__API__PORT, in the environment: expected a port .*'eighty'$"):
        NexusConfig.from_env()


def test_an_unknown_key_in_a_file_is_an_error_that_suggests_the_nearest(folder: Path) -> None:
    (folder / "pyproject.toml").write_text('[tool.nexus]\nfile_root = "data"\n')

    with pytest.raises(ConfigurationError) as caught:
        NexusConfig.from_env()

    assert str(caught.value).startswith(
        f"unknown setting file_root, in [tool.nexus] of {folder / 'pyproject.toml'}; did you mean files_root?"
    )
    assert "allowed: title, description, version, files_root" in str(caught.value)


def test_an_unknown_variable_is_an_error_that_suggests_the_nearest(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXUS_PORT", "9000")

    with pytest.raises(
        ConfigurationError, match=r"^unknown setting NEXUS_PORT, in the environment; did you mean NEXUS_CHANNELS__API__PORT\? "
    ):
        NexusConfig.from_env()


def test_where_a_server_is_and_what_to_show_it_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXUS_URL", "http://127.0.0.1:8000")
    monkeypatch.setenv("NEXUS_TOKEN", "hunter2")

    assert NexusConfig.from_env() == NexusConfig()


def test_an_unknown_key_that_is_near_nothing_lists_what_is_allowed() -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"^unknown setting colour, given in code; allowed: title, .*channels\.mcp\.enabled, .*cache\.ttl$",
    ):
        NexusConfig().merge(colour="blue")


def test_an_unknown_key_of_a_section_is_an_error() -> None:
    with pytest.raises(
        ConfigurationError, match=r"^unknown setting channels\.api\.prt, given in code; did you mean channels\.api\.port\?"
    ):
        NexusConfig().merge(channels={"api": {"prt": 1}})


@pytest.mark.parametrize("content", [b"title =", b'title = "\xff"'])
def test_a_file_that_is_no_toml_is_named(folder: Path, content: bytes) -> None:
    (folder / "nexus.toml").write_bytes(content)

    with pytest.raises(ConfigurationError, match=re.escape(f"{folder / 'nexus.toml'} can't be read as TOML: ")):
        NexusConfig.from_env()


def test_a_project_whose_entry_is_no_table_is_named(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[tool]\nnexus = 3\n")

    with pytest.raises(
        ConfigurationError, match=re.escape(f"tool.nexus in {folder / 'pyproject.toml'}: expected a table, got 3")
    ):
        NexusConfig.from_env()


def test_where_nothing_is_configured_no_settings_library_is_loaded(folder: Path) -> None:
    (folder / "pyproject.toml").write_text('[project]\nname = "nexus-desk"\n[tool.ruff]\n')
    script = "import sys, nexus.config; nexus.config.NexusConfig.from_env(); print('typed_settings' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"
