"""Stage 6: judges the quantized candidate on the holdout, against the base and the champion.

Takes a `Dataset` and a `Candidate`, returns a `Scorecard`. Every model is a quantized GGUF, asked
through llama.cpp or an Ollama, greedily, with the prompt that Ollama renders for it. The skills'
deterministic scorers mark the answers; one that does not parse is wrong. Beside the score stands
the general loss, that on general questions whose answers the base knows
(`sources/general_questions.py`), and how fast each file answers here. Where the whole holdout would
take longer than the profile allows, a part of it judges, the same part of all models.
"""

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

from prefect import task

from stock_llm.artifacts import Candidate, Dataset, Scorecard, load_or_make
from stock_llm.dataset.holdout_usage import HoldoutUsage
from stock_llm.dataset.sources import general_questions
from stock_llm.dataset.splits import TimeSplit
from stock_llm.evaluation import gate, gate_policy
from stock_llm.evaluation.gate import Interval
from stock_llm.llm.profiles import EvaluationConfig, Profile, load_profile
from stock_llm.ollama.client import connect
from stock_llm.pipeline import registry, report
from stock_llm.pipeline.judging import (
    asking,
    contestants,
    holdout_table,
    ollama_judge,
    speed,
    timing,
)
from stock_llm.pipeline.judging.asking import ModelAnswers
from stock_llm.pipeline.judging.contestants import Contestant
from stock_llm.pipeline.judging.ollama_judge import OllamaJudge
from stock_llm.pipeline.judging.speed import Speed
from stock_llm.pipeline.registry import VersionInfo
from stock_llm.settings import Settings
from stock_llm.skills import abstain
from stock_llm.skills.row import Row, read_rows
from stock_llm.storage.checksums import digest_of, file_sha256

RECIPE = 9
"""Raised whenever this file, the gate or a scorer marks the same answers differently."""


@task(task_run_name="evaluate", **registry.RETRY)
def evaluate(settings: Settings, dataset: Dataset, candidate: Candidate) -> Scorecard:
    """The scorecard of this candidate against today's champion; read from disk where it was made
    before.
    """
    profile = load_profile(settings.home, settings.profile)
    evaluation = profile.evaluation
    server = connect(settings.ollama_host) if evaluation.judge == "ollama" else None
    address = settings.publish.address
    ollama = OllamaJudge(server, profile.serving, address) if server else None
    share = timing.share(settings, profile, candidate.digest, dataset.holdout_digest)
    champion = registry.champion(settings)
    if champion and champion.gguf_sha256 == candidate.gguf_sha256:
        champion = None  # judged again after a crash: it has only the base to beat
    digest = digest_of(
        candidate=(candidate.digest, candidate.gguf_sha256),
        holdout=dataset.holdout_digest,
        corrections=file_sha256(dataset.corrections),
        champion=champion.gguf_sha256 if champion else None,
        general=file_sha256(general_questions.FILE),
        spread=(evaluation.seed_spread, evaluation.seeds),
        cutoff=profile.knowledge_cutoff,
        policy=gate_policy.load_policy(settings.home).model_dump(),
        judge=(evaluation.judge, ollama.name if ollama else ""),
        share=share,
        recipe=RECIPE,
    )
    return load_or_make(
        Scorecard,
        settings.artifacts,
        digest,
        lambda folder: judge(settings, dataset, candidate, champion, digest, folder, ollama, share),
    )


