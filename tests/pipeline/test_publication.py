"""What is published is looked up: whatever a place lost is put back, bit for bit, and nobody is told otherwise."""

import os
import shutil

import pytest
from factories.parrot_gguf import write_parrot
from factories.ports import free_port
from factories.published_versions import published
from fakes.loopback_ollama import LoopbackOllama
from fakes.pulling import partials

from stock_llm import environment
from stock_llm.errors import InputError, PublishError
from stock_llm.ollama.client import connect
from stock_llm.ollama.distribution.consumer_keys import ConsumerKeys
from stock_llm.ollama.distribution.pull_log import FILE as PULLS
from stock_llm.ollama.distribution.pull_log import PullLog
from stock_llm.ollama.handover import hand_over
from stock_llm.ollama.modelfile import Modelfile
from stock_llm.ollama.store import OllamaStore
from stock_llm.pipeline.publication import lineage, places
from stock_llm.pipeline.publication.places import is_complete
from stock_llm.pipeline.publication.restoring import (
    move_champion,
    publish_again,
    roll_back,
)
from stock_llm.settings import load_settings

KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"


@pytest.fixture
def settings(tmp_path, ollama):
    return load_settings(home=tmp_path / "home", ollama_host=ollama.host, threads=1)


def folder(settings):
    return OllamaStore(settings.path(settings.ollama_store))


def absent(settings):
    """The same project with a server that was named and is not there."""
    return settings.model_copy(update={"ollama_host": f"127.0.0.1:{free_port()}"})


def test_a_server_gets_what_it_lacks_bit_for_bit_and_is_asked_one_question_again(
    settings, registry, ollama
):
    for number in (1, 2):
        published(settings, registry, number)
    registry.promote(settings, 2)
    assert not is_complete(settings, "stock-llm:v2")
    done = publish_again(settings)
    assert done == [
        f"stock-llm:v1 is at {ollama.host}",
        f"stock-llm:v2 is at {ollama.host}",
        f"stock-llm:latest is v2 at {settings.path(settings.ollama_store)}",
        f"stock-llm:latest is v2 at {ollama.host}",
    ]
    for name in ("stock-llm:v1", "stock-llm:v2", "stock-llm:latest"):
        assert ollama.store.read_manifest(name) == folder(settings).read_manifest(name)
    assert ollama.store.list_models() == folder(settings).list_models()
    assert ollama.store.verify() == []
    del ollama.requests[:]
    assert publish_again(settings) == []
    assert ollama.requests == ["GET /api/tags"]
    del ollama.requests[:]
    assert is_complete(settings, "stock-llm:v2")
    assert ollama.requests == ["GET /api/tags"]


def test_a_version_that_the_server_lost_is_put_back(settings, registry, ollama):
    published(settings, registry, 1)
    registry.promote(settings, 1)
    publish_again(settings)
    before = ollama.store.digest("stock-llm:v1")
    for name in ("stock-llm:v1", "stock-llm:latest"):
        ollama.store.delete(name)
    assert not is_complete(settings, "stock-llm:v1")
    assert len(publish_again(settings)) == 2
    assert ollama.store.digest("stock-llm:v1") == ollama.store.digest("stock-llm:latest") == before


def test_a_folder_that_was_lost_is_written_again_to_the_bit(settings, registry, capsys):
    settings = settings.model_copy(update={"ollama_host": ""})
    published(settings, registry, 1)
    published(settings, registry, 2)
    registry.promote(settings, 1)
    publish_again(settings)
    before = {name: folder(settings).read_manifest(name) for name in folder(settings).list_models()}
    shutil.rmtree(folder(settings).root)
    assert not is_complete(settings, "stock-llm:v2")
    publish_again(settings, 2)
    publish_again(settings)
    assert {name: folder(settings).read_manifest(name) for name in before} == before
    assert b"stock-llm.verdict" in before["stock-llm:v1"]
    assert folder(settings).verify() == []
    assert "stock-llm:v1 was lost at" in capsys.readouterr().err


def test_what_cannot_be_made_again_is_named(settings, registry):
    gguf = published(settings, registry, 1)
    shutil.rmtree(folder(settings).root)
    gguf.unlink()
    for lost in (1, 7):
        with pytest.raises(PublishError, match=f"stock-llm:v{lost} is not in .* own files"):
            publish_again(settings, lost)
        with pytest.raises(PublishError, match=f"stock-llm:v{lost} does not exist at"):
            roll_back(settings, lost)


