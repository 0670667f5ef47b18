"""Charts as SVG that stands inside a page: nothing is loaded from anywhere.

matplotlib draws, without a display.
"""

from collections.abc import Mapping, Sequence
from io import StringIO
from statistics import fmean
from typing import TYPE_CHECKING

from stock_llm.operations.reports.answers import CalibrationPoint, SkillScore

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 7.5
"""Inches."""

_NOTES = ("Creator", "Date", "Format", "Type")
"""What matplotlib would write about the drawing itself."""


def skills_chart(models: Mapping[str, Sequence[SkillScore]]) -> str:
    """Mean score by skill, a bar for each model, with its 95 % interval."""
    figure, axes = _axes(3.4)
    skills = sorted({score.skill for scores in models.values() for score in scores})
    width = 0.8 / max(1, len(models))
    for place, (model, scores) in enumerate(models.items()):
        at = [skills.index(score.skill) + place * width for score in scores]
        axes.bar(
            at,
            [score.mean for score in scores],
            width,
            yerr=[score.margin for score in scores],
            label=model,
            capsize=2,
            error_kw={"linewidth": 0.8},
        )
    axes.set_xticks([place + 0.4 - width / 2 for place in range(len(skills))], skills, rotation=20)
    axes.set_ylim(0, 1)
    axes.set_ylabel("mean score")
    _legend_above(axes)
    return _svg(figure)


def calibration_chart(models: Mapping[str, Sequence[CalibrationPoint]]) -> str:
    """Share of right answers against stated confidence, with the number of answers; on the dotted
    line they are equal.
    """
    figure, axes = _axes(3.4)
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey")
    for model, points in models.items():
        axes.plot(
            [point.confidence for point in points],
            [point.right for point in points],
            marker="o",
            label=model,
        )
        for point in points:
            place = (point.confidence, point.right)
            axes.annotate(str(point.rows), place, (4, 4), textcoords="offset points", fontsize=8)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("stated confidence")
    axes.set_ylabel("share that was right")
    _legend_above(axes)
    return _svg(figure)


def loss_chart(curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Training loss by step, faint, and its running mean."""
    figure, axes = _axes(2.8)
    for name, curve in curves.items():
        steps, losses = [step for step, _ in curve], [loss for _, loss in curve]
        (line,) = axes.plot(steps, running_mean(losses), label=name)
        axes.plot(steps, losses, color=line.get_color(), alpha=0.25, linewidth=0.8)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("step")
    axes.set_ylabel("nats per token")
    if len(curves) > 1:
        _legend_above(axes)
    return _svg(figure)


def running_mean(losses: Sequence[float]) -> list[float]:
    """The mean of each loss and those before it, a twentieth of the training."""
    width = max(1, len(losses) // 20)
    return [fmean(losses[max(0, place - width + 1) : place + 1]) for place in range(len(losses))]


def ladder_chart(losses: Mapping[str, float]) -> str:
    """Loss after each step from the adapter to the quantized file, on the same rows."""
    figure, axes = _axes(0.6 + 0.35 * len(losses))
    bars = axes.barh(list(losses), list(losses.values()))
    axes.bar_label(bars, fmt="%.4f", padding=3, fontsize=8)
    axes.margins(x=0.1)
    axes.invert_yaxis()
    axes.set_xlabel("nats per token")
    return _svg(figure)


def _axes(height: float) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _legend_above(axes: "Axes") -> None:
    """The names of the models, where they cover nothing."""
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=4)


def _svg(figure: "Figure") -> str:
    """The drawing as one element, without the declaration of a file; its texts stay texts."""
    import matplotlib

    target = StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(target, format="svg", metadata=dict.fromkeys(_NOTES))
    text = target.getvalue()
    return text[text.index("<svg") :]
