"""What is installed, and what an installation without extras does."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import os
import pkgutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

import nexus

REPOSITORY = Path(__file__).parent.parent
ADAPTERS = {"nexus_starlette", "nexus_click", "nexus_mcp", "nexus_client", "nexus_sqlite"}
NEEDS = {"channel.api": ("starlette", "starlette"), "channel.mcp": ("mcp", "mcp"), "gateway.http": ("httpx", "client")}
"""By adapter: the library that it needs, and the extra that brings it."""
PUBLIC = [
    "nexus",
    "nexus.abc",
    "nexus.adapters",
    "nexus.config",
    "nexus.exceptions",
    "nexus.models",
    "nexus.testing",
    *sorted(ADAPTERS),
]
HEAVY = {
    "starlette",
    "uvicorn",
    "click",
    "rich",
    "mcp",
    "httpx",
    "pydantic",
    "redis",
    "sqlite3",
    "pytest",
    "structlog",
    "prometheus_client",
    "typed_settings",
    "cattrs",
    "importlib.metadata",
    "nexus.testing",
}


def python(script: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh interpreter, which is not measured: a measured one loads more."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment)


# As if these packages were not installed: the script's first argument, separated by commas.
HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in sys.argv[1].split(",") else find_spec(name, package)
sys.meta_path.insert(0, Hidden())
"""


