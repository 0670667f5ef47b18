"""Publishing: what is asked is what was published, `:latest` and the champion move together, and nothing half-done is left."""

import itertools
import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from conftest import RECORDED
from factories.parrot_gguf import write_parrot, write_parrot_lora
from fakes.champion_file import Champion, ChampionFile, install, put_in_place
from fakes.loopback_ollama import LoopbackOllama

from stock_llm.artifacts import Adapter, Candidate, Dataset, Scorecard, Version
from stock_llm.errors import InputError, PublishError
from stock_llm.llm import prompts
from stock_llm.llm.prompt_formats import MISTRAL_V3
from stock_llm.market.situation import Situation
from stock_llm.ollama.client import connect
from stock_llm.ollama.modelfile import parse_modelfile
from stock_llm.ollama.publish_target import StoreTarget
from stock_llm.ollama.store import OllamaStore
from stock_llm.pipeline import registry as real_registry
from stock_llm.pipeline.publication.restoring import publish_again, roll_back
from stock_llm.settings import load_settings
from stock_llm.skills import analyse, explain, signal
from stock_llm.skills.decision_point import BaseRates, DecisionPoint
from stock_llm.skills.row import write_rows
from stock_llm.storage.checksums import file_sha256, model_sha256
from tasks import publish as stage

SITUATION = Situation(
    "ORCA", "2025-03-14", 104.2, 101.35, 99.1, 58.3, 0.84, 0.61, 2.1, 97.2, 105.5, 1.2, 98.4, 106.0
)
MOMENT = DecisionPoint(
    SITUATION, "BUY", "2025-03-17", "2025-03-28", {"kind": "day", "ref": "ORCA 2025-03-14"}
)
ROW = signal.row(MOMENT, BaseRates([MOMENT]), "en", 0)
PROMPT = MISTRAL_V3.render(prompts.messages(ROW.instruction, ROW.input))
PROFILE = (Path(__file__).parents[2] / "models" / "profiles" / "stock-tiny.toml").read_text()


@pytest.fixture(autouse=True)
def registry(monkeypatch, tmp_path):
    return install(monkeypatch, tmp_path / "champion")


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "models" / "profiles").mkdir(parents=True)
    (tmp_path / "models" / "profiles" / "stock-tiny.toml").write_text(PROFILE)
    return load_settings(home=tmp_path, ollama_host="", threads=1)


TABLE = {"base": {"score": 0.2}, "challenger": {"score": 0.71234}}


@pytest.fixture
def served(settings, tmp_path):
    with LoopbackOllama(tmp_path / "served") as ollama:
        yield ollama, settings.model_copy(update={"ollama_host": ollama.host})


def artifact(kind, **known):
    return kind(**{**dict.fromkeys(kind.__dataclass_fields__), **known})


@pytest.fixture
def made(tmp_path):
    """A function: what the earlier stages hand on about version `number`, whose model answers `says` to everything."""
    rows = [
        explain.row(SITUATION, "RSI14", "en", 0),
        analyse.row(MOMENT, BaseRates([MOMENT]), "en", 0),
        ROW,
    ]
    write_rows(rows, tmp_path / "holdout.jsonl")

    def make(number, answer=ROW.output, verdict="promote", champion=None, has_lora=False):
        folder = tmp_path / f"candidate{number}"
        folder.mkdir(exist_ok=True)
        gguf, lora = folder / "stock-llm.gguf", None
        if has_lora:
            write_parrot(gguf, "I am the base", others=[answer])
            lora = write_parrot_lora(folder / "stock-llm-lora.gguf", 1, 1)
        else:
            write_parrot(gguf, answer, name=f"number {number}")
        return (
            artifact(Dataset, holdout=tmp_path / "holdout.jsonl", digest=f"dataset{number}"),
            artifact(
                Adapter, digest=f"adapter{number}", base_digest="b" * 16, profile="stock-tiny"
            ),
            artifact(
                Candidate,
                digest=f"candidate{number}",
                folder=folder,
                gguf=gguf,
                gguf_sha256=model_sha256(gguf, lora),
                quantization="F32",
                lora=lora,
            ),
            artifact(Scorecard, folder=folder, verdict=verdict, champion=champion, table=TABLE),
            artifact(Version, number=number, run_id=f"run{number}"),
        )

    return make


