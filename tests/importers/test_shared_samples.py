"""Exports of the formats that real files were found of: rows whose money was worked out by hand, every row accounted for,
nothing changed by a second import. Samples made up for the tests, and real ones where there is a folder of them
(tests/factories/further_samples.py)."""

import csv
import random
from pathlib import Path

import pytest
from factories.further_samples import SHARED as SHARED_DATA
from importers.test_exports import lines_of

from stock_llm.importers import engine
from stock_llm.importers.format_spec import bundled_formats
from stock_llm.importers.table_reader import first_header
from stock_llm.tabular.text import read_text

SHARED = SHARED_DATA / "brokers"
EXPORTS = Path(__file__).parents[1] / "exports"

ROWS = {
    "export_to_ghostfolio/saxo-export.csv": """
        2 DIVIDEND STOCK VWRL - @ - = 1.83 fee 0 tax 0 EUR 2025-04-02
        4 SELL STOCK VWRA 3 @ 139.74 = 419.22 fee 0 tax 0 USD 2025-01-02
        5 FEE CASH - - @ - = 3.91 fee 0 tax 0 USD 2025-01-02
        13 BUY STOCK VWRA 3 @ 139.74 = 419.22 fee 3.77 tax 0 USD 2024-12-30
    """,
    "export_to_ghostfolio/delta-export.csv": """
        2 BUY CRYPTO ETH 10 @ 0.06 = 0.6 fee 0 tax 0 BTC 2023-06-02T20:06:47Z
        2 SELL CRYPTO BTC 0.6 @ 16.666666666667 = 10 fee 0 tax 0 ETH 2023-06-02T20:06:47Z
        2 TRANSFER CRYPTO BNB -0.1 @ - = - fee 0 tax 0  2023-06-02T20:06:47Z
        4 TRANSFER CRYPTO DOT -0.1 @ - = - fee 0 tax 0  2023-05-26T06:08:15Z
        4 TRANSFER CRYPTO DOT -0.001 @ - = - fee 0 tax 0  2023-05-26T06:08:15Z
    """,
    "export_to_ghostfolio/avanza-export.csv": """
        3 SELL STOCK NO0010827280 352.033838 @ 154.665276 = 54447.410715609288 fee 0 tax 0 SEK 2025-01-13
        13 FEE CASH - - @ - = -1.24 fee 0 tax 0 SEK 2024-02-27
        18 BUY STOCK US78409V1044 2 @ 330.16 = 660.32 fee 0 tax 0 USD 2023-03-10
        18 FEE CASH US78409V1044 - @ - = 21.45 fee 0 tax 0 SEK 2023-03-10
        19 TRANSFER STOCK LU2553958823 3.6545 @ - = - fee 0 tax 0  2023-03-10
        20 TRANSFER STOCK LU0302296149 -3.6545 @ - = - fee 0 tax 0  2023-03-10
    """,
    "export_to_ghostfolio/traderepublic-export.csv": """
        2 WITHDRAWAL CASH - - @ - = 10.84 fee 0 tax 0 EUR 2024-11-30
        9 SELL STOCK US88160R1014 0.2625 @ 334.15 = 87.714375 fee 1 tax 0 EUR 2024-12-10T09:25:01Z
    """,
    "export_to_ghostfolio/ibkr-trades-export.csv": """
        2 BUY STOCK CH0111762537 7 @ 282.7 = 1978.9 fee 5 tax 0 CHF 2023-05-22
    """,
    "export_to_ghostfolio/ibkr-dividends-export.csv": """
        3 TAX STOCK SMMCHA - @ - = 14.68 fee 0 tax 0 CHF 2023-09-13
    """,
    "export_to_ghostfolio/finpension-bvg-export.csv": """
        5 DIVIDEND FUND CH0429081620 - @ - = 0.04 fee 0 tax 0 CHF 2025-05-23
        11 BUY FUND CH0429081620 0.155 @ 1690.56 = 262.0368 fee 0 tax 0 CHF 2024-10-22
    """,
    "export_to_ghostfolio/finpension-3a-export.csv": """
        5 SELL FUND CH0214967314 0.002 @ 1773.37 = 3.54674 fee 0 tax 0 CHF 2023-07-11
    """,
    "export_to_ghostfolio/revolut-invest-export.csv": """
        7 FEE CASH - - @ - = 0.01 fee 0 tax 0 USD 2021-09-01T07:40:54Z
        9 SPLIT STOCK TSLA 0.16431924 @ - = - fee 0 tax 0 USD 2022-08-25T08:27:46Z
        13 BUY STOCK MSFT 0.76672417 @ 26.09 = 20.0038335953 fee 0 tax 0 EUR 2025-09-08T07:29:03Z
    """,
    "export_to_ghostfolio/revolut-crypto-export.csv": """
        5 TRANSFER CRYPTO BTC -0.00056077 @ 137211.36 = - fee 0 tax 0 SEK 2020-11-09T03:50:00Z
        10 BUY CRYPTO ETH 0.00431791 @ 2315.93 = 10 fee 0.14 tax 0 EUR 2024-02-09T09:46:02Z
        13 INTEREST CRYPTO ETH 0.0000478 @ - = - fee 0 tax 0  2025-01-17T00:43:29Z
    """,
    "export_to_ghostfolio/investengine-export.csv": """
        6 SELL FUND IE00BK5BQT80 10.696127 @ 102.22 = 1093.41 fee 0 tax 0 GBP 2025-04-30T13:13:11Z
    """,
    "export_to_ghostfolio/degiro-export.csv": """
        22 BUY STOCK US9256521090 1 @ 33.9 = 33.9 fee 0 tax 0 USD 2022-12-15T15:55:00Z
        22 FEE CASH US9256521090 - @ - = 1 fee 0 tax 0 EUR 2022-12-15T15:55:00Z
        32 BUY STOCK AU000000FBR4 500 @ 0.039 = 19.5 fee 0 tax 0 EUR 2021-02-16T13:42:00Z
        39 SELL STOCK IE00BYXG2H39 1 @ 5.416 = 5.416 fee 1 tax 0 EUR 2023-08-01T08:03:00Z
        42 BUY STOCK IE00B4L5Y983 6 @ 49.785 = 298.71 fee 0 tax 0 EUR 2019-05-15T07:05:00Z
        56 SELL STOCK GB00BPQY8M80 4 @ 496 = 1984 fee 0 tax 0 GBX 2024-04-02T07:00:00Z
        65 TRANSFER STOCK NL0013654783 999 @ - = - fee 0 tax 0 EUR 2023-09-14T06:49:00Z
        70 INTEREST STOCK NL0010661914 - @ - = -0.25 fee 0 tax 0 EUR 2020-07-14T22:00:00Z
    """,
    "export_to_ghostfolio/rabobank-export.csv": """
        3 SELL FUND NL0014065450 1.2343 @ 134.776 = 166.36 fee 0 tax 0 EUR 2024-02-08T10:46:02Z
        12 DIVIDEND FUND NL0014065450 60.5563 @ 1.331559 = 80.63 fee 0 tax 12.09 EUR 2023-11-28
    """,
    "export_to_ghostfolio/directa-export.csv": """
        12 DIVIDEND STOCK IEMB - @ - = 20.95 fee 0 tax 0 EUR 2024-12-27
        17 INTEREST STOCK CXF549 - @ - = 11 fee 0 tax 0 EUR 2024-12-27
        28 BUY STOCK CNYB 39 @ 5.034102564103 = 196.33 fee 0 tax 0 EUR 2024-12-02
    """,
    "export_to_ghostfolio/etoro-export.csv": """
        3 DIVIDEND STOCK NKE - @ - = 0.17 fee 0 tax 0 USD 2024-01-02T00:10:33Z
        11 SELL STOCK OLED 0.102626 @ 179.584120982987 = 18.43 fee 0 tax 0 USD 2024-01-09T15:30:40Z
        27 FEE CASH - - @ - = -0.21 fee 0 tax 0 USD 2020-05-20T01:31:04Z
        29 TAX STOCK HNKE - @ - = 6.97 fee 0 tax 0 USD 2025-07-10T15:15:01Z
    """,
    "export_to_ghostfolio/investimental-export.csv": """
        41 SELL STOCK TVBETETF 10 @ 27.185 = 271.85 fee 0 tax 0 RON 2024-05-31T09:41:49Z
        42 SELL STOCK TVBETETF 55 @ 27.185 = 1495.175 fee 0 tax 0 RON 2024-05-31T09:44:12Z
    """,
    "export_to_ghostfolio/xtb-export.csv": """
        2 BUY STOCK SPYL.DE 34 @ 11.748 = 399.432 fee 0 tax 0 EUR 2024-04-12T11:01:45Z
        18 BUY STOCK GOOGL.US 1 @ 122.34 = 122.34 fee 0 tax 0 USD 2023-07-25T18:56:07Z
        27 INTEREST OTHER GBPUSD - @ - = 0.13 fee 0 tax 0  2022-07-21T23:35:43Z
        40 TAX CASH - - @ - = 2 fee 0 tax 0  2024-05-07T07:36:50Z
    """,
    "export_to_ghostfolio/bux-export.csv": """
        6 BUY STOCK NL0011821202 0.638989 @ 11.08 = 7.07999812 fee 0 tax 0 EUR 2023-03-21T12:37:29Z
        21 BUY STOCK US3755581036 0.104172 @ 109.96 = 11.45475312 fee 0 tax 0 USD 2025-06-11T14:45:18Z
        24 SPLIT STOCK US0378331005 -2 @ - = - fee 0 tax 0 USD 2020-08-31T09:16:47Z
        25 SPLIT STOCK US0378331005 8 @ - = - fee 0 tax 0 USD 2020-08-31T09:18:46Z
    """,
    "export_to_ghostfolio/relai-export.csv": """
        3 BUY CRYPTO BTC 0.00284516 @ 95287.63 = 271.05 fee 2.45 tax 0 CHF 2024-07-22T09:41:06Z
    """,
    "export_to_ghostfolio/disnat-export.csv": """
        2 DIVIDEND STOCK XIC 9 @ - = 2.53 fee 0 tax 0 CAD 2025-09-29
        7 SELL STOCK CASH 10 @ 50 = 500 fee 0 tax 0 CAD 2025-08-01
        8 BUY STOCK VEQT 10 @ 49.38 = 493.8 fee 0 tax 0 CAD 2025-07-31
    """,
    "export_to_ghostfolio/parqet-export.csv": """
        16 DIVIDEND STOCK US02079K3059 6 @ 0.18 = 1.11 fee 0 tax 0.27 EUR 2024-06-17T07:00:00Z
        25 SELL STOCK IL0011582033 14 @ 22.88 = 320.32 fee 1 tax -12.64 EUR 2024-05-15T22:39:00Z
    """,
    "export_to_ghostfolio/cryptocom-export.csv": """
        5 SELL CRYPTO EGLD 4.15 @ 34.537388227846 = 143.330161145562 fee 0 tax 0 EUR 2025-01-07T11:43:48Z
        5 BUY CRYPTO USDC 150.865358 @ 0.950053498336 = 143.330161145562 fee 0 tax 0 EUR 2025-01-07T11:43:48Z
        23 TRANSFER CRYPTO CRO 58.906197 @ 0.074355504566 = - fee 0 tax 0 EUR 2024-08-08T06:28:12Z
        24 SELL CRYPTO USDT 235.08 @ 0.893312914752 = 210 fee 0 tax 0 EUR 2024-08-08T06:27:13Z
    """,
    "export_to_ghostfolio/bitvavo-export.csv": """
        2 TRANSFER CRYPTO ETH -0.01071395 @ - = - fee 0 tax 0  2023-11-30T10:37:41Z
        16 SELL CRYPTO ETH 0.00781401 @ 1597.5 = 12.482880975 fee 0.032880975 tax 0 EUR 2023-02-20T14:15:46Z
        27 INTEREST CRYPTO ETH 0.00001819 @ - = - fee 0 tax 0  2022-11-14T09:48:36Z
    """,
    "export_to_ghostfolio/coinbase-export.csv": """
        4 TRANSFER CRYPTO ETH2 -0.180914809326 @ 3302.650897907713 = - fee 0 tax 0 EUR 2025-01-07T19:26:56Z
        6 SELL CRYPTO BTC 0.00363125 @ 93336.173493975904 = 338.92698 fee 0 tax 0 EUR 2024-12-05T06:33:40Z
        6 BUY CRYPTO XRP 156.145683 @ 2.170581814932 = 338.92698 fee 0 tax 0 EUR 2024-12-05T06:33:40Z
    """,
    "export_to_ghostfolio/trading212-export.csv": """
        6 SELL STOCK ASTR 0.61254 @ 1.26 = 0.7718004 fee 0 tax 0 USD 2023-12-26T14:30:05Z
        9 DIVIDEND STOCK INRG - @ - = 15.02 fee 0 tax 15.02 USD 2024-01-12T14:14:14Z
        9 DIVIDEND STOCK INRG 0.0280492 @ - = 17.674081412 fee 0 tax 0 GBX 2024-01-12T14:14:14Z
    """,
    "export_to_ghostfolio/cointracking-export.csv": """
        2 INTEREST CRYPTO BTC 0.001 @ - = - fee 0 tax 0  2025-01-18T15:18:55Z
        2 FEE CASH BTC - @ - = 2 fee 0 tax 0 EUR 2025-01-18T15:18:55Z
        5 SELL CRYPTO BTC 0.0022 @ 91818.181818181818 = 202 fee 2 tax 0 EUR 2025-01-11T10:12:27Z
    """,
    "export_to_ghostfolio/schwab-export.csv": """
        34 SELL STOCK FIHBX 592.199 @ 8.46 = 5010.00354 fee 10 tax 0 USD 2023-08-22
        100 SELL STOCK SNAXX 500135 @ 1 = 500135 fee 0 tax 0 USD 2023-09-08
        108 SPLIT STOCK AVGO 9 @ - = - fee 0 tax 0 USD 2024-07-12
        112 SPLIT STOCK 890260854 -1 @ - = - fee 0 tax 0 USD 2024-06-10
    """,
    "export_to_ghostfolio/freetrade-export.csv": """
        5 DIVIDEND STOCK NVDA 11.5362937 @ - = 0.46 fee 0 tax 0.07 USD 2024-03-27T06:26:00Z
        9 BUY STOCK ATST 421 @ 11.97869359 = 5043.03000139 fee 0 tax 25.22 GBP 2024-02-23T15:34:06Z
        11 BUY STOCK NVDA 4.1056135 @ 617.439318 = 2534.967199411593 fee 0 tax 0 USD 2024-01-24T15:16:15Z
        11 FEE CASH NVDA - @ - = 7.76 fee 0 tax 0 GBP 2024-01-24T15:16:15Z
        13 TRANSFER STOCK VWRL 1 @ 4.9477 = - fee 0 tax 0 GBP 2024-01-21T15:14:54Z
    """,
    "export_to_ghostfolio/swissquote-export.csv": """
        2 WITHDRAWAL CASH - - @ - = 2002 fee 0 tax 0 CHF 2022-08-24T05:00:15Z
        12 SELL STOCK VDEM 537 @ 55.945 = 30042.465 fee 180.91 tax 0 USD 2022-08-09T08:37:37Z
        15 FEE CASH - - @ - = 53.85 fee 0 tax 0 CHF 2022-06-30T16:01:13Z
        22 INTEREST CASH - - @ - = -0.01 fee 0 tax 0 CHF 2022-01-01T10:37:15Z
    """,
    "cgt_calc/trading212/2020_from_2020-09-11_to_2021-04-02.csv": """
        3 BUY STOCK VNRG 1 @ 10.74 = 10.74 fee 0 tax 0 USD 2020-06-24T14:33:50Z
        9 DIVIDEND STOCK NVDA 1 @ - = 0.16 fee 0 tax 0.02 USD 2021-04-02T10:15:07Z
    """,
    "cgt_calc/trading212/2024_transactions.csv": """
        5 DEPOSIT CASH - - @ - = 0.75 fee 0 tax 0 GBP 2024-01-04T13:12:49Z
        7 FEE CASH FOO - @ - = 4.71 fee 0 tax 0 GBP 2024-04-29T13:20:03Z
        7 SELL STOCK FOO 24 @ 164.01 = 3936.24 fee 0 tax 0 USD 2024-04-29T13:20:03Z
    """,
    "cgt_calc/trading212/2026_transactions.csv": """
        4 SELL STOCK ACME 10 @ 160 = 1600 fee 0.05 tax 0 USD 2024-06-27T15:45:10Z
        4 FEE CASH ACME - @ - = 1.87 fee 0 tax 0 GBP 2024-06-27T15:45:10Z
        5 BUY STOCK REN 20 @ 50 = 1000 fee 0 tax 3 EUR 2024-08-01T09:05:00Z
        5 FEE CASH REN - @ - = 1.2 fee 0 tax 0 GBP 2024-08-01T09:05:00Z
    """,
    "cgt_calc/freetrade/transactions.csv": """
        3 DIVIDEND STOCK NDAQ 6.36545916 @ - = 1.4 fee 0 tax 0.21 USD 2023-12-22T17:11:00Z
        18 TRANSFER STOCK TDUP 1 @ 14.6 = - fee 0 tax 0 USD 2021-12-13T16:16:49Z
    """,
    "cgt_calc/hl/hl-transaction-summary.csv": """
        9 SELL FUND Vanguard FTSE Developed World UCITS ETF 1000 @ 45 = 45000 fee 11.95 tax 0 GBP 2026-02-25
        10 BUY FUND Vanguard FTSE Developed World UCITS ETF 4563 @ 32.87199 = 149994.89037 fee 11.9496 tax 0 GBP 2026-01-24
        11 DEPOSIT CASH - - @ - = 50000 fee 0 tax 0 GBP 2026-01-24
    """,
    "cgt_calc/interactive_brokers/test_basic.csv": """
        17 SELL STOCK CNX1 2 @ 1001 = 2002 fee 3 tax 0 GBP 2025-08-15
        18 BUY STOCK CNX1 4 @ 1000 = 4000 fee 3 tax 0 GBP 2025-03-15
        19 TAX CASH - - @ - = -3.9 fee 0 tax 0 GBP 2025-02-08
        21 INTEREST CASH - - @ - = 13 fee 0 tax 0 GBP 2025-02-01
    """,
    "cgt_calc/schwab/cash_merger_transactions.csv": """
        3 SELL STOCK FOO 100 @ 10 = 1000 fee 0 tax 0 USD 2021-03-02
    """,
    "cgt_calc/schwab/bond_interest_transactions.csv": """
        2 INTEREST BOND 912828YW8 - @ - = 500 fee 0 tax 0 USD 2023-03-15
    """,
    "cgt_calc/schwab/2023_transactions.csv": """
        3 BUY STOCK BAR 300 @ 135.0075 = 40502.25 fee 1.34 tax 0 USD 2023-10-09
    """,
    "cgt_calc/schwab/schwab_transactions.csv": """
        5 SELL STOCK VUAG 90 @ 33 = 2970 fee 5 tax 0 USD 2020-06-06
    """,
    "cgt_calc/schwab/schwab_equity_award_v2.json": """
        1 TAX STOCK GOOG - @ - = -11.2 fee 0 tax 0 USD 2024-07-12
        4 TRANSFER STOCK GOOG 13.6 @ 131.25 = - fee 0 tax 0 USD 2023-09-27
        7 SELL STOCK GOOG 14.4 @ 137.9 = 1985.76 fee 0.02 tax 0 USD 2023-08-31
    """,
    "cgt_calc/vanguard/cash_investment_report.csv": """
        17 DIVIDEND FUND FOO - @ - = -170.83 fee 0 tax 0 GBP 2022-07-29
        30 BUY FUND FOO 1550 @ 9.665845 = 14982.06 fee 0 tax 0 GBP 2022-03-10
    """,
    "cgt_calc/vanguard/cash_report.csv": """
        3 BUY FUND FOO 1550 @ 9.66584516129 = 14982.06 fee 0 tax 0 GBP 2022-03-09
        20 FEE CASH - - @ - = -25 fee 0 tax 0 GBP 2022-10-15
    """,
    "cgt_calc/raw/test_data.csv": """
        2 DIVIDEND STOCK OPRA 4200 @ 0.8 = 3360 fee 0 tax 0 USD 2023-02-09
        10 SPLIT STOCK AMZN 209 @ - = - fee 0 tax 0 USD 2022-06-06
    """,
}
"""Sample → entries as tests/exports/expected writes them: row, kind, class, what, quantity @ price
= amount, charges, time."""

