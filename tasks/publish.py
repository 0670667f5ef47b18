"""Stage 8: publishes a version, asks it a smoke prompt, and moves `:latest` if promoted.

Takes the candidate, its scorecard and its version, returns a `Release`. `stock-llm:vN` is written
into the folder `ollama_store` first and never overwritten; the Ollama at `ollama_host` gets the
same manifest and blobs. `:latest` moves only when the verdict is "promote" and the published model,
with its own template and parameters, answered the smoke prompt: at the server where one answers,
else from the folder. A server that was named and does not answer stops the run after the version is
written; the next run goes on from there.

The champion stands in several places, and a kill may fall between them. The registry's alias is the
decision and moves first; `:latest` follows it, and the next publish or rollback makes it follow
where it does not. A finished release is recorded beside its scorecard: running the flow again
neither asks again nor undoes a rollback.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime

from prefect import task

from stock_llm.artifacts import (
    CHECKSUMS,
    Adapter,
    Candidate,
    Dataset,
    Release,
    Scorecard,
    Version,
)
from stock_llm.errors import InputError, PublishError
from stock_llm.llm import prompts
from stock_llm.llm.profiles import load_profile
from stock_llm.llm.prompt_formats import PromptFormat
from stock_llm.ollama.client import ChatReply
from stock_llm.ollama.model_name import LATEST, MODEL, version_name
from stock_llm.ollama.profile_modelfile import modelfile_of
from stock_llm.ollama.publish_target import ServerTarget, StoreTarget
from stock_llm.parity.prompts import Question, conversations, questions
from stock_llm.pipeline import registry
from stock_llm.pipeline.publication import restoring
from stock_llm.pipeline.publication.places import (
    Places,
    nobody_answers,
    open_places,
    publishing_lock,
)
from stock_llm.pipeline.publication.restoring import MANIFEST, MODELFILE
from stock_llm.pipeline.publication.retention import prune
from stock_llm.pipeline.publication.safetensors_folder import follow_folder
from stock_llm.settings import Settings
from stock_llm.skills import SKILLS, analyse, signal
from stock_llm.skills.row import Row, read_rows
from stock_llm.storage.atomic import atomic_write
from stock_llm.storage.checksums import model_sha256, read_record, write_checksums, write_record

RECORD = "release.json"

SMOKE_SECONDS = 30.0
"""A published model answers the smoke prompt within this, the time to load it apart."""


@task(task_run_name="publish", **registry.RETRY)
def publish(
    settings: Settings,
    dataset: Dataset,
    adapter: Adapter,
    candidate: Candidate,
    scorecard: Scorecard,
    version: Version,
) -> Release:
    """The release of this version; nothing happens where it was published before and is still
    everywhere.

    Raises:
        PublishError: refused; or nobody answers where the settings name an Ollama; or the smoke
            prompt failed although the verdict was "promote". `:latest` is where it was.
    """
    with publishing_lock(settings):
        return _publish(settings, dataset, adapter, candidate, scorecard, version)


def _publish(
    settings: Settings,
    dataset: Dataset,
    adapter: Adapter,
    candidate: Candidate,
    scorecard: Scorecard,
    version: Version,
) -> Release:
    places = open_places(settings)
    for host in () if places.promised else places.absent:
        print(
            f"nobody answers at {host}: the version is not brought there. Run when it answers: "
            "stock-llm publish",
            file=sys.stderr,
        )
    restoring.put_back(settings, places)
    name, record = version_name(version.number), scorecard.folder / RECORD
    release = Release(**values) if (values := read_record(record)) else None
    main = places.main
    if (
        release
        and release.where == main.where
        and release.manifests.get(name, "none") == main.digest(name)
        and places.folder.digest(name)
        and not places.folder.find_damage(name)
        and not places.promised
    ):
        _push(settings, places)
        _follow(settings, places)
        _tell_refusals(places)
        return _as_it_stands(settings, places, release)

    _write(settings, places, dataset, adapter, candidate, scorecard, version)
    if places.promised:
        raise PublishError(
            f"{name} is written to {places.folder.where} and waits there: "
            + nobody_answers(settings)
        )
    restoring.hand_to_servers(settings, places, [name])
    _stop_where_main_refuses(places)
    row = smoke_row(dataset)
    question = {"role": "user", "content": prompts.user_text(row.instruction, row.input)}
    asked = _smoke_target(places, name) if candidate.lora else main
    reply = asked.ask(name, [question], seconds=SMOKE_SECONDS)
    prompt_format = load_profile(settings.home, settings.profile).format
    faults = smoke_faults(row, reply, prompt_format)
    if not faults:
        prompted = [*questions(read_rows(dataset.holdout)), *conversations(0)]
        faults = rendering_faults(asked, name, prompted, prompt_format)
    reasons = [f"smoke prompt: {fault}" for fault in faults]
    if scorecard.verdict != "promote":
        reasons.append(f"the verdict is '{scorecard.verdict}': {LATEST} stays")
    elif faults:
        raise PublishError(
            f"{name} failed the smoke prompt ({'; '.join(faults)}). "
            f"{LATEST} stays; {name} is listed for you to try. "
            f"It said: {reply.text[:300]!r}"
        )
    elif (champion := _champion(settings)) not in (scorecard.champion, version.number, None):
        reasons.append(
            f"v{champion} became champion after this was judged: {LATEST} stays. "
            "Run again to be judged against it"
        )
    elif (before := registry.champion(settings)) and before.replaced == version.number:
        reasons.append(
            f"v{before.number} became champion in its place: {LATEST} stays. To make it the "
            f"champion again: stock-llm promote {version.number}"
        )
    else:
        former = champion if champion != version.number else None
        registry.promote(settings, version.number)
        restoring.follow_champion(places, version.number)
        _stop_where_main_refuses(places)
        _unload_former(places, former)
    release = Release(
        names=[name],
        where=main.where,
        manifests={name: main.digest(name) or ""},
        smoke_prompt=reply.prompt,
        smoke_answer=reply.text,
        smoke_seconds=round(reply.seconds, 3),
        promoted=False,
        reasons=reasons,
    )
    write_record(record, asdict(release))
    _push(settings, places)
    for sentence in prune(settings, places):
        print(sentence, file=sys.stderr)
    _follow(settings, places)
    _tell_refusals(places)
    return _as_it_stands(settings, places, release)


def _tell_refusals(places: Places) -> None:
    """Say which servers refused what they were asked.

    Raises:
        PublishError: it was that of `ollama_host`.
    """
    for where, fault in places.refused.items():
        if where != places.main.where:
            print(f"{fault}. When that is mended, run: stock-llm publish", file=sys.stderr)
    _stop_where_main_refuses(places)


def _stop_where_main_refuses(places: Places) -> None:
    if fault := places.refused.get(places.main.where):
        raise PublishError(fault)


def _smoke_target(places: Places, name: str) -> StoreTarget | ServerTarget:
    """Where a version with an adapter is asked: at the server while that has nothing in memory,
    else from the folder. Ollama loads one version over a base at a time, so the question would wait
    for the answers of another one, and the next question to that for its reload.
    """
    main = places.main
    if not isinstance(main, ServerTarget) or not main.server.loaded():
        return main
    print(f"{main.where} is in use: {name} is asked in this process", file=sys.stderr)
    return places.folder


def _push(settings: Settings, places: Places) -> None:
    """Bring the company's registry what it lacks, where there is one."""
    if settings.publish.registry:
        for sentence in restoring.push_to_registry(settings, places):
            print(sentence, file=sys.stderr)