def publish(settings, parts):
    return stage.publish.fn(settings, *parts)


def store_of(settings):
    return OllamaStore(settings.path(settings.ollama_store))


def latest(settings):
    return store_of(settings).digest("stock-llm:latest")


def test_a_promoted_version_is_published_asked_and_made_latest(settings, made, registry):
    parts = made(1)
    release = publish(settings, parts)
    store = store_of(settings)
    assert (
        release.names
        == ["stock-llm:v1", "stock-llm:latest"]
        == sorted(store.list_models(), reverse=True)
    )
    assert release.where == str(store.root)
    assert (
        set(release.manifests.values())
        == {store.digest("stock-llm:v1")}
        == {store.digest("stock-llm:latest")}
    )
    assert (release.smoke_prompt, release.smoke_answer) == (PROMPT, ROW.output)
    assert 0 < release.smoke_seconds < 30
    assert (release.promoted, release.reasons, registry.champion(settings)) == (
        True,
        [],
        Champion(1),
    )
    assert store.verify() == []

    gguf = parts[2].gguf
    model = store.read_model("stock-llm")
    assert model.gguf.read_bytes() == gguf.read_bytes()
    modelfile = parse_modelfile(gguf.with_name("Modelfile").read_text())
    assert modelfile.from_ == "./stock-llm.gguf"
    assert replace(modelfile, from_=str(model.gguf)) == model.modelfile
    assert model.modelfile.template == MISTRAL_V3.go
    assert model.modelfile.parameters == {
        "temperature": 0,
        "num_ctx": 1024,
        "num_predict": 320,
        "stop": MISTRAL_V3.stop,
    }
    assert model.modelfile.license == ("Apache-2.0",)


def test_the_licence_that_came_with_the_base_is_published(settings, made):
    folder = settings.path("models/stock-tiny")
    folder.mkdir()
    (folder / "LICENSE").write_text("Apache License\nwhole text\n")
    publish(settings, made(1))
    assert store_of(settings).read_model("stock-llm").modelfile.license == (
        "Apache License\nwhole text\n",
    )


def test_a_version_says_where_it_comes_from_and_names_no_folder_user_or_machine(
    settings, made, monkeypatch, tmp_path
):
    monkeypatch.setattr("socket.gethostname", lambda: "canary-host")
    for name in ("USER", "LOGNAME", "HOME", "HOSTNAME"):
        monkeypatch.setenv(name, f"canary-{name}")
    publish(settings, made(1))
    store = store_of(settings)
    notes = store.annotations("stock-llm:v1")
    created = notes.pop("org.opencontainers.image.created")
    assert created.endswith("+00:00")
    assert notes == {
        "org.opencontainers.image.title": "stock-llm",
        "org.opencontainers.image.version": "v1",
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.base.name": "stock-tiny",
        "stock-llm.base": "b" * 16,
        "stock-llm.dataset": "dataset1",
        "stock-llm.adapter": "adapter1",
        "stock-llm.candidate": "candidate1",
        "stock-llm.quantization": "F32",
        "stock-llm.run": "run1",
        "stock-llm.verdict": "promote",
        "stock-llm.score": "0.7123",
    }
    for file in store.root.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert b"canary" not in content
            assert str(tmp_path).encode() not in content


@pytest.mark.parametrize("verdict", ["keep", "reject"])
def test_a_version_that_was_not_promoted_is_listed_and_no_more(settings, made, registry, verdict):
    publish(settings, made(1))
    before = latest(settings)
    release = publish(settings, made(2, verdict=verdict, champion=1))
    assert release.names == ["stock-llm:v2"]
    assert release.reasons == [f"the verdict is '{verdict}': stock-llm:latest stays"]
    assert not release.promoted
    assert latest(settings) == before == store_of(settings).digest("stock-llm:v1")
    assert registry.champion(settings).number == 1