def judge(
    settings: Settings,
    dataset: Dataset,
    candidate: Candidate,
    champion: VersionInfo | None,
    digest: str,
    folder: Path,
    ollama: OllamaJudge | None = None,
    share: float = 1.0,
) -> Scorecard:
    """Asks every contestant every question and compares the marks.

    Args:
        ollama: answers for the models in place of this process.
        share: of the holdout and of the frozen questions that is asked.
    """
    profile = load_profile(settings.home, settings.profile)
    whole, corrections = list(read_rows(dataset.holdout)), list(read_rows(dataset.corrections))
    holdout = timing.part(whole, share)
    rows = holdout + corrections
    frozen = timing.part(abstain.frozen_rows(), share)
    asked = contestants.contestants(settings, profile, candidate, champion)
    notes: list[str] = []
    with ollama or nullcontext():
        judged = {one.name: asking.ask(settings, profile, one, rows, ollama) for one in asked}
        bare = {
            one.name: asking.ask(settings, profile, one, frozen, ollama)
            for one in asked
            if one.name != "base"
        }
        if profile.evaluation.judge == "ollama":
            notes = _of_judge(settings, profile, asked[-1], rows, judged["challenger"], ollama)
    losses = {one.name: asking.general_losses(settings, profile, one) for one in asked}
    speeds = {
        one.name: speed.measure(settings, profile, one, rows, judged[one.name]) for one in asked
    }
    size = len(holdout)
    items = folder / "items.jsonl"
    holdout_table.write_items(items, rows, list(judged.values()))

    table = {
        name: holdout_table.summary(holdout, corrections, model, bare.get(name), speeds[name])
        for name, model in judged.items()
    }
    policy = gate_policy.load_policy(settings.home)
    knows = policy.forgetting.known
    known = [place for place, loss in enumerate(losses["base"]) if loss < knows]
    losses = {name: [of_model[place] for place in known] for name, of_model in losses.items()}
    for name, of_model in losses.items():
        table[name][report.GENERAL_LOSS] = fmean(of_model) if known else None
    table |= holdout_table.baselines(holdout, list(read_rows(dataset.train)))
    clusters = [f"{row.symbol or row.id} {row.as_of[:7]}" for row in holdout]
    marks = {name: [score.value for score in model.scores[:size]] for name, model in judged.items()}
    reference = "champion" if champion else "base"
    overall = {
        f"challenger - {name}": gate.difference(
            marks["challenger"], marks[name], clusters, settings.seed
        )
        for name in judged
        if name != "challenger"
    }
    slices = {
        skill: gate.difference(
            holdout_table.only(marks["challenger"], holdout, skill),
            holdout_table.only(marks[reference], holdout, skill),
            holdout_table.only(clusters, holdout, skill),
            settings.seed,
        )
        for skill in sorted({row.skill for row in holdout})
    }
    forgotten = None
    if known:
        questions = [str(place) for place in known]
        forgotten = gate.difference(losses["challenger"], losses["base"], questions, settings.seed)
    false = holdout_table.false_answers(
        judged["challenger"], judged[reference], clusters, settings.seed
    )
    verdict = gate.judge(
        overall[f"challenger - {reference}"],
        slices,
        f"champion v{champion.number}" if champion else "the untuned base",
        forgotten=forgotten,
        false=false,
        policy=policy,
    )
    gaps = overall | slices | holdout_table.both_parsed(judged, size, clusters)
    if forgotten:
        gaps[f"{report.GENERAL_LOSS}, challenger - base"] = forgotten
    if false:
        gaps[f"false answers, challenger - {reference}"] = false
    return Scorecard(
        digest=digest,
        folder=folder,
        items=items,
        table=table,
        differences={name: asdict(gap) for name, gap in gaps.items()},
        verdict=verdict.word,
        reasons=[
            *verdict.reasons,
            *_sensitivity(overall[f"challenger - {reference}"], profile.evaluation),
            *_caveats(settings, profile, dataset, candidate, holdout),
            *_of_time(profile.evaluation, len(holdout), len(whole)),
            *notes,
            *([] if ollama else _of_speed(speeds["challenger"])),
        ],
        champion=champion.number if champion else None,
    )


def _sensitivity(gap: Interval, evaluation: EvaluationConfig) -> list[str]:
    """What this comparison can tell from chance, and how far trainings lie apart that differ in
    the seed alone; in points, hundredths of the score.
    """
    spread = "the training's own spread over seeds is not measured"
    if evaluation.seed_spread is not None:
        spread = (
            f"the training's own spread over {evaluation.seeds} seeds is "
            f"±{100 * evaluation.seed_spread:.1f} points"
        )
    return [
        f"with {gap.rows} rows and this spread only differences above "
        f"{100 * gap.detectable:.1f} points can be seen ({gate.POWER:.0%} power)",
        spread,
    ]


def _caveats(
    settings: Settings, profile: Profile, dataset: Dataset, candidate: Candidate, holdout: list[Row]
) -> list[str]:
    """What else to know about a verdict: how often this holdout has judged, and what of it the base
    may have read.
    """
    period = TimeSplit.parse(dataset.holdout_from, dataset.holdout_until).period
    count = HoldoutUsage(settings.path("data/looks.db")).count_candidate(
        period, dataset.holdout_digest, candidate.digest
    )
    caveats = [f"look {count} at the holdout of {period}"]
    cutoff = profile.knowledge_cutoff.isoformat()
    if early := sum(bool(row.as_of) and row.as_of <= cutoff for row in holdout):
        caveats.append(
            f"in-sample: {early} of {len(holdout)} holdout rows "
            f"are from before the base's knowledge cutoff, {cutoff}"
        )
    return caveats


def _of_time(evaluation: EvaluationConfig, asked: int, rows: int) -> list[str]:
    """What of the holdout did not judge, because it would have taken too long."""
    if asked == rows:
        return []
    return [
        f"{asked} of {rows} holdout rows judged: all would take longer here than the "
        f"{evaluation.minutes:g} minutes of [evaluation] minutes in the profile"
    ]


def _of_judge(
    settings: Settings,
    profile: Profile,
    challenger: Contestant,
    rows: list[Row],
    judged: ModelAnswers,
    ollama: OllamaJudge | None,
) -> list[str]:
    """Who answered for the models, where an Ollama was to: how many of a sample of the challenger's
    answers and prompts are those of llama.cpp here.
    """
    if ollama is None:
        where = settings.ollama_host or "ollama_host, which is empty"
        return [f"no Ollama answers at {where}: judged by llama.cpp in this process"]
    sample = timing.part(rows, ollama_judge.SAMPLE / len(rows))
    here = asking.ask(settings, profile, challenger, sample)
    theirs = dict(zip((row.id for row in rows), judged.answers, strict=True))
    same = sum(theirs[row.id] == text for row, text in zip(sample, here.answers, strict=True))
    prompts = ollama.equal_prompts(challenger, sample)
    return [
        f"judged by {ollama.name} at {ollama.where}: of {len(sample)} sampled questions "
        f"{same} answers and {prompts} prompts are those of llama.cpp here"
    ]


def _of_speed(measured: Speed) -> list[str]:
    """Whether several rows at once changed answers, among those that were asked one by one."""
    if measured.same == measured.asked:
        return []
    return [
        f"{measured.asked - measured.same} of {measured.asked} answers differ from those to one "
        "question at a time: rounding where two words are about equally likely"
    ]