def _follow(settings: Settings, places: Places) -> None:
    """Let the folders of safetensors be those of the versions that there are."""
    for sentence in follow_folder(settings, places.folder.store):
        print(sentence, file=sys.stderr)


def _write(
    settings: Settings,
    places: Places,
    dataset: Dataset,
    adapter: Adapter,
    candidate: Candidate,
    scorecard: Scorecard,
    version: Version,
) -> None:
    """Writes the version into the folder, and beside the candidate what it was published with.

    Raises:
        PublishError: the GGUF is not the one that was judged, or the folder has another model under
            this name.
    """
    name = version_name(version.number)
    if (sha256 := model_sha256(candidate.gguf, candidate.lora)) != candidate.gguf_sha256:
        raise PublishError(
            f"{candidate.gguf}{' or its adapter' if candidate.lora else ''} was changed after it "
            f"was judged: its SHA-256 is {sha256}. Run again: stock-llm run"
        )
    if restoring.is_recorded(candidate.gguf):  # published before: the same manifest again
        restoring.restore_files(places.folder, name, candidate.gguf)
        return
    profile = load_profile(settings.home, settings.profile)
    modelfile = modelfile_of(profile, candidate.gguf, settings.home, candidate.lora)
    notes = build_annotations(settings, dataset, adapter, candidate, scorecard, version)
    places.folder.put(name, candidate.gguf, modelfile, notes)
    manifest = places.folder.store.read_manifest(name).decode()
    atomic_write(candidate.folder / MANIFEST, manifest)
    atomic_write(candidate.folder / MODELFILE, modelfile.write())
    write_checksums(candidate.folder / CHECKSUMS)  # a later candidate is judged with this Modelfile


