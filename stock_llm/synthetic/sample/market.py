"""The committed sample: candles and trades of a market and an investor that do not exist.

`candles/<SYMBOL>.csv` and `trades.csv` have the same bytes wherever they are made. The market has a
modest, stated predictability (README.md beside the files), so that a test can ask whether training
found it; `measure_predictability` says how much an ordinary logistic regression finds. The investor
is in trades.py, the feedback in feedback.py.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stock_llm.errors import MissingExtra
from stock_llm.market import situation
from stock_llm.market.candles import candle_table
from stock_llm.market.situation import Candles
from stock_llm.skills import decision_point
from stock_llm.synthetic.sample import feedback, trades

COMPANIES = {
    "ALDREN": "Aldren Timber Works",
    "BRISKO": "Brisko Bicycles",
    "CALVEX": "Calvex Instruments",
    "DORNIA": "Dornia Dairy",
    "ELMORA": "Elmora Lighting",
    "FENWIK": "Fenwik Railways",
    "GALDOR": "Galdor Minerals",
    "HUSKEN": "Husken Outdoor",
    "IVORAN": "Ivoran Paper",
    "JUNIPA": "Junipa Botanics",
    "KESTRO": "Kestro Aviation",
    "LUMBRA": "Lumbra Furniture",
}
"""Fictional names; six letters, because a ticker of a United States exchange has at most five."""

FIRST_DAY = np.datetime64("2022-01-03")
LAST_DAY = np.datetime64("2025-12-31")
HOLDOUT_FROM = np.datetime64("2025-07-01")
"""Begin of the quarter that lies at seven eighths of the time: what `measure` judges on."""

SEED = 7


@dataclass(frozen=True)
class Regime:
    """A hidden state of one stock.

    Attributes:
        drift: expected return of a session, in daily standard deviations.
        pull: share of the distance to the price at which the regime began that a session takes
            back.
        sessions: mean duration; durations are gamma distributed with shape 4, at least `SHORTEST`.
    """

    drift: float
    pull: float
    sessions: float


UP, DOWN, SIDEWAYS = Regime(0.35, 0.0, 80), Regime(-0.35, 0.0, 80), Regime(0.0, 0.35, 70)
REGIMES = (UP, DOWN, SIDEWAYS)
SHORTEST = 15


def write_sample(folder: Path, seed: int = SEED) -> None:
    """Writes the candles, the trades and the feedback of the sample into `folder`."""
    series = [generate_candles(symbol, seed, number) for number, symbol in enumerate(COMPANIES)]
    (folder / "candles").mkdir(parents=True, exist_ok=True)
    for candles in series:
        (folder / "candles" / f"{candles.symbol}.csv").write_text(
            _csv(candles), encoding="ascii", newline="\n"
        )
    (folder / "trades.csv").write_text(
        trades.trades_csv(trades.generate_trades(series, seed)), encoding="ascii", newline="\n"
    )
    feedback.write_feedback(series, folder / "feedback.jsonl", seed)


def generate_candles(symbol: str, seed: int, number: int) -> Candles:
    """Four years of weekday candles of one fictional stock, independent of every other."""
    # RandomState, not Generator: numpy promises never to change its streams.
    chance = np.random.RandomState(1000 * seed + number)
    days = np.arange(FIRST_DAY, LAST_DAY + 1)
    days = days[np.is_busday(days)]
    size = len(days)
    regime = _regimes(chance, size)
    turned = np.flatnonzero(np.diff(regime, prepend=regime[0]))
    sigma = chance.uniform(0.012, 0.022)
    shock = chance.standard_normal(size)

    path = np.empty(size)
    path[0] = anchor = np.log(chance.uniform(40, 160))
    for now in range(1, size):
        state = REGIMES[regime[now]]
        if regime[now] != regime[now - 1]:
            anchor = path[now - 1]
        path[now] = (
            path[now - 1]
            + sigma * (state.drift + shock[now])
            - state.pull * (path[now - 1] - anchor)
        )

    close = np.round(np.exp(path), 2)
    gap, above, below = (scale * sigma * chance.standard_normal(size) for scale in (0.3, 0.4, 0.4))
    opening = np.round(np.append(close[0], close[:-1]) * np.exp(gap), 2)
    high = np.round(np.maximum(opening, close) * np.exp(np.abs(above)), 2)
    low = np.round(np.minimum(opening, close) * np.exp(-np.abs(below)), 2)
    return Candles(symbol, days, opening, high, low, close, _volume(chance, shock, turned))


def _regimes(chance: np.random.RandomState, size: int) -> np.ndarray:
    """Index into `REGIMES` per session; a regime is followed by either of the others, equally
    often.
    """
    states = np.empty(size, int)
    state, begin = chance.randint(len(REGIMES)), 0
    while begin < size:
        end = begin + max(SHORTEST, int(chance.gamma(4, REGIMES[state].sessions / 4)))
        states[begin:end] = state
        state, begin = (state + chance.randint(1, len(REGIMES))) % len(REGIMES), end
    return states


def _volume(chance: np.random.RandomState, shock: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """Shares per session, in hundreds: more on large moves, and a burst that fades over the days
    after a regime began.
    """
    usual = chance.uniform(3e5, 2e6)
    burst = np.ones(len(shock))
    for begin in turned:
        fading = np.exp(-np.arange(min(6, len(shock) - begin)) / 2)
        burst[begin : begin + 6] += 1.2 * fading
    shares = (
        usual
        * np.exp(0.25 * chance.standard_normal(len(shock)))
        * (0.7 + 0.4 * np.abs(shock))
        * burst
    )
    rounded: np.ndarray = np.round(shares, -2)
    return rounded


def _csv(series: Candles) -> str:
    columns = (series.day, series.open, series.high, series.low, series.close, series.volume)
    lines = (
        f"{day},{opening:.2f},{high:.2f},{low:.2f},{close:.2f},{volume:.0f}\n"
        for day, opening, high, low, close, volume in zip(*columns, strict=True)
    )
    return "Date,Open,High,Low,Close,Volume\n" + "".join(lines)


@dataclass(frozen=True)
class Predictability:
    """What can be known about the direction of the next `moments.HORIZON` sessions, judged from
    `HOLDOUT_FROM` on.

    Attributes:
        rows: judged decisions; neighbouring ones overlap, so they are worth about a tenth as many.
        shares: BUY, HOLD and SELL in hindsight, as shares of `rows`.
        majority: the share of the most frequent of them: the accuracy of always saying it.
        regression: accuracy of a logistic regression on four indicators, fitted on labels that end
            before `HOLDOUT_FROM`.
        textbook: accuracy of BUY below RSI14 30, SELL above 70, else HOLD.
    """

    rows: int
    shares: dict[str, float]
    majority: float
    regression: float
    textbook: float


def measure_predictability(folder: Path) -> Predictability:
    """How predictable the candles of a sample folder are.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        raise MissingExtra("scikit-learn", "flows") from None

    early: list[tuple[np.ndarray, ...]] = []
    late: list[tuple[np.ndarray, ...]] = []
    files = sorted((folder / "candles").glob("*.csv"))
    for candles in candle_table.candles_by_symbol(candle_table.read_candles(files, folder).table):
        features, outcome, rsi = _decisions(candles)
        until = np.append(
            candles.day[decision_point.HORIZON :],
            np.full(decision_point.HORIZON, np.datetime64("NaT")),
        )
        known = (
            np.isfinite(features).all(axis=1)
            & (outcome != "")
            & (np.arange(len(candles)) >= situation.WARM_UP)
        )
        for rows, chosen in (
            (early, known & (until < HOLDOUT_FROM)),
            (late, known & (candles.day >= HOLDOUT_FROM)),
        ):
            rows.append((features[chosen], outcome[chosen], rsi[chosen]))

    features, outcome, _ = (np.concatenate(part) for part in zip(*early, strict=True))
    regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(
        features, outcome
    )
    features, outcome, rsi = (np.concatenate(part) for part in zip(*late, strict=True))
    textbook = np.where(rsi < 30, "BUY", np.where(rsi > 70, "SELL", "HOLD"))
    shares = {name: float((outcome == name).mean()) for name in ("BUY", "HOLD", "SELL")}
    return Predictability(
        rows=len(outcome),
        shares=shares,
        majority=max(shares.values()),
        regression=float((regression.predict(features) == outcome).mean()),
        textbook=float((textbook == outcome).mean()),
    )


def _decisions(candles: Candles) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per session: the four features, the outcome in hindsight ("" where not over yet), RSI14."""
    series = situation.compute_indicators(candles)
    score = decision_point.outcomes(series)
    outcome = np.where(
        score > decision_point.THRESHOLD,
        "BUY",
        np.where(score < -decision_point.THRESHOLD, "SELL", "HOLD"),
    )
    features = (
        candles.close / series.sma50 - 1,
        series.sma20 / series.sma50 - 1,
        series.rsi14,
        (series.macd - series.macd_signal) / candles.close,
    )
    return np.stack(features, axis=1), np.where(np.isnan(score), "", outcome), series.rsi14