UNGROUNDED = ROW.output.replace("99.10", "99.77")
NONSENSE = "Buy! To the moon."


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (NONSENSE, "the answer is not in the format"),
        (UNGROUNDED, "numbers of the answer are not in the question"),
    ],
)
def test_a_failed_smoke_prompt_leaves_latest_and_champion(settings, made, registry, answer, fault):
    assert ROW.output != UNGROUNDED
    publish(settings, made(1))
    before = latest(settings)
    with pytest.raises(PublishError) as error:
        publish(settings, made(2, answer=answer, champion=1))
    assert str(error.value).startswith("stock-llm:v2 failed the smoke prompt (")
    assert fault in str(error.value)
    assert answer.splitlines()[0] in str(error.value)
    assert (latest(settings), registry.champion(settings).number) == (before, 1)
    assert "stock-llm:v2" in store_of(settings).list_models()


def test_a_rejected_version_may_fail_the_smoke_prompt(settings, made):
    release = publish(settings, made(1, answer=NONSENSE, verdict="reject"))
    assert release.reasons == [
        "smoke prompt: the answer is not in the format",
        "the verdict is 'reject': stock-llm:latest stays",
    ]
    assert release.smoke_answer == NONSENSE


def test_the_published_template_is_what_is_asked_through(settings, made, monkeypatch):
    monkeypatch.setitem(vars(MISTRAL_V3), "go", MISTRAL_V3.go.replace("[/INST]", " [/INST]"))
    with pytest.raises(
        PublishError, match="the published template renders another prompt than training saw"
    ):
        publish(settings, made(1))


def test_publishing_again_changes_nothing_and_asks_nothing(settings, made, monkeypatch):
    parts = made(1)
    first = publish(settings, parts)
    files = {
        path: path.stat().st_mtime_ns for path in settings.path(settings.ollama_store).rglob("*")
    }
    monkeypatch.setattr(StoreTarget, "ask", None)
    assert publish(settings, parts) == first
    assert {
        path: path.stat().st_mtime_ns for path in settings.path(settings.ollama_store).rglob("*")
    } == files


def test_a_rollback_moves_both_and_is_not_undone_by_running_again(settings, made, registry):
    publish(settings, made(1))
    parts = made(2, champion=1)
    assert publish(settings, parts).promoted
    roll_back(settings, 1)
    assert latest(settings) == store_of(settings).digest("stock-llm:v1")
    assert registry.champion(settings).number == 1
    again = publish(settings, parts)
    assert (again.promoted, again.names) == (False, ["stock-llm:v2"])
    assert latest(settings) == store_of(settings).digest("stock-llm:v1")
    roll_back(settings, 2)
    assert latest(settings) == store_of(settings).digest("stock-llm:v2")
    assert publish(settings, parts).promoted


def test_a_rollback_is_not_undone_where_the_run_was_killed_before_it_noted_the_release(
    settings, made, registry, monkeypatch
):
    publish(settings, made(1))
    parts = made(2, champion=1)
    assert killed_in(lambda: publish(settings, parts), monkeypatch, stage, "write_record", 0)
    assert registry.champion(settings).number == 2
    roll_back(settings, 1)
    for release in (publish(settings, parts), publish(settings, parts)):
        assert not release.promoted
        assert release.reasons == [
            "v1 became champion in its place: stock-llm:latest stays. To make it the champion "
            "again: stock-llm promote 2"
        ]
    assert latest(settings) == store_of(settings).digest("stock-llm:v1")
    roll_back(settings, 2)
    assert publish(settings, parts).promoted


def test_a_further_server_that_refuses_is_told_and_stops_no_run(
    served, made, registry, tmp_path, capsys
):
    ollama, settings = served
    publish(settings, made(1))
    with LoopbackOllama(tmp_path / "elsewhere") as other:
        publish_again(settings, to=[other.host])
        other.puller.fails_writing = "no space left on device"
        assert publish(settings, made(2, champion=1)).promoted
        told = capsys.readouterr().err
        assert f"Ollama at {other.host} would not pull" in told
        assert "no space left on device. Make room there" in told
        assert registry.champion(settings).number == 2
        assert ollama.store.digest("stock-llm") == ollama.store.digest("stock-llm:v2")
        other.puller.fails_writing = ""
        publish_again(settings)
        assert other.store.digest("stock-llm") == ollama.store.digest("stock-llm")


