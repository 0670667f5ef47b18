"""An archive is refused whatever is wrong with it, and nothing of it is left behind."""

import hashlib
import json
import stat
import zipfile

import pytest

from stock_llm.errors import InputError
from stock_llm.transfer import archive
from stock_llm.transfer.archive import MANIFEST, kind_of, open_archive, write_archive

ROWS = b'{"row": 1}\n' * 200


@pytest.fixture
def files(tmp_path):
    (tmp_path / "rows").write_bytes(ROWS)
    (tmp_path / "weights").write_bytes(bytes(range(256)))
    return {"train.jsonl": tmp_path / "rows", "base/model.safetensors": tmp_path / "weights"}


@pytest.fixture
def written(files, tmp_path):
    path = tmp_path / "bundle.zip"
    write_archive(path, "bundle", {"seed": 7}, files)
    return path


def unpacked(path, folder, kind="bundle"):
    with open_archive(
        path, kind, lambda name: name in ("train.jsonl", "base/model.safetensors")
    ) as opened:
        for name in opened.files:
            opened.extract(name, folder / name)
        return opened.content


def entry(data: bytes, **given):
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} | given


def handmade(path, entries, manifest_files, kind="bundle", number=archive.FORMAT):
    """An archive as somebody else may write it: `entries` are (name or ZipInfo, bytes)."""
    manifest = {"format": number, "kind": kind, "content": {}, "files": manifest_files}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(MANIFEST, json.dumps(manifest))
        for name, data in entries:
            made.writestr(name, data)
    return path


def test_what_was_written_is_read_and_the_same_content_gives_the_same_bytes(
    written, files, tmp_path
):
    assert kind_of(written) == "bundle"
    assert unpacked(written, tmp_path / "out") == {"seed": 7}
    assert (tmp_path / "out/train.jsonl").read_bytes() == ROWS
    assert (tmp_path / "out/base/model.safetensors").read_bytes() == bytes(range(256))

    again = tmp_path / "again.zip"
    for file in files.values():
        file.touch()
    write_archive(again, "bundle", {"seed": 7}, dict(reversed(files.items())))
    assert again.read_bytes() == written.read_bytes()


def test_a_write_that_fails_leaves_the_archive_that_was_there(written, files, monkeypatch):
    before = written.read_bytes()
    files["train.jsonl"].write_bytes(b"other")
    monkeypatch.setattr(archive, "CHUNK", "no number")
    with pytest.raises(TypeError):
        write_archive(written, "bundle", {}, files)
    assert written.read_bytes() == before
    assert not list(written.parent.glob(".*.tmp"))


@pytest.mark.parametrize(
    "name",
    ["../train.jsonl", "/etc/passwd", "base/../../x", "base\\..\\x", ".env", "train.jsonl/"],
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, name):
    path = handmade(tmp_path / "x.zip", [(name, b"x")], {name: entry(b"x")})
    with pytest.raises(InputError):
        unpacked(path, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "train.jsonl").exists()


