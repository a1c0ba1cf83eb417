"""What the README shows runs as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text()
BLOCKS = re.findall(r"```(python|text)\n(.*?)```", TEXT, re.DOTALL)


def test_it_is_read_in_minutes():
    assert len(TEXT.splitlines()) <= 140


def test_the_example_runs_as_it_stands_and_prints_what_is_shown(tmp_path):
    [(_, example), (_, shown)] = BLOCKS
    done = subprocess.run(
        [sys.executable, "-c", example],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sparse.keras").exists()
    printed = done.stdout
    # What lies on a path and what is recognised depends on the machine a little.
    for rows in zip(table(printed), table(shown), strict=True):
        assert rows[0][:-1] == rows[1][:-1]
    for text in (printed, shown):
        assert float(re.search(r"Recognised: ([\d.]+)%", text)[1]) > 80


def table(text):
    """Return the words of the lines that have a sparsity."""
    return [line.split() for line in text.splitlines() if re.search(r"\d%  ", line)]


def test_the_commands_are_two():
    commands = re.findall(r"```bash\n(.*?)\n```", TEXT, re.DOTALL)
    assert len(commands) == 2


PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md"]
LINKS = [
    link
    for page in PAGES
    for link in re.findall(r"\]\((?!http)([^)]+)\)", (README.parent / page).read_text())
]


@pytest.mark.parametrize("link", sorted(set(LINKS)))
def test_links_lead_somewhere(link):
    name, _, anchor = link.partition("#")
    target = README.parent / name
    assert target.exists()
    if anchor:
        titles = re.findall("^#+ (.+)$", target.read_text(), re.MULTILINE)
        assert anchor in [title.lower().replace(" ", "-") for title in titles]