def test_only_what_is_published_can_be_rolled_back_to(settings, made, registry):
    publish(settings, made(1))
    with pytest.raises(PublishError, match="stock-llm:v7 does not exist"):
        roll_back(settings, 7)
    assert registry.champion(settings).number == 1


def killed_in(work, monkeypatch, owner, name, number):
    """Run `work` in a process that dies, without any clean-up, at its nth call of `owner.name`; whether it died."""
    child = os.fork()
    if child == 0:
        calls = itertools.count()
        real = getattr(owner, name)
        monkeypatch.setattr(
            owner, name, lambda *args: os._exit(9) if next(calls) == number else real(*args)
        )
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_a_kill_at_any_step_is_repaired_by_the_next_run(settings, made, registry, monkeypatch):
    """Die at each rename (weights, manifest, Modelfile, latest, record) and before each of the two moves; then run again."""
    publish(settings, made(1))
    before = latest(settings)
    points = [(Path, "replace", nth) for nth in range(11)] + [
        (ChampionFile, "promote", 0),
        (OllamaStore, "tag", 0),
    ]
    for number, point in enumerate(points, start=2):
        roll_back(settings, 1)
        parts = made(number, champion=1)
        assert killed_in(lambda parts=parts: publish(settings, parts), monkeypatch, *point), point
        store = store_of(settings)
        assert store.verify() == []
        assert latest(settings) in (before, store.digest(f"stock-llm:v{number}"))
        release = publish(settings, parts)
        assert release.promoted
        assert latest(settings) == release.manifests[f"stock-llm:v{number}"] != before
        assert registry.champion(settings).number == number
        assert store.verify() == []


def test_the_next_publication_makes_latest_follow_the_alias(settings, made, registry):
    publish(settings, made(1))
    publish(settings, made(2, verdict="keep", champion=1))
    registry.promote(settings, 2)  # as after a kill between the two moves
    publish(settings, made(3, verdict="reject", champion=2))
    assert latest(settings) == store_of(settings).digest("stock-llm:v2")


def test_a_champion_that_was_promoted_meanwhile_is_not_replaced(settings, made, registry):
    publish(settings, made(1))
    publish(settings, made(2, champion=1))
    release = publish(settings, made(3, champion=1))
    assert not release.promoted
    assert release.reasons == [
        "v2 became champion after this was judged: stock-llm:latest stays. Run again to be judged against it"
    ]
    assert registry.champion(settings).number == 2


def test_a_version_is_never_overwritten(settings, made):
    publish(settings, made(1))
    before = latest(settings)
    with pytest.raises(PublishError, match="is another model; a version is never overwritten"):
        *others, version = made(2)
        publish(settings, (*others, replace(version, number=1)))
    assert latest(settings) == before


def test_a_gguf_that_is_not_the_judged_one_is_refused(settings, made):
    parts = made(1)
    write_parrot(parts[2].gguf, "something else")
    with pytest.raises(PublishError, match="was changed after it was judged"):
        publish(settings, parts)
    assert store_of(settings).list_models() == []


def test_a_holdout_without_a_decision_cannot_be_asked(settings, made, tmp_path):
    parts = made(1)
    write_rows([explain.row(SITUATION, "RSI14", "en", 0)], tmp_path / "holdout.jsonl")
    with pytest.raises(InputError, match="no row asks for a 'signal' or an 'analyse'"):
        publish(settings, parts)


def test_a_running_ollama_is_published_to(served, made, registry, capsys):
    ollama, settings = served
    release = publish(settings, made(1))
    assert release.where == ollama.host
    assert (release.smoke_prompt, release.smoke_answer, release.promoted) == (
        PROMPT,
        ROW.output,
        True,
    )
    assert ollama.store.list_models() == ["stock-llm:latest", "stock-llm:v1"]
    assert {ollama.store.digest(name) for name in release.names} == set(release.manifests.values())
    assert registry.champion(settings).number == 1
    assert f"{ollama.host} pulls stock-llm:v1" in capsys.readouterr().err
    own = store_of(settings)
    for name in release.names:  # the same manifest, bit for bit, and the same blobs
        assert own.read_manifest(name) == ollama.store.read_manifest(name)
    assert own.verify() == ollama.store.verify() == []
    assert _blobs(own) == _blobs(ollama.store)