FORMATS = {
    "cgt_calc/freetrade/transactions.csv": "freetrade",
    "cgt_calc/hl/hl-transaction-summary.csv": "hl",
    "cgt_calc/interactive_brokers/test_basic.csv": "ibkr-statement",
    "cgt_calc/raw/test_data.csv": "generic",
    "cgt_calc/schwab/2023_transactions.csv": "schwab",
    "cgt_calc/schwab/bond_interest_transactions.csv": "schwab",
    "cgt_calc/schwab/cash_merger_transactions.csv": "schwab",
    "cgt_calc/schwab/schwab_equity_award_v2.json": "schwab-awards",
    "cgt_calc/schwab/schwab_transactions.csv": "schwab",
    "cgt_calc/trading212/2020_from_2020-09-11_to_2021-04-02.csv": "trading212",
    "cgt_calc/trading212/2024_transactions.csv": "trading212",
    "cgt_calc/trading212/2026_transactions.csv": "trading212",
    "cgt_calc/vanguard/cash_investment_report.csv": "vanguard-cash",
    "cgt_calc/vanguard/cash_report.csv": "vanguard-cash",
    "export_to_ghostfolio/avanza-export.csv": "avanza",
    "export_to_ghostfolio/bitvavo-export.csv": "bitvavo",
    "export_to_ghostfolio/bux-export.csv": "bux",
    "export_to_ghostfolio/coinbase-export.csv": "coinbase",
    "export_to_ghostfolio/cointracking-export.csv": "cointracking",
    "export_to_ghostfolio/cryptocom-export.csv": "cryptocom",
    "export_to_ghostfolio/degiro-export.csv": "degiro-account",
    "export_to_ghostfolio/delta-export.csv": "delta",
    "export_to_ghostfolio/directa-export.csv": "directa",
    "export_to_ghostfolio/disnat-export.csv": "disnat",
    "export_to_ghostfolio/etoro-export.csv": "etoro",
    "export_to_ghostfolio/finpension-3a-export.csv": "finpension",
    "export_to_ghostfolio/finpension-bvg-export.csv": "finpension",
    "export_to_ghostfolio/freetrade-export.csv": "freetrade",
    "export_to_ghostfolio/ibkr-dividends-export.csv": "ibkr-flex-dividends",
    "export_to_ghostfolio/ibkr-trades-export.csv": "ibkr-flex-trades",
    "export_to_ghostfolio/investengine-export.csv": "investengine",
    "export_to_ghostfolio/investimental-export.csv": "investimental",
    "export_to_ghostfolio/parqet-export.csv": "parqet",
    "export_to_ghostfolio/rabobank-export.csv": "rabobank",
    "export_to_ghostfolio/relai-export.csv": "relai",
    "export_to_ghostfolio/revolut-crypto-export.csv": "revolut-crypto",
    "export_to_ghostfolio/revolut-invest-export.csv": "revolut-invest",
    "export_to_ghostfolio/saxo-export.csv": "saxo",
    "export_to_ghostfolio/schwab-export.csv": "schwab",
    "export_to_ghostfolio/swissquote-export.csv": "swissquote",
    "export_to_ghostfolio/traderepublic-export.csv": "traderepublic",
    "export_to_ghostfolio/trading212-export.csv": "trading212",
    "export_to_ghostfolio/xtb-export.csv": "xtb",
}