def test_a_named_server_is_a_promise_and_the_default_one_none(
    settings, registry, monkeypatch, capsys
):
    published(settings, registry, 1)
    gone = absent(settings)
    assert places.open_places(gone).promised
    assert not is_complete(gone, "stock-llm:v1")
    with pytest.raises(PublishError, match=f"nobody answers at http://{gone.ollama_host}"):
        publish_again(gone)
    places.announce_absence(gone)
    assert "the setting ollama_host names" in capsys.readouterr().err
    monkeypatch.setenv("OLLAMA_HOST", gone.ollama_host)
    by_variable = load_settings(home=settings.home, threads=1)
    assert places.open_places(by_variable).promised
    places.announce_absence(by_variable)
    assert "which OLLAMA_HOST names" in capsys.readouterr().err
    monkeypatch.delenv("OLLAMA_HOST")
    monkeypatch.setitem(
        type(settings).model_fields, "ollama_host", type(settings).model_fields["ollama_host"]
    )
    default = load_settings(home=settings.home, threads=1)
    assert default.ollama_host == "http://127.0.0.1:11434"
    assert not default.ollama_is_named


def test_what_was_handed_over_before_counts_while_nobody_answers(
    settings, registry, ollama, capsys
):
    published(settings, registry, 1)
    publish_again(settings)
    ollama.__exit__()
    assert is_complete(settings, "stock-llm:v1")
    assert "not looked up whether it still has" in capsys.readouterr().err
    published(settings, registry, 2)
    assert not is_complete(settings, "stock-llm:v2")


def test_a_rollback_moves_every_place_that_answers_and_names_the_others(
    settings, registry, ollama, tmp_path
):
    for number in (1, 2):
        published(settings, registry, number)
    registry.promote(settings, 1)
    registry.promote(settings, 2)
    with LoopbackOllama(tmp_path / "elsewhere") as other:
        publish_again(settings)
        publish_again(settings, to=[other.host])
        ollama.store.delete("stock-llm:v1")  # lost: put back first
        assert roll_back(settings, 1) == (1, [])
        for place in (folder(settings), ollama.store, other.store):
            assert place.digest("stock-llm:latest") == place.digest("stock-llm:v1")
    number, missing = roll_back(settings)  # to the one that it replaced
    assert (number, missing) == (2, [f"nobody answers at {other.host}"])
    assert registry.champion(settings).number == 2
    assert ollama.store.digest("stock-llm:latest") == ollama.store.digest("stock-llm:v2")
    with pytest.raises(PublishError, match=f"nobody answers at {other.host}"):
        publish_again(settings)


def test_a_server_that_refuses_stops_neither_a_rollback_nor_the_other_places(
    settings, registry, ollama, tmp_path
):
    for number in (1, 2):
        published(settings, registry, number)
        registry.promote(settings, number)
    with LoopbackOllama(tmp_path / "elsewhere") as other:
        publish_again(settings)
        publish_again(settings, 2, to=[other.host])
        other.puller.fails_writing = "no space left on device"
        with pytest.raises(
            PublishError,
            match=r"the champion is v1, but not everywhere: Ollama at "
            rf"{other.host} would not pull .*no space left on device\. Make room there",
        ):
            move_champion(settings, 1, "rollback_reason", "it invents")
        assert registry.champion(settings).number == 1
        for place in (folder(settings), ollama.store):
            assert place.digest("stock-llm:latest") == place.digest("stock-llm:v1")
        assert other.store.digest("stock-llm:latest") == other.store.digest("stock-llm:v2")
        published(settings, registry, 3)
        with pytest.raises(
            PublishError, match=f"stock-llm:v3 is at {ollama.host}; .*no space left"
        ):
            publish_again(settings)  # the others get theirs
        other.puller.fails_writing = ""
        publish_again(settings)
        assert other.store.digest("stock-llm:latest") == other.store.digest("stock-llm:v1")
        assert other.store.list_models() == ollama.store.list_models()


def test_a_version_that_a_server_refuses_keeps_no_later_one_from_it(
    settings, registry, ollama, tmp_path
):
    for number in (1, 2):
        published(settings, registry, number)
    write_parrot(tmp_path / "other.gguf", "another model")
    ollama.store.write_model("stock-llm:v1", tmp_path / "other.gguf", Modelfile("./other.gguf"))
    with pytest.raises(PublishError, match=r"stock-llm:v1 exists at .* and is another model"):
        publish_again(settings)
    assert ollama.store.digest("stock-llm:v2") == folder(settings).digest("stock-llm:v2")