def _blobs(store):
    return sorted(path.name for path in (store.root / "blobs").iterdir())


def test_publishing_again_sends_nothing_and_asks_one_question(served, made):
    ollama, settings = served
    parts = made(1, verdict="keep")
    publish(settings, parts)
    (parts[3].folder / "release.json").unlink()
    del ollama.requests[:]
    publish(settings, parts)  # asked again, not sent again
    assert not [asked for asked in ollama.requests if "pull" in asked or "blobs" in asked]
    del ollama.requests[:]
    publish(settings, parts)
    assert ollama.requests == ["GET /api/tags"]


def test_what_goes_wrong_at_the_server_leaves_latest(served, made, registry, monkeypatch):
    ollama, settings = served
    publish(settings, made(1))
    before = ollama.store.digest("stock-llm")
    ollama.unfinished = True
    with pytest.raises(PublishError, match="no whole answer after 0 s"):
        publish(settings, made(2, champion=1))
    ollama.unfinished, ollama.slow = False, 2.0
    monkeypatch.setattr(stage, "SMOKE_SECONDS", 0.3)
    with pytest.raises(PublishError, match="no whole answer"):
        publish(settings, made(3, champion=1))
    monkeypatch.undo()
    ollama.slow, ollama.ignores = 0.0, "<s>[INST] {{ .Prompt }}"
    put_in_place(monkeypatch, registry)
    with pytest.raises(PublishError, match="the published template renders another prompt"):
        publish(settings, made(4, champion=1))
    with pytest.raises(PublishError, match="is another model; a version is never overwritten"):
        publish(settings, (*made(5)[:4], artifact(Version, number=1)))
    assert ollama.store.digest("stock-llm") == before
    assert registry.champion(settings).number == 1
    assert ollama.store.list_models() == [
        f"stock-llm:{tag}" for tag in ("latest", "v1", "v2", "v3", "v4")
    ]
    assert ollama.store.verify() == []


def test_a_server_that_shows_no_prompts_is_not_checked_there_and_the_former_champion_is_unloaded(
    served, made, capsys
):
    ollama, settings = served
    ollama.tells_no_prompt = True
    publish(settings, made(1))
    assert f"{ollama.host} shows no prompts: not checked there" in capsys.readouterr().err
    del ollama.requests[:]
    assert publish(settings, made(2, champion=1)).promoted
    assert ollama.requests.index("POST /api/generate") > ollama.requests.index("POST /api/copy")


def test_what_goes_wrong_at_the_servers_disk_is_told_with_a_remedy(served, made):
    ollama, settings = served
    for reason, remedy in (
        ("no space left on device", "Make room"),
        ("permission denied", "chmod -R a"),
    ):
        ollama.puller.fails_writing = reason
        with pytest.raises(PublishError, match=f"{reason}.*{remedy}"):
            publish(settings, made(1))
        assert ollama.store.list_models() == []
    ollama.puller.fails_writing = ""
    assert publish(settings, made(1)).promoted


def test_a_rollback_at_a_server(served, made):
    ollama, settings = served
    publish(settings, made(1))
    publish(settings, made(2, champion=1))
    roll_back(settings, 1)
    assert ollama.store.digest("stock-llm") == ollama.store.digest("stock-llm:v1")


def test_a_version_waits_where_nobody_answers_and_the_next_run_goes_on(served, made, registry):
    ollama, settings = served
    publish(settings, made(1))
    before = ollama.store.digest("stock-llm")
    gone = settings.model_copy(update={"ollama_host": "http://127.0.0.1:9"})
    parts = made(2, champion=1)
    with pytest.raises(
        PublishError,
        match=r"stock-llm:v2 is written to .* and waits there: no Ollama answers at "
        r"http://127\.0\.0\.1:9, which the setting ollama_host names\. Start it there",
    ):
        publish(gone, parts)
    assert "stock-llm:v2" in store_of(settings).list_models()
    assert registry.champion(settings).number == 1
    assert latest(settings) == ollama.store.digest("stock-llm") == before
    release = publish(settings, parts)
    assert release.promoted
    assert ollama.store.read_manifest("stock-llm") == store_of(settings).read_manifest(
        "stock-llm:v2"
    )