def build_annotations(
    settings: Settings,
    dataset: Dataset,
    adapter: Adapter,
    candidate: Candidate,
    scorecard: Scorecard,
    version: Version,
) -> Mapping[str, str]:
    """What a version's manifest says of it, under OCI's names where there are some.

    Digests, names of the catalogue and figures: no folder, user or machine.
    """
    profile = load_profile(settings.home, settings.profile)
    score = (scorecard.table.get("challenger") or {}).get("score")
    notes = {
        "org.opencontainers.image.title": MODEL,
        "org.opencontainers.image.version": f"v{version.number}",
        "org.opencontainers.image.created": datetime.now(UTC).isoformat(timespec="seconds"),
        "org.opencontainers.image.licenses": profile.licence,
        "org.opencontainers.image.base.name": profile.name,
        "stock-llm.base": adapter.base_digest,
        "stock-llm.dataset": dataset.digest,
        "stock-llm.adapter": adapter.digest,
        "stock-llm.candidate": candidate.digest,
        "stock-llm.quantization": candidate.quantization,
        "stock-llm.run": version.run_id,
        "stock-llm.verdict": scorecard.verdict,
        "stock-llm.score": "" if score is None else f"{score:.4f}",
    }
    return {name: value for name, value in notes.items() if value}


def smoke_row(dataset: Dataset) -> Row:
    """The first question of the holdout that asks for a decision.

    Raises:
        InputError: it has none.
    """
    for skill in (signal.NAME, analyse.NAME):
        if row := next((row for row in read_rows(dataset.holdout) if row.skill == skill), None):
            return row
    raise InputError(
        f"no row asks for a '{signal.NAME}' or an '{analyse.NAME}'", file=dataset.holdout
    )


def smoke_faults(row: Row, reply: ChatReply, prompt_format: PromptFormat) -> list[str]:
    """What is wrong with the answer to the smoke prompt; empty: nothing."""
    faults = []
    expected = prompt_format.render(prompts.messages(row.instruction, row.input))
    if reply.prompt not in ("", expected):  # a server that does not tell is not checked here
        faults.append("the published template renders another prompt than training saw")
    if not reply.finished:
        faults.append(f"no whole answer after {reply.seconds:.0f} s")
    score = SKILLS[row.skill].score(row, reply.text)
    if not score.parsed:
        faults.append("the answer is not in the format")
    elif score.checks["grounded"] < 1:
        faults.append(
            "numbers of the answer are not in the question, or none is told with its name"
        )
    return faults


def _champion(settings: Settings) -> int | None:
    champion = registry.champion(settings)
    return champion.number if champion else None


def rendering_faults(
    target: StoreTarget | ServerTarget,
    name: str,
    asked: Sequence[Question],
    prompt_format: PromptFormat,
) -> list[str]:
    """The first question that the published model would be given as another prompt than training
    saw; empty: there is none, or the server does not tell, which is said.
    """
    render = target.renderer(name)
    for question in asked:
        served = [{"role": turn["role"], "content": turn["content"]} for turn in question.served]
        rendered = render(served)
        if not rendered:
            print(f"{target.where} shows no prompts: not checked there", file=sys.stderr)
            return []
        if rendered != prompt_format.prompt(question.turns):
            return [
                f"the published template renders another prompt than training saw: {question.id}"
            ]
    return []


def _unload_former(places: Places, number: int | None) -> None:
    """Let servers drop the champion that was replaced when its answers are finished: two loaded
    models would slow each other down for as long as it is kept.
    """
    for target in places.servers if number else ():
        try:
            if target.digest(version_name(number or 0)):
                target.server.unload(version_name(number or 0))
        except PublishError as error:
            print(error, file=sys.stderr)


def _as_it_stands(settings: Settings, places: Places, made: Release) -> Release:
    """The release with what `:latest` is now: it may have moved since."""
    name, main = made.names[0], places.main
    champion = _champion(settings)
    promoted = (
        main.digest(LATEST) == made.manifests[name]
        and champion is not None
        and name == version_name(champion)
    )
    names = [name, LATEST] if promoted else [name]
    return replace(
        made, names=names, manifests=dict.fromkeys(names, made.manifests[name]), promoted=promoted
    )