KINDS = (".csv", ".json", ".xml")
REAL = sorted(path for path in SHARED.rglob("*") if path.suffix in KINDS)
OWN = sorted(
    path
    for path in EXPORTS.iterdir()
    if path.suffix in KINDS and path.stem in set(FORMATS.values())
)
SAMPLES = OWN + REAL


def _name(path: Path) -> str:
    return path.relative_to(EXPORTS if path in OWN else SHARED).as_posix()


def _rows_by_hand(path: Path) -> list[str]:
    """What rows of the sample become, worked out by hand: all of them for a made-up one."""
    if path in OWN:
        return (EXPORTS / "expected" / f"{path.stem}.txt").read_text(encoding="utf-8").splitlines()
    lines = ROWS[_name(path)].strip("\n").splitlines()
    return [line.removeprefix("        ") for line in lines if line.strip()]


def _read(path: Path) -> engine.Import:
    return engine.read_export(path, lambda account: f"hash of {account}")


@pytest.mark.parametrize("path", OWN + [path for path in REAL if _name(path) in ROWS], ids=_name)
def test_rows_become_the_entries_worked_out_by_hand(path):
    expected = _rows_by_hand(path)
    rows = {line.split(" ")[0] for line in expected}
    entries = [line for line in lines_of(path) if line.split(" ")[0] in rows or path in OWN]
    assert entries == expected