def test_a_server_that_goes_away_or_refuses_is_named(served):
    ollama, settings = served
    server = connect(settings.ollama_host)
    with pytest.raises(
        PublishError, match=f"Ollama at {ollama.host} would not delete nope: model 'nope' not found"
    ):
        server.delete("nope")
    server.client.close()
    ollama.__exit__()
    gone = replace(server, client=type(server.client)(ollama.host))
    with pytest.raises(
        PublishError, match=f"Ollama at {ollama.host} went away while it was to list the models"
    ):
        gone.refresh()


def test_the_loopback_server_answers_as_a_real_one_did(served, tmp_path):
    ollama, _ = served
    titles = [
        "root",
        "root head",
        "version",
        "tags, empty store",
        "blob unknown",
        "blob with malformed digest",
    ]
    titles += [
        "create, no files no from",
        "create, bad name",
        "create, blob missing",
        "show unknown",
        "show bad name",
        "show empty",
    ]
    titles += [
        "show empty",
        "copy unknown",
        "delete unknown",
        "unknown path",
        "wrong method",
        "create, bad template",
        "create same again",
    ]
    titles += [
        "generate load",
        "generate unload",
        "chat debug render",
        "chat empty messages (load)",
        "copy",
        "delete",
    ]
    exchanges = {exchange["title"]: exchange for exchange in json.loads(RECORDED.read_text())}
    gguf = write_parrot(tmp_path / "g.gguf", "yes")
    real, ours = (
        "sha256:c841216e20861184bba80c161bf7b29fb38725f8927583915c7a0561f276207f",
        f"sha256:{file_sha256(gguf)}",
    )
    client = httpx.Client(base_url=ollama.host)
    for title in titles:
        seen = exchanges[title]
        if (
            title == "create, bad template"
        ):  # from here on the weights are there, and the models of "create same again"
            ollama.store.put_blob(gguf)
            for name in ("stock-llm:v1", "stock-from"):
                body = json.dumps(exchanges["create, streamed"]["body"] | {"model": name}).replace(
                    real, ours
                )
                assert client.post("/api/create", content=body).is_success
        method, path = seen["request"].split()
        body = json.dumps(seen["body"]).replace(real, ours) if seen["body"] else None
        answer = client.request(method, path, content=body)
        assert answer.status_code == seen["status"], title
        expected = seen["response"].replace(real, ours)
        assert without_time(answer.text) == without_time(expected), title


def without_time(text):
    lines = [json.loads(line) if line.startswith("{") else line for line in text.splitlines()]
    for line in lines:
        if isinstance(line, dict):
            line.pop("created_at", None)
    return lines


def test_with_the_real_registry(settings, made, monkeypatch):
    """Alias and `:latest` in MLflow's own database: two versions, a rollback, the same flow again."""
    put_in_place(monkeypatch, real_registry)
    client = real_registry.connect(settings)
    client.create_registered_model("stock-llm")
    everything = {}
    for number in (1, 2):
        dataset, adapter, candidate, scorecard, version = made(number, champion=number - 1 or None)
        dataset = replace(
            dataset, digest="d", folder=settings.home, feedback_ids=[], prompt_version=1
        )
        candidate = replace(candidate, digest=f"c{number}", gguf_bytes=1, quantization="F32")
        scorecard = replace(scorecard, digest="s", reasons=[])
        tags = real_registry.version_tags(dataset, adapter, candidate, scorecard)
        client.create_model_version("stock-llm", source=candidate.gguf.as_uri(), tags=tags)
        everything[number] = dataset, adapter, candidate, scorecard, version
        assert publish(settings, everything[number]).promoted
        assert real_registry.champion(settings).number == number
    roll_back(settings, 1)
    assert not publish(settings, everything[2]).promoted
    assert real_registry.champion(settings).number == 1
    assert latest(settings) == store_of(settings).digest("stock-llm:v1")
    published_as = real_registry.champion(settings).gguf.with_name("Modelfile")
    assert parse_modelfile(published_as.read_text()).template == MISTRAL_V3.go