def test_without_a_champion_before_this_one_a_rollback_wants_a_number(settings, registry):
    published(settings, registry, 1)
    with pytest.raises(PublishError, match="there is no champion before this one"):
        roll_back(settings)


def test_a_server_that_cannot_reach_us_gets_the_files_which_is_told_and_remembered(
    settings, registry, ollama, capsys
):
    published(settings, registry, 1)
    ollama.cannot_pull = "pull model manifest: connect: connection refused"
    publish_again(settings)
    told = capsys.readouterr().err
    assert "connection refused. The files are uploaded instead" in told
    ours, theirs = folder(settings).digest("stock-llm:v1"), ollama.store.digest("stock-llm:v1")
    assert ours != theirs
    assert f"has the digest {theirs[:12]}, here {ours[:12]}" in told
    del ollama.requests[:]
    assert publish_again(settings) == []
    assert ollama.requests == ["GET /api/tags"]
    assert ollama.store.list_models() == ["stock-llm:v1"]


def test_the_same_weights_under_an_older_manifest_become_ours(settings, registry, ollama):
    gguf = published(settings, registry, 1)
    model = folder(settings).read_model("stock-llm:v1")
    ollama.store.write_model("stock-llm:v1", gguf, model.modelfile)  # as it was made by /api/create
    assert ollama.store.digest("stock-llm:v1") != folder(settings).digest("stock-llm:v1")
    publish_again(settings)
    assert ollama.store.digest("stock-llm:v1") == folder(settings).digest("stock-llm:v1")


def test_another_model_of_this_name_stays_as_it_is(settings, registry, ollama, tmp_path):
    gguf = published(settings, registry, 1)
    other = tmp_path / "other.gguf"
    other.write_bytes(gguf.read_bytes().replace(b"answer", b"replie"))
    model = folder(settings).read_model("stock-llm:v1")
    before = ollama.store.write_model("stock-llm:v1", other, model.modelfile)
    with pytest.raises(PublishError, match="is another model; a version is never overwritten"):
        publish_again(settings)
    assert ollama.store.digest("stock-llm:v1") == before


def test_a_pull_that_breaks_off_leaves_no_name_and_goes_on_where_it_was(settings, registry, ollama):
    published(settings, registry, 1, size=400_000)
    ollama.puller.cut_after = 150_000
    with pytest.raises(PublishError, match="max retries exceeded: unexpected EOF"):
        publish_again(settings)
    assert ollama.store.list_models() == []
    assert len(partials(ollama.store.root)) == 1
    (partial,) = (ollama.store.root / "blobs").glob("*-partial")
    there = partial.stat().st_size
    assert there > 150_000
    partial.write_bytes(
        b"?" * there
    )  # it is not asked for again: the digest tells that it is wrong
    ollama.puller.cut_after = None
    with pytest.raises(PublishError, match="digest mismatch"):
        publish_again(settings)
    publish_again(settings)
    assert ollama.store.verify() == []
    assert ollama.store.digest("stock-llm:v1") == folder(settings).digest("stock-llm:v1")


def test_names_that_a_kill_left_at_a_server_go_and_those_of_others_stay(settings, registry, ollama):
    gguf = published(settings, registry, 1)
    modelfile = folder(settings).read_model("stock-llm:v1").modelfile
    ours = ["stock-llm:staging", "127.0.0.1:4711/handover/stock-llm:v9"]
    others = ["127.0.0.1:11435/library/stock-llm:v9", "mine:staging"]
    for name in (*ours, *others):
        ollama.store.write_model(name, gguf, modelfile)
    publish_again(settings)
    assert ollama.store.list_models() == sorted([*others, "stock-llm:v1"])


