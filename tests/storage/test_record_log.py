"""A file of records that is written by processes that may be killed."""

import pytest

from stock_llm.storage.record_log import RecordLog

RECORDS = [{"key": "a", "text": "ราคา\n1"}, {"key": "b", "text": ""}, {"key": "c", "number": 0.1}]


@pytest.fixture
def file(tmp_path):
    log = RecordLog(tmp_path / "new" / "answers.jsonl")
    for record in RECORDS:
        log.append(record)
    return log.path


def test_what_was_appended_is_read_again(file):
    assert RecordLog(file).records == RECORDS


def test_a_file_that_ends_anywhere_loses_its_last_line_at_most(file, capsys):
    whole = file.read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    for size in range(len(whole) + 1):
        file.write_bytes(whole[:size])
        log = RecordLog(file)
        assert log.records == RECORDS[: sum(end <= size for end in ends)]
        log.append(RECORDS[2])  # what was broken off does not break what comes after it
        assert RecordLog(file).records == log.records
    assert "1 damaged line(s) are dropped" in capsys.readouterr().err


def test_a_line_with_another_byte_is_dropped_and_the_rest_kept(file, capsys):
    damaged = file.read_bytes().replace(b'"b"', b'"B"')
    file.write_bytes(damaged + b"[1]\nnull\n\xff\n")
    assert RecordLog(file).records == [RECORDS[0], RECORDS[2]]
    assert "4 damaged line(s) are dropped" in capsys.readouterr().err
    assert RecordLog(file).records == [RECORDS[0], RECORDS[2]]
    assert capsys.readouterr().err == ""