@pytest.mark.parametrize("part", ["manifest", "blob", "params"])
@pytest.mark.parametrize("way", ["cut", "flipped"])
def test_a_damaged_version_is_mended_by_the_next_run(settings, made, part, way, capsys):
    parts = made(1)
    before = publish(settings, parts)
    _damage(store_of(settings), "stock-llm:v1", part, way)
    assert store_of(settings).verify() != []
    with pytest.raises(PublishError, match="stock-llm publish"):
        store_of(settings).read_model("stock-llm:v1")
    assert publish(settings, parts).manifests == before.manifests
    assert store_of(settings).verify() == []
    assert "written again" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["manifest", "blob"])
def test_a_damaged_champion_is_mended_from_its_own_files_before_it_is_latest_again(
    settings, made, registry, part
):
    parts = made(1)
    publish(settings, parts)
    publish(settings, made(2, verdict="keep", champion=1))
    version = SimpleNamespace(number=1, gguf=parts[2].gguf, gguf_sha256=parts[2].gguf_sha256)
    registry.known = [version]
    _damage(store_of(settings), "stock-llm:v1", part, "flipped")
    roll_back(settings, 1)
    assert store_of(settings).verify() == []
    parts[2].gguf.write_bytes(b"GGUF but no more")
    _damage(store_of(settings), "stock-llm:v1", part, "flipped")
    with pytest.raises(PublishError, match="v1 is damaged"):
        roll_back(settings, 1)


def _damage(store, name, part, way):
    manifest = store.root / "manifests" / "registry.ollama.ai" / "library" / name.replace(":", "/")
    file = manifest
    if part != "manifest":
        kind = {"blob": "model", "params": "params"}[part]
        layers = json.loads(manifest.read_bytes())["layers"]
        digest = next(layer["digest"] for layer in layers if layer["mediaType"].endswith(kind))
        file = store.root / "blobs" / digest.replace(":", "-")
    content = file.read_bytes()
    middle = len(content) // 2
    file.unlink()  # it may share its bytes with the candidate's own file
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    file.write_bytes(content[:middle] if way == "cut" else flipped)


def test_a_version_with_an_adapter_is_asked_with_it_and_made_latest(settings, made, registry):
    parts = made(1, has_lora=True)
    release = publish(settings, parts)
    assert release.smoke_answer == ROW.output and release.promoted
    assert store_of(settings).read_model("stock-llm:latest").lora is not None
    assert registry.champion(settings) == Champion(1)
    modelfile = parse_modelfile((parts[2].folder / "Modelfile").read_text())
    assert (modelfile.from_, modelfile.adapter) == ("./stock-llm.gguf", "./stock-llm-lora.gguf")
    assert publish(settings, parts) == release


def test_an_adapter_that_is_not_the_judged_one_is_refused(settings, made):
    parts = made(1, has_lora=True)
    with parts[2].lora.open("ab") as file:
        file.write(b"x")
    with pytest.raises(PublishError, match="or its adapter was changed after it was judged"):
        publish(settings, parts)
    assert store_of(settings).list_models() == []


def test_a_server_in_use_is_not_made_to_change_adapters_for_the_smoke_prompt(served, made, capsys):
    ollama, settings = served
    publish(settings, made(1, has_lora=True))
    assert list(ollama.loaded) == ["stock-llm:v1"], "an idle server is asked itself"
    del ollama.requests[:]
    release = publish(settings, made(2, has_lora=True, champion=1))
    assert list(ollama.loaded) == [] or list(ollama.loaded) == ["stock-llm:v1"]
    assert "POST /api/chat" not in ollama.requests
    assert release.smoke_answer == ROW.output and release.promoted
    assert f"{ollama.host} is in use: stock-llm:v2 is asked in this process" in capsys.readouterr().err  # fmt: skip
    assert ollama.store.digest("stock-llm:latest") == store_of(settings).digest("stock-llm:v2")
