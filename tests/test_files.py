"""What is written is there as a whole, whenever the writing process dies."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from keras_initprune import files
from keras_initprune.files import check_writable, replacing, write_atomically
from keras_initprune.lab.claims import Claim

SOURCES = Path(files.__file__).parents[1]

posix = pytest.mark.skipif(os.name != "posix", reason="needs fork, links and locks")

# Runs `write()` in one process after another. The first dies at its first change of a
# file or folder, the second at its second, until one gets to its end.
KILLS = """
import json, os, signal, sys
from pathlib import Path

sys.path.insert(0, sys.argv[2])
from keras_initprune.files import replacing
from keras_initprune.lab.claims import Claim

CHANGES = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "ctypes.dlsym"}

def die_at(step):
    left = step
    def hook(event, arguments):
        nonlocal left
        if event not in CHANGES:
            return
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

def in_a_process(work, step=None):
    child = os.fork()
    if not child:
        if step:
            die_at(step)
        work()
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0

def killed_at_every_step(prepare, work, look):
    step, seen, finished = 0, [], False
    while not finished:
        step += 1
        prepare()
        finished = in_a_process(work, step)
        seen.append(None if finished else look())
    return seen[:-1]

folder = Path(sys.argv[1])
"""


def run_kills(code, folder):
    """Return what `code` prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", KILLS + textwrap.dedent(code), folder, SOURCES],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@posix
@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_the_old_or_the_new_one_is_there_at_every_step(kind, tmp_path):
    code = f"""
    kind = {kind!r}
    path = folder / "out"
    holder = folder / "target" if kind == "link" else path
    def content(where):
        return where / "content" if kind == "folder" else where
    def write(text):
        with replacing(path, is_ours=lambda folder: True) as temporary:
            if kind == "folder":
                temporary.mkdir()
            with content(temporary).open("w") as file:
                file.write(text)
    def prepare():
        if kind == "link" and not path.is_symlink():
            path.symlink_to(holder)
        write("old")
    def look():
        return [content(holder).read_text(), len(list(folder.iterdir()))]
    seen = killed_at_every_step(prepare, lambda: write("new"), look)
    write("last")
    print(json.dumps([seen, look()]))
    """
    seen, last = run_kills(code, tmp_path)
    texts = [text for text, _ in seen]
    assert len(texts) > 5
    assert texts == sorted(texts, reverse=True)
    assert {"old", "new"} == set(texts)
    # Whoever writes next removes what was left behind.
    count = 2 if kind == "link" else 1
    assert max(left for _, left in seen) == count + 1
    assert last == ["last", count]


@posix
@pytest.mark.parametrize("overwrite", [False, True])
def test_the_same_command_goes_on_after_every_step(overwrite, tmp_path):
    code = f"""
    paths = [folder / name for name in ("one", "two")]
    def command(settings="same", overwrite={overwrite}):
        with Claim(folder, "notes", settings, paths, overwrite) as claim:
            for path in paths:
                with claim.replacing(path) as temporary:
                    with temporary.open("w") as file:
                        file.write("new")
    def prepare():
        for path in paths:
            path.unlink(missing_ok=True)
            if {overwrite}:
                path.write_text("old")
    def look():
        before = [path.read_text() if path.exists() else "" for path in paths]
        if "new" in before:
            try:
                command("another", overwrite=False)
            except FileExistsError:
                pass
            else:
                raise AssertionError(before)
        command()
        assert [path.read_text() for path in paths] == ["new", "new"]
        assert len(list(folder.iterdir())) == 2
        return before
    print(json.dumps(killed_at_every_step(prepare, command, look)))
    """
    seen = run_kills(code, tmp_path)
    old = "old" if overwrite else ""
    assert [old, old] in seen
    assert ["new", old] in seen
    assert ["new", "new"] in seen


@posix
def test_two_that_write_the_same_file_do_not_meet(tmp_path):
    path = tmp_path / "note.txt"
    with replacing(path) as first:
        first.write_text("first")
        write_atomically(path, "second")
        assert path.read_text() == "second"
        assert first.read_text() == "first"
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


@posix
def test_a_claim_is_held_against_others(tmp_path):
    note = tmp_path / "note.txt"
    claim = Claim(tmp_path, "notes", "", [note], overwrite=True)
    with claim, pytest.raises(OSError, match="Another process is writing"), claim:
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_claim_notices_what_has_come_since(tmp_path):
    note = tmp_path / "note.txt"

    def command():
        with (
            Claim(tmp_path, "notes", "", [note], overwrite=False) as claim,
            claim.replacing(note) as temporary,
        ):
            temporary.write_text("new")
            note.write_text("mine")

    with pytest.raises(FileExistsError, match="--overwrite"):
        command()
    assert note.read_text() == "mine"


def test_what_failed_may_be_repeated_and_what_is_not_ours_stays(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"

    def command(fails):
        with Claim(tmp_path, "notes", "", [one, two], overwrite=False) as claim:
            for path in (one, two):
                with claim.replacing(path) as temporary:
                    temporary.write_text("new")
                    if fails and path == two:
                        raise RuntimeError

    with pytest.raises(RuntimeError):
        command(fails=True)
    two.write_text("mine")
    with pytest.raises(FileExistsError, match="two exists"):
        command(fails=False)
    assert two.read_text() == "mine"
    two.unlink()
    command(fails=False)
    assert sorted(tmp_path.iterdir()) == [one, two]


class TestWhatIsNotOursStays:
    def test_a_folder_with_anything_in_it(self, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "note.txt").write_text("mine")
        with pytest.raises(FileExistsError, match="folder of other files"):
            write_atomically(tmp_path / "out", "new")
        assert (tmp_path / "out" / "note.txt").read_text() == "mine"

    def test_a_folder_into_which_something_was_put_meanwhile(self, tmp_path):
        out = tmp_path / "out"

        def is_ours(folder):
            return not (folder / "note.txt").exists()

        def write():
            with replacing(out, is_ours) as temporary:
                temporary.mkdir()
                (temporary / "new").touch()
                (out / "note.txt").write_text("mine")

        out.mkdir()
        with pytest.raises(FileExistsError, match="folder of other files"):
            write()
        assert [path.name for path in out.iterdir()] == ["note.txt"]

    @posix
    def test_a_pipe(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(FileExistsError, match="is not a file"):
            write_atomically(tmp_path / "pipe", "new")
        assert (tmp_path / "pipe").is_fifo()

    @posix
    def test_what_a_link_of_our_name_points_to(self, tmp_path):
        other = tmp_path / "other"
        other.mkdir()
        (other / "note.txt").write_text("mine")
        out = tmp_path / "out"
        out.mkdir()
        (out / ".initprune-tmp-0").symlink_to(other)
        write_atomically(out / "file", "new")
        assert (other / "note.txt").read_text() == "mine"

    def test_checking_a_folder_leaves_nothing(self, tmp_path):
        check_writable(tmp_path)
        assert not list(tmp_path.iterdir())