@pytest.mark.slow
@pytest.mark.checkout
def test_the_wheel_holds_nexus_and_its_adapters_and_nothing_else_at_the_top(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()

    assert {name.partition("/")[0] for name in names} == {"nexus", *ADAPTERS, "nexus_channels-0.1.0.dist-info"}
    assert {f"{package}/py.typed" for package in {"nexus", *ADAPTERS}} <= set(names)
    assert "nexus_channels-0.1.0.dist-info/licenses/LICENSE" in names
    assert [name for name in names if name.endswith((".csv", ".pyc")) or "/tests/" in name] == []


@pytest.mark.checkout
def test_every_adapter_of_the_repository_is_packaged() -> None:
    folders = {folder.name for folder in (REPOSITORY / "adapters").iterdir() if (folder / "__init__.py").is_file()}

    assert folders == ADAPTERS


@pytest.mark.parametrize("package", ["nexus", *sorted(ADAPTERS)])
def test_every_package_says_that_it_is_typed(package: str) -> None:
    spec = importlib.util.find_spec(package)

    assert spec is not None
    assert spec.origin is not None
    assert (Path(spec.origin).parent / "py.typed").is_file()


def imported_libraries(package: str) -> set[NormalizedName]:
    """Return the distributions that the modules of a package import at their top or inside."""
    names: set[str] = set()
    for file in (REPOSITORY / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
    distributions = importlib.metadata.packages_distributions()
    outside = names - sys.stdlib_module_names - {"nexus", *ADAPTERS, "tests", "benchmarks"}
    return {canonicalize_name(distributions[name][0]) for name in outside}


def declared(extra: str | None) -> set[NormalizedName]:
    """Return the libraries of an extra, or, of None, those of an installation without any."""
    requirements = map(Requirement, importlib.metadata.requires("nexus-channels") or ())
    mine = {"extra": extra or ""}
    return {
        canonicalize_name(requirement.name)
        for requirement in requirements
        if requirement.name != "nexus-channels"
        and (requirement.marker is None) == (extra is None)
        and (requirement.marker is None or requirement.marker.evaluate(mine))
    }


@pytest.mark.checkout
def test_the_core_imports_what_it_declares_and_declares_what_it_imports() -> None:
    # pytest where there is pytest: the plugin and the suites of the contracts; pydantic where a workflow uses its models;
    # hypothesis where a test asks for inputs.
    assert imported_libraries("nexus") - {"pytest", "pydantic", "hypothesis"} == declared(None)


@pytest.mark.checkout
@pytest.mark.parametrize("adapter", sorted(ADAPTERS))
def test_an_adapter_imports_only_what_the_core_and_its_extra_declare(adapter: str) -> None:
    extra = declared(adapter.removeprefix("nexus_"))
    imported = imported_libraries(f"adapters/{adapter}")

    assert extra <= imported <= extra | declared(None)


@pytest.mark.checkout
def test_what_the_tests_import_is_declared() -> None:
    everything = declared("dev").union(declared(None), *(declared(adapter.removeprefix("nexus_")) for adapter in ADAPTERS))

    assert imported_libraries("tests") - everything == set()


def test_every_adapter_has_an_extra_of_its_name() -> None:
    extras = set(importlib.metadata.metadata("nexus-channels").get_all("Provides-Extra") or ())

    assert {adapter.removeprefix("nexus_") for adapter in ADAPTERS} | {"all", "dev"} == extras


@pytest.mark.parametrize("module", PUBLIC)
def test_everything_that_a_public_module_names_is_there(module: str) -> None:
    imported = importlib.import_module(module)
    exported: list[str] = imported.__all__

    assert [name for name in exported if not hasattr(imported, name)] == []
    assert sorted(set(exported)) == sorted(exported)


def test_every_module_can_be_imported() -> None:
    packages = [importlib.import_module(name) for name in ("nexus", *sorted(ADAPTERS))]
    names = [
        module.name
        for package in packages
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if not module.name.endswith(".__main__")
    ]

    assert {importlib.import_module(name).__name__ for name in names} == set(names)


def test_importing_nexus_loads_nothing_heavy() -> None:
    done = python("import sys, nexus; print('\\n'.join(sys.modules))")

    assert HEAVY & set(done.stdout.splitlines()) == set()


def test_making_an_application_loads_nothing_heavy(tmp_path: Path) -> None:
    script = """
import sys, nexus
app = nexus.create_nexus(title="Desk")
@app.workflow
def double(number: int) -> int:
    return 2 * number
print("\\n".join(sys.modules))
"""
    done = python(script, cwd=tmp_path)

    assert done.stderr == ""
    assert HEAVY & set(done.stdout.splitlines()) <= {"importlib.metadata"}


def test_nexus_can_be_used_without_any_extra() -> None:
    script = """
import nexus, anyio
app = nexus.create_nexus()
@app.workflow
def double(number: int) -> int:
    return 2 * number
async def main():
    async with app:
        print((await app.execute_workflow("double", {"number": 21})).results)
anyio.run(main)
"""
    done = python(HIDE + script, "starlette,uvicorn,click,rich,mcp,httpx")

    assert (done.stdout, done.stderr) == ("42\n", "")


@pytest.mark.parametrize("adapter", NEEDS)
def test_an_adapter_without_its_library_says_what_to_install(adapter: str) -> None:
    library, extra = NEEDS[adapter]
    script = """
from nexus import adapters
from nexus.exceptions import AdapterError
try:
    adapters.load(sys.argv[2], object)
except AdapterError as error:
    print(error)
"""
    done = python(HIDE + script, library, adapter)

    assert (done.stdout, done.stderr) == (
        f"adapter '{adapter}' needs '{library}'; run: pip install 'nexus-channels[{extra}]'\n",
        "",
    )


def test_the_nexus_script_without_click_says_what_to_install() -> None:
    done = python(HIDE + "from nexus_click import main\nsys.exit(main())", "click")

    assert "needs 'click'; run: pip install 'nexus-channels[click]'" in done.stderr
    assert (done.stdout, done.returncode) == ("", 1)


def test_the_nexus_script_is_installed() -> None:
    (script,) = (point for point in importlib.metadata.entry_points(group="console_scripts") if point.name == "nexus")

    assert script.value == "nexus_click:main"


def test_the_version_is_that_of_the_distribution() -> None:
    assert nexus.__version__ == importlib.metadata.version("nexus-channels")


@pytest.mark.slow
def test_inputs_of_nexus_testing_say_what_to_install_where_there_is_no_hypothesis() -> None:
    done = python(HIDE + "import nexus.testing as testing\ntesting.FakeClock\ntesting.inputs", "hypothesis")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("nexus.testing.inputs needs 'hypothesis'; run: pip install hypothesis")
