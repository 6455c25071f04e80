from __future__ import annotations

from pathlib import Path

import pytest

from nexus.workflows.files import FilesRoot


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "here.csv").write_text("x")
    (tmp_path / "outside.csv").write_text("x")
    return folder


@pytest.mark.parametrize(
    ("text", "resolved"),
    [
        ("below/here.csv", "below/here.csv"),
        ("./below/../below/here.csv", "below/here.csv"),
        ("not/there.csv", "not/there.csv"),
        (".", ""),
        ("a..b", "a..b"),
    ],
)
def test_a_path_below_the_root_becomes_absolute(root: Path, text: str, resolved: str) -> None:
    assert FilesRoot(root).resolve(text) == root.resolve() / resolved


def test_a_path_object_is_good_too(root: Path) -> None:
    assert FilesRoot(root).resolve(Path("below")) == root.resolve() / "below"


def test_a_link_that_stays_below_is_followed(root: Path) -> None:
    (root / "link.csv").symlink_to(root / "below" / "here.csv")

    assert FilesRoot(root).resolve("link.csv") == root.resolve() / "below" / "here.csv"


def test_the_root_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(root)

    assert FilesRoot(tmp_path / "current").resolve("below") == root.resolve() / "below"


def test_everything_is_below_the_root_of_the_file_system() -> None:
    assert FilesRoot(Path("/")).resolve("tmp/../nowhere.csv") == Path("/nowhere.csv")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("../outside.csv", "the path leads outside files_root"),
        ("below/../../outside.csv", "the path leads outside files_root"),
        ("not/there/../../../outside.csv", "the path leads outside files_root"),
        ("", "a path can't be empty"),
        ("/etc/passwd", "an absolute path is not allowed; give one relative to files_root"),
        ("a\0b", "a path can't have a NUL character in it"),
        ("\ud800", "the path can't be resolved"),
    ],
)
def test_a_path_that_leads_outside_is_refused(root: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FilesRoot(root).resolve(text)


def test_an_absolute_path_is_refused_even_if_it_is_below(root: Path) -> None:
    with pytest.raises(ValueError, match="absolute"):
        FilesRoot(root).resolve(root / "below" / "here.csv")


def test_a_neighbour_whose_name_begins_alike_is_outside(root: Path) -> None:
    (root.parent / "files-secret").mkdir()

    with pytest.raises(ValueError, match="outside"):
        FilesRoot(root).resolve("../files-secret")


@pytest.mark.parametrize("target", ["../outside.csv", "/etc"])
def test_a_link_that_leads_outside_is_refused(root: Path, target: str) -> None:
    (root / "link").symlink_to(target)

    with pytest.raises(ValueError, match="outside"):
        FilesRoot(root).resolve("link")


def test_a_folder_that_is_a_link_outside_is_refused(root: Path) -> None:
    (root / "etc").symlink_to("/etc")

    with pytest.raises(ValueError, match="outside"):
        FilesRoot(root).resolve("etc/passwd")


def test_a_loop_of_links_gives_no_way_out(root: Path) -> None:
    (root / "loop").symlink_to("loop")

    assert FilesRoot(root).resolve("loop/x") == root.resolve() / "loop" / "x"
    with pytest.raises(ValueError, match="outside"):
        FilesRoot(root).resolve("loop/../../outside.csv")


def test_without_a_root_no_path_is_good() -> None:
    with pytest.raises(ValueError, match="no files_root is configured"):
        FilesRoot(None).resolve("here.csv")


def test_a_file_that_can_not_be_read_is_resolved_for_it_is_not_opened(root: Path) -> None:
    closed = root / "closed"
    closed.write_text("x")
    closed.chmod(0)

    assert FilesRoot(root).resolve("closed") == root.resolve() / "closed"