def test_the_five_newest_the_champion_the_one_before_and_what_a_consumer_has_stay(
    settings, registry, ollama
):
    for number in range(1, 10):
        published(settings, registry, number)
    registry.promote(settings, 1)
    registry.promote(settings, 2)
    keys = ConsumerKeys(settings.secrets / "consumers")
    keys.add("office", f"ssh-ed25519 {KEY}")
    PullLog(settings.path(PULLS)).note("office", "v3", folder(settings).digest("stock-llm:v3"))
    done = publish_again(settings)
    left = ["latest", "v1", "v2", "v3", *(f"v{number}" for number in range(5, 10))]
    assert (
        folder(settings).list_models()
        == ollama.store.list_models()
        == [f"stock-llm:{tag}" for tag in left]
    )
    assert any(
        "stock-llm:v4 removed from" in sentence and "MB are left" in sentence for sentence in done
    )
    assert publish_again(settings) == []
    roll_back(settings, 4)  # made again from its own files
    assert ollama.store.digest("stock-llm:latest") == folder(settings).digest("stock-llm:v4")


def test_no_proxy_stands_before_this_machine(settings, registry, ollama, monkeypatch):
    published(settings, registry, 1)
    for scheme in ("http", "socks5"):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"{scheme}://127.0.0.1:{free_port()}")
        assert connect(ollama.host) is not None
        publish_again(settings)
    with pytest.raises(
        PublishError, match=r"http://gpu\.example:11434 cannot be asked through the proxy"
    ):
        for name in ("ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "socks9://127.0.0.1:1")
        connect("gpu.example")
    monkeypatch.setenv("NO_PROXY", "gpu.example")
    monkeypatch.setenv("no_proxy", "")
    environment.prepare()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "gpu.example,localhost,127.0.0.1,::1"


def test_an_id_leads_to_its_version_also_when_it_is_no_longer_published(settings, registry):
    settings = settings.model_copy(update={"ollama_host": ""})
    published(settings, registry, 1)
    digest = folder(settings).digest("stock-llm:v1")
    found = lineage.find(settings, digest[:12])
    assert (found.name, found.digest, found.is_latest) == ("stock-llm:v1", digest, False)
    assert "verdict" in lineage.describe(found)
    shutil.rmtree(folder(settings).root)
    assert lineage.find(settings, digest[:12]) == found
    with pytest.raises(InputError, match="0 versions have an ID that begins with 0000"):
        lineage.find(settings, "0000")
    with pytest.raises(InputError, match="'latest' is no ID"):
        lineage.find(settings, "latest")


def test_a_version_that_is_not_in_the_folder_is_not_handed_over(settings, ollama):
    with pytest.raises(PublishError, match="there is no model stock-llm:v1"):
        hand_over(folder(settings), connect(ollama.host), "stock-llm:v1")


def test_a_lost_version_whose_modelfile_was_changed_since_is_not_written(
    settings, registry, capsys
):
    gguf = published(settings, registry, 1)
    before = folder(settings).read_manifest("stock-llm:v1")
    modelfile = gguf.with_name("Modelfile")
    unchanged = modelfile.read_text()
    modelfile.write_text(unchanged.replace("num_predict 8", "num_predict 9"))
    shutil.rmtree(folder(settings).root)
    with pytest.raises(PublishError, match="cannot be made from its own files"):
        publish_again(settings, 1)
    assert "stock-llm:v1 would not be what was published: params changed" in capsys.readouterr().err
    assert folder(settings).list_models() == []
    modelfile.write_text(unchanged)
    publish_again(settings, 1)
    assert folder(settings).read_manifest("stock-llm:v1") == before


def test_no_version_is_removed_while_it_is_not_known_what_consumers_have(settings, registry):
    settings = settings.model_copy(update={"ollama_host": ""})
    for number in range(1, 8):
        published(settings, registry, number)
    log = PullLog(settings.path(PULLS))
    log.note("office", "v1", "a" * 64)
    whole = log.file.read_text()
    log.file.write_text(whole.replace("office", "orifice"))
    (done,) = publish_again(settings)
    assert "no version was removed" in done
    assert len(folder(settings).list_models()) == 7
    log.note("home", "v2", "b" * 64)  # must not replace what may still be mended
    assert log.file.read_text() == whole.replace("office", "orifice")


def test_a_kill_before_a_new_manifest_was_noted_leaves_it_protected(settings, registry):
    gguf = published(settings, registry, 1)
    store = folder(settings)
    (store.root / "stock-llm.json").unlink()
    model = store.read_model("stock-llm:v1")
    store.write_model("stock-llm:v1", gguf, model.modelfile, replace=False)
    (manifest,) = (store.root / "manifests").glob("*/*/stock-llm/v1")
    manifest.write_bytes(manifest.read_bytes().replace(b'"promote"', b'"checked"'))
    assert "has other bytes" in store.find_damage("stock-llm:v1")
