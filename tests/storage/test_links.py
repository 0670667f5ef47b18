from stock_llm.storage.links import link_or_copy


def test_what_a_kill_left_at_the_target_is_replaced_and_not_written_into(tmp_path):
    source, target, other = (tmp_path / name for name in ("source", "target", "other"))
    source.write_bytes(b"whole")
    other.write_bytes(b"half")
    target.hardlink_to(other)
    link_or_copy(source, target)
    assert target.read_bytes() == b"whole"
    assert other.read_bytes() == b"half"