def test_a_file_without_a_name_is_refused(tmp_path):
    """Python cuts names at a zero byte."""
    path = handmade(tmp_path / "x.zip", [("qqqq", b"x")], {"qqqq": entry(b"x")})
    raw = path.read_bytes()
    assert raw.count(b"qqqq") == 2
    path.write_bytes(raw.replace(b"qqqq", b"\0qqq"))
    with pytest.raises(InputError, match="no plain file"):
        unpacked(path, tmp_path / "out")


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_other_things_that_are_no_files_are_refused(tmp_path, mode):
    link = zipfile.ZipInfo("train.jsonl")
    link.external_attr = (mode | 0o777) << 16
    path = handmade(
        tmp_path / "x.zip", [(link, b"/etc/passwd")], {"train.jsonl": entry(b"/etc/passwd")}
    )
    with pytest.raises(InputError, match="no plain file"):
        unpacked(path, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("entries", "manifest", "problem"),
    [
        ([("train.jsonl", b"a")], {}, "not those of its manifest"),
        ([], {"train.jsonl": entry(b"a")}, "not those of its manifest"),
        (
            [("train.jsonl", b"a"), ("train.jsonl", b"b")],
            {"train.jsonl": entry(b"a")},
            "not those of its manifest",
        ),
        ([(MANIFEST, b"{}")], {}, "not those of its manifest|damaged"),
        ([("train.jsonl", b"ab")], {"train.jsonl": entry(b"a")}, "another size"),
        ([("train.jsonl", b"b")], {"train.jsonl": entry(b"a")}, "other bytes"),
        ([("train.jsonl", b"a")], {"train.jsonl": entry(b"a", sha256="00")}, "damaged"),
        ([("train.jsonl", b"a")], {"train.jsonl": entry(b"a", bytes=-1)}, "damaged"),
        ([("train.jsonl", b"a")], {"train.jsonl": entry(b"a", mode=4095)}, "damaged"),
        ([("more.pkl", b"a")], {"more.pkl": entry(b"a")}, "does not belong"),
    ],
)
def test_files_that_are_not_those_of_the_manifest_are_refused(tmp_path, entries, manifest, problem):
    path = handmade(tmp_path / "x.zip", entries, manifest)
    with pytest.raises(InputError, match=problem):
        unpacked(path, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_another_kind_and_another_format_are_told(tmp_path):
    with pytest.raises(InputError, match="no bundle but 'adapter'"):
        unpacked(handmade(tmp_path / "x.zip", [], {}, kind="adapter"), tmp_path)
    with pytest.raises(InputError, match="one version of this program"):
        unpacked(handmade(tmp_path / "y.zip", [], {}, number=99), tmp_path)


def test_no_more_is_read_than_the_manifest_states(tmp_path):
    """A header that promises one byte, before ten megabytes of zeros."""
    path = handmade(
        tmp_path / "bomb.zip", [("train.jsonl", bytes(10 << 20))], {"train.jsonl": entry(b"\0")}
    )
    raw = path.read_bytes()
    size = (10 << 20).to_bytes(4, "little")
    assert raw.count(size) >= 2
    path.write_bytes(raw.replace(size, (1).to_bytes(4, "little")))
    with pytest.raises(InputError):
        unpacked(path, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.jsonl"))

    with zipfile.ZipFile(tmp_path / "large.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(MANIFEST, b" " * (archive.LARGEST_MANIFEST + 1))
    with pytest.raises(InputError, match="larger than 16 MiB"):
        kind_of(tmp_path / "large.zip")


def test_every_cut_and_every_flipped_byte_is_noticed(written, files, tmp_path):
    whole = written.read_bytes()
    damaged = tmp_path / "damaged.zip"
    for cut in range(0, len(whole), 37):
        damaged.write_bytes(whole[:cut])
        with pytest.raises(InputError):
            unpacked(damaged, tmp_path / f"cut{cut}")
    for place in range(0, len(whole), 7):
        damaged.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        out = tmp_path / f"flip{place}"
        try:  # a date or a hint that nothing reads may differ
            content = unpacked(damaged, out)
        except InputError:
            continue
        assert content == {"seed": 7}
        assert {name: (out / name).read_bytes() for name in files} == {
            name: file.read_bytes() for name, file in files.items()
        }


def test_a_folder_is_not_written_over(files, tmp_path):
    with pytest.raises(InputError, match="this is a folder"):
        write_archive(tmp_path, "bundle", {}, files)


def test_what_is_no_archive_is_told(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        kind_of(tmp_path / "none.zip")
    (tmp_path / "text.zip").write_text("not an archive")
    with pytest.raises(InputError, match="damaged"):
        kind_of(tmp_path / "text.zip")
    with zipfile.ZipFile(tmp_path / "foreign.zip", "w") as made:
        made.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match="no archive of `stock-llm finetune`"):
        kind_of(tmp_path / "foreign.zip")
