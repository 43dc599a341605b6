"""What is installed from a wheel works by itself: in a bare environment, away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from conftest import PATIENCE_S, ROOT, need_tracer

pytestmark = pytest.mark.full


def run(*words: object, cwd: Path) -> str:
    """What it prints; it knows nothing of this checkout and of who runs the tests."""
    ours = ("PYTHONPATH", "VIRTUAL_ENV")
    environment = {name: word for name, word in os.environ.items() if name not in ours}
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=4 * PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare environment with coldseek and what it asks for; nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
    run(*pip, "wheel", ROOT, "--no-deps", "-w", folder, cwd=folder)
    (wheel,) = folder.glob("coldseek-*.whl")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    run(folder / "venv/bin/pip", "--disable-pip-version-check", "-q", "install",
        "-c", ROOT / "constraints.txt", wheel, cwd=folder)  # fmt: skip
    return folder / "venv"


def test_the_command_works_away_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    need_tracer("ptrace")
    coldseek = installed / "bin" / "coldseek"
    assert run(coldseek, "--version", cwd=tmp_path).startswith("coldseek ")
    (tmp_path / "file").write_text("words\n" * 20_000)
    where = "cat.trace.parquet"
    run(coldseek, "record", "--tracer", "ptrace", "-o", where, "--", "cat", "file", cwd=tmp_path)
    assert "cat file" in run(coldseek, "report", where, "--full", cwd=tmp_path)
    run(coldseek, "report", where, "--format", "html", "-o", "page.html", cwd=tmp_path)
    assert (tmp_path / "page.html").stat().st_size > 20_000
    run(coldseek, "plot", where, "-o", "offsets.png", cwd=tmp_path)
    assert (tmp_path / "offsets.png").read_bytes().startswith(b"\x89PNG")
    assert "hdd-7200" in run(coldseek, "project", where, cwd=tmp_path)


def test_the_library_works_and_has_its_types(installed: Path, tmp_path: Path) -> None:
    program = "import coldseek, os; print(os.path.exists(os.path.join(coldseek.__path__[0], 'py.typed')))"
    assert run(installed / "bin/python", "-c", program, cwd=tmp_path) == "True\n"


def test_the_manual_page_is_where_man_looks(installed: Path) -> None:
    assert ".TH COLDSEEK 1" in (installed / "share/man/man1/coldseek.1").read_text()


def test_the_source_archive_holds_what_setup_needs(tmp_path: Path) -> None:
    """It is built from the checkout's files, by the same back end."""
    program = "import hatchling.build, os; os.chdir({!r}); hatchling.build.build_sdist({!r})"
    environment = tmp_path / "venv"
    run(sys.executable, "-m", "venv", environment, cwd=tmp_path)
    pip = (environment / "bin/pip", "--disable-pip-version-check", "-q", "install")
    run(*pip, "-c", ROOT / "constraints.txt", "hatchling", cwd=tmp_path)
    run(environment / "bin/python", "-c", program.format(str(ROOT), str(tmp_path)), cwd=tmp_path)
    (archive,) = tmp_path.glob("coldseek-*.tar.gz")
    with tarfile.open(archive) as files:
        names = {name.partition("/")[2] for name in files.getnames()}
    for needed in ("pyproject.toml", "constraints.txt", "Makefile", "scripts/setup", "README.md", "LICENSE",
                   "profiler/__init__.py", "docs/coldseek.1", "action.yml"):  # fmt: skip
        assert needed in names, needed


def test_the_book_is_built_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    """`make docs`, in a copy of the checkout, with a bare environment."""
    book = tmp_path / "checkout"
    book.mkdir()
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "mkdocs.yml"):
        shutil.copy(ROOT / name, book)
    pages = book / "build" / "book"
    shutil.copytree(ROOT / "docs", pages / "docs")
    shutil.copytree(ROOT / "examples", pages / "examples")
    for page in book.glob("*.md"):
        shutil.copy(page, pages)
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    pip = (tmp_path / "venv/bin/pip", "--disable-pip-version-check", "-q", "install")
    run(*pip, "-c", ROOT / "constraints.txt", "mkdocs-material", cwd=tmp_path)
    run(tmp_path / "venv/bin/mkdocs", "build", "--strict", "--quiet", cwd=book)
    assert "Cold" in (book / "site/index.html").read_text()
    for name in ("commands", "help", "ci"):
        assert (book / "site/docs" / name / "index.html").stat().st_size > 5000
    assert 'id="what---verify-does"' in (book / "site/docs/advise/index.html").read_text()