@pytest.mark.parametrize("path", SAMPLES, ids=_name)
def test_the_header_decides_the_format(path):
    recognised = engine.identify_format(path)
    assert recognised is not None
    assert recognised.name == (path.stem if path in OWN else FORMATS[_name(path)])


@pytest.mark.parametrize("path", SAMPLES, ids=_name)
def test_every_line_is_imported_skipped_or_set_aside(path):
    read = _read(path)
    entries = {entry.source_row for entry in read.entries}
    rejected = [row.row for row in read.skipped + read.quarantined]
    assert len(rejected) == len(set(rejected))
    assert not entries & set(rejected)
    assert read.rows_read == len(entries) + len(rejected)
    if path.suffix == ".csv":
        lines = read_text(path).splitlines()
        full = {number for number, line in enumerate(lines, start=1) if line.strip(' ,;"\t')}
        assert len(full - entries - set(rejected)) == len(read.formats), (
            "but for one header a table"
        )


@pytest.mark.parametrize("path", SAMPLES, ids=_name)
def test_a_second_import_is_the_same(path):
    once, again = _read(path), _read(path)
    assert once.table.equals(again.table)
    assert len(set(once.table["entry_id"].to_pylist())) == len(once.table)


@pytest.mark.parametrize("path", SAMPLES, ids=_name)
def test_the_file_name_does_not_matter(path, tmp_path):
    renamed = tmp_path / "new 1.txt"
    renamed.write_bytes(path.read_bytes())
    assert engine.read_export(renamed, lambda account: account, "same").table.equals(
        engine.read_export(path, lambda account: account, "same").table
    )


