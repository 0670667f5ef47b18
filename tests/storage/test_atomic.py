"""Files are replaced whole, and a failed write leaves nothing behind."""

import os
import subprocess
import sys
import threading

import pytest

from stock_llm.storage.atomic import atomic_path, atomic_write, move_into_place


def test_content_is_replaced_and_folders_are_made(tmp_path):
    file = tmp_path / "new" / "note.txt"
    atomic_write(file, "ฉบับแรก")
    assert file.read_text("utf-8") == "ฉบับแรก"
    atomic_write(file, b"second")
    assert file.read_bytes() == b"second"
    assert [path.name for path in file.parent.iterdir()] == ["note.txt"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "note.txt"
    atomic_write(file, "old")
    with pytest.raises(ZeroDivisionError), atomic_path(file) as temporary:
        temporary.write_text("half")
        _ = 1 / 0
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_threads_of_one_process_do_not_share_a_temporary_name(tmp_path):
    file = tmp_path / "note.txt"
    texts = [str(number) * 100_000 for number in range(8)]
    threads = [threading.Thread(target=atomic_write, args=[file, text]) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.read_text() in texts
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_is_moved_as_a_whole(tmp_path):
    partial = tmp_path / "model.partial"
    (partial / "inner").mkdir(parents=True)
    (partial / "inner" / "weights").write_bytes(b"1")
    move_into_place(partial, tmp_path / "model")
    assert (tmp_path / "model" / "inner" / "weights").read_bytes() == b"1"


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    file = tmp_path / "note.txt"
    atomic_write(file, "old")
    code = (
        "import os, sys, pathlib\n"
        "from stock_llm.storage.atomic import atomic_path\n"
        "with atomic_path(pathlib.Path(sys.argv[1])) as path:\n"
        "    path.write_text('half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(file)], env=os.environ, check=False)
    assert killed.returncode == -9
    assert file.read_text() == "old"
