"""Stage 8: publishes a version to Ollama, asks it a smoke prompt, and moves `:latest` if promoted.

Takes the candidate, its scorecard and its version, returns a `Release`. `stock-llm:vN` is never
overwritten. `:latest` moves only when the verdict is "promote" and the published model, with its
own template and parameters, answered the smoke prompt. Publishes to the server at `ollama_host`
when one answers, else into the folder `ollama_store`.

The champion stands in two places, and a kill may fall between them. The registry's alias is the
decision and moves first; `:latest` follows it, and the next publish or rollback makes it follow
where it does not. A finished release is recorded beside its scorecard: running the flow again
neither asks again nor undoes a rollback.
"""

import sys
from dataclasses import asdict, replace

from prefect import task

from stock_llm.artifacts import CHECKSUMS, Candidate, Dataset, Release, Scorecard, Version
from stock_llm.errors import InputError, PublishError
from stock_llm.llm import prompts
from stock_llm.llm.profiles import load_profile
from stock_llm.llm.prompt_formats import PromptFormat
from stock_llm.ollama.client import ChatReply
from stock_llm.ollama.modelfile import parse_modelfile
from stock_llm.ollama.profile_modelfile import modelfile_of
from stock_llm.ollama.publish_target import LATEST, MODEL, ServerTarget, StoreTarget, publish_target
from stock_llm.pipeline import registry
from stock_llm.settings import Settings
from stock_llm.skills import SKILLS, analyse, signal
from stock_llm.skills.row import Row, read_rows
from stock_llm.storage.atomic import atomic_write
from stock_llm.storage.checksums import file_sha256, read_record, write_checksums, write_record

RECORD = "release.json"

SMOKE_SECONDS = 30.0
"""A published model answers the smoke prompt within this, the time to load it apart."""


@task(task_run_name="publish")
def publish(
    settings: Settings,
    dataset: Dataset,
    candidate: Candidate,
    scorecard: Scorecard,
    version: Version,
) -> Release:
    """The release of this version; nothing happens where it was published before.

    Raises:
        PublishError: refused, or the smoke prompt failed although the verdict was "promote".
            `:latest` is where it was.
    """
    target = _target(settings)
    _follow_champion(settings, target)
    name, record = f"{MODEL}:v{version.number}", scorecard.folder / RECORD
    release = Release(**values) if (values := read_record(record)) else None
    published = target.digest(name)
    if (
        release
        and release.where == target.where
        and release.manifests.get(name, "none") == published
        and not target.find_damage(name)
    ):
        return _as_it_stands(settings, target, release)

    profile = load_profile(settings.home, settings.profile)
    modelfile = modelfile_of(profile, candidate.gguf, settings.home)
    if (sha256 := file_sha256(candidate.gguf)) != candidate.gguf_sha256:
        raise PublishError(
            f"{candidate.gguf} was changed after it was judged: "
            f"its SHA-256 is {sha256}. Run again: stock-llm run"
        )
    digest = target.put(name, candidate.gguf, modelfile)
    atomic_write(candidate.folder / "Modelfile", modelfile.write())
    write_checksums(candidate.folder / CHECKSUMS)  # a later candidate is judged with this Modelfile
    row = smoke_row(dataset)
    question = {"role": "user", "content": prompts.user_text(row.instruction, row.input)}
    reply = target.ask(name, [question], seconds=SMOKE_SECONDS)
    faults = smoke_faults(row, reply, profile.format)
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
    else:
        _promote(settings, target, version.number)
    release = Release(
        names=[name],
        where=target.where,
        manifests={name: digest},
        smoke_prompt=reply.prompt,
        smoke_answer=reply.text,
        smoke_seconds=round(reply.seconds, 3),
        promoted=False,
        reasons=reasons,
    )
    write_record(record, asdict(release))
    return _as_it_stands(settings, target, release)


def roll_back(settings: Settings, number: int) -> None:
    """Make version `number` the champion again: the registry's alias and `:latest`, together.

    Raises:
        PublishError: that version is not published where we publish to now, or it is damaged and
            cannot be mended.
    """
    target = _target(settings)
    if _sound_digest(settings, target, number) is None:
        fault = "is damaged" if target.digest(f"{MODEL}:v{number}") else "does not exist"
        raise PublishError(
            f"{MODEL}:v{number} {fault} at {target.where}. "
            "See which versions there are: stock-llm history"
        )
    _promote(settings, target, number)


def _target(settings: Settings) -> StoreTarget | ServerTarget:
    store = settings.path(settings.ollama_store)
    return publish_target(settings.ollama_host, store, settings.threads)


def _sound_digest(
    settings: Settings, target: StoreTarget | ServerTarget, number: int
) -> str | None:
    """Digest of a published version; a damaged one is first published again from the files that it
    was made from.

    None where it is not published, or where those files are damaged too.
    """
    name = f"{MODEL}:v{number}"
    if (published := target.digest(name)) is None or not (damage := target.find_damage(name)):
        return published
    version = next((item for item in registry.versions(settings) if item.number == number), None)
    if (
        version is None
        or not version.gguf.exists()
        or file_sha256(version.gguf) != version.gguf_sha256
    ):
        print(f"{name} at {target.where} is damaged: {damage}", file=sys.stderr)
        return None
    modelfile = parse_modelfile(version.gguf.with_name("Modelfile").read_text("utf-8"))
    return target.put(name, version.gguf, modelfile)


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
    if reply.prompt != prompt_format.render(prompts.messages(row.instruction, row.input)):
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


def _promote(settings: Settings, target: StoreTarget | ServerTarget, number: int) -> None:
    registry.promote(settings, number)
    _follow_champion(settings, target)


def _follow_champion(settings: Settings, target: StoreTarget | ServerTarget) -> None:
    """Lets `:latest` be the champion, where that is published here; it is not after a kill between
    the two moves.
    """
    champion = _champion(settings)
    published = _sound_digest(settings, target, champion) if champion else None
    if published and target.digest(LATEST) != published:
        target.tag(f"{MODEL}:v{champion}", LATEST)


def _as_it_stands(settings: Settings, target: StoreTarget | ServerTarget, made: Release) -> Release:
    """The release with what `:latest` is now: it may have moved since."""
    name = made.names[0]
    promoted = (
        target.digest(LATEST) == made.manifests[name] and name == f"{MODEL}:v{_champion(settings)}"
    )
    names = [name, LATEST] if promoted else [name]
    return replace(
        made, names=names, manifests=dict.fromkeys(names, made.manifests[name]), promoted=promoted
    )