def _by_place(path: Path) -> bool:
    """Whether columns without a name are recognised by the one before them, or the first column names a
    section."""
    form = engine.identify_format(path)
    return form is None or form.section or any(" >" in name for name in form.known)


@pytest.mark.parametrize(
    "path", [path for path in SAMPLES if path.suffix == ".csv" and not _by_place(path)], ids=_name
)
def test_columns_may_stand_in_any_order(path, tmp_path):
    lines = read_text(path).splitlines()
    recognised = first_header(lines, bundled_formats())
    records = list(csv.reader(lines, delimiter=recognised.separator))
    named = sum(
        bool(cell) for cell in recognised.header.cells
    )  # what has no name stands at the end
    order = list(range(named))
    random.Random(7).shuffle(order)
    shuffled = tmp_path / "shuffled.csv"
    with shuffled.open("w", encoding="utf-8", newline="") as file:
        for at, record in enumerate(records):
            whole = at >= recognised.at and len(record) >= named
            moved = [record[place] for place in order] + record[named:] if whole else record
            csv.writer(file, delimiter=recognised.separator).writerow(moved)
    ids = sorted(entry.entry_id for entry in _read(path).entries)
    assert sorted(entry.entry_id for entry in _read(shuffled).entries) == ids


@pytest.mark.parametrize("source", ["own", "shared"] if REAL else ["own"])
def test_totals_of_an_export_that_its_rows_do_not_add_up_to_are_reported(source, tmp_path):
    """Rows of the made-up file come to 1500 - 1010 + 10 + 289.99 + 0.31 = 790.30; its total says 700."""
    file, row, total = SHARED / "export_to_ghostfolio" / "schwab-export.csv", 121, -26582.91
    if source == "own":
        file, row, total = tmp_path / "schwab.csv", 7, 700.0
        text = (EXPORTS / "schwab.csv").read_text(encoding="utf-8")
        file.write_text(f'{text}"Transactions Total","","","","","","","$700.00"\n')
    off = _read(file).differences
    assert [(difference.row, difference.what, float(difference.stated)) for difference in off] == [
        (row, "the total of the table", total)
    ]
