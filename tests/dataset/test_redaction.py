"""What identifies a person goes, whatever surrounds it; what a market says stays, to the byte."""

import json
import string
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stock_llm.dataset.privacy.injections import neutralize
from stock_llm.dataset.privacy.pseudonyms import resolve
from stock_llm.dataset.privacy.redaction import MARKS, Redactor
from stock_llm.feedback.item import FeedbackItem
from stock_llm.skills.sentiment import quoted

SAMPLE = Path(__file__).parents[2] / "data" / "sample"

THAI_DIGITS = str.maketrans("0123456789", "๐๑๒๓๔๕๖๗๘๙")

RELAXED = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def thai_id(twelve):
    return twelve + str(
        (
            11
            - sum(
                int(digit) * weight for digit, weight in zip(twelve, range(13, 1, -1), strict=True)
            )
            % 11
        )
        % 10
    )


def iban(country, rest):
    moved = "".join(str(int(character, 36)) for character in rest + country + "00")
    return f"{country}{98 - int(moved) % 97:02}{rest}"


def card(fifteen):
    doubled = [int(digit) * (2 - place % 2) for place, digit in enumerate(fifteen)]
    return fifteen + str(-sum(value - 9 * (value > 9) for value in doubled) % 10)


def digits(count):
    return st.text("0123456789", min_size=count, max_size=count)


words = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=12)
secrets = st.one_of(
    st.builds("{}@{}.{}".format, words, words, st.sampled_from(["com", "co.th", "test"])),
    digits(8).map(lambda middle: iban("DE", f"37040044{middle}00")),
    digits(14).map(lambda rest: iban("GB", f"WEST{rest}")),
    digits(14).map(lambda rest: card(f"4{rest}")),
    digits(7).map(lambda rest: thai_id(f"11017{rest}")),
    digits(7).map(lambda rest: thai_id(f"31005{rest}").translate(THAI_DIGITS)),
    st.builds("08{}-{}-{}".format, digits(1), digits(3), digits(4)),
    digits(8).map(lambda rest: f"09{rest}".translate(THAI_DIGITS)),
    st.builds("+66 8{} {} {}".format, digits(1), digits(3), digits(4)),
    digits(8).map("U{}".format),
    digits(4).map("123-4-5{}-7".format),
)
around = st.sampled_from(["", " ", "ลูกค้า", "ติดต่อ", "note: ", "(", "\n", "ครับ ", '"', ", "])

prices = st.decimals(min_value="0.01", max_value="999999", places=2).map(str)
market = st.one_of(
    prices,
    prices.map(lambda text: f"{float(text):,.2f}"),
    st.decimals(min_value="0", max_value="1", places=4).map(str),
    st.decimals(min_value=-99, max_value=99, places=1).map("({:+}%)".format),
    st.dates(date(2000, 1, 1), date(2040, 1, 1)).map(str),
    st.text(string.ascii_uppercase, min_size=1, max_size=5),
    st.sampled_from(["PTT.BK", "BRK-B", "^GSPC", "7203.T", "$AAPL", "@CNBC"]),
    st.builds("RSI14: {}".format, st.decimals(min_value=0, max_value=100, places=1)),
    st.integers(1, 99999).map("{} shares".format),
    st.sampled_from(
        [
            "SMA20",
            "above",
            "ราคาปิด",
            "ต่ำกว่า",
            "MACD",
            "- ",
            "\n",
            "to",
            "at",
            "1.2x",
            "account",
            "บัญชี",
            "โทร",
        ]
    ),
)


@RELAXED
@given(before=around, secret=secrets, after=around)
def test_no_canary_survives(before, secret, after):
    redactor = Redactor()
    text = redactor.text(f"{before}{secret}{after} ok")
    assert secret not in text
    left = [character for character in text if character.isdigit() or character == "@"]
    assert not left, text
    assert redactor.counts.total() >= 1


@RELAXED
@given(st.lists(market, max_size=12))
def test_market_texts_are_unchanged_to_the_byte(words):
    text = "; ".join(words)
    assert Redactor().text(text) == text


@RELAXED
@given(st.lists(st.one_of(secrets, market, around, st.text(max_size=20)), max_size=8).map("".join))
def test_redacting_twice_is_redacting_once(text):
    once = Redactor().text(text)
    assert Redactor().text(once) == once


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("mail somchai@example.com now", "mail [EMAIL] now"),
        ("อีเมลsomchai@example.comครับ", "อีเมล[EMAIL]ครับ"),
        ("สมชาย@ไทย.ไทย", "[EMAIL]"),
        ("me@localhost, you＠example.com", "[EMAIL], [EMAIL]"),
        ("so\u200bmchai@exam\u200bple.com!", "[EMAIL]!"),
        ("IBAN DE89 3704 0044 0532 0130 00 please", "IBAN [IBAN] please"),
        ("gb82west12345698765432", "[IBAN]"),
        ("DE00370400440532013000, mistyped", "[IBAN], mistyped"),
        ("card 4111 1111 1111 1111 12/27", "card [CARD] 12/27"),
        ("เลขบัตรประชาชน ๑-๑๐๑๗-๐๐๒๓๐-๗๐-๘", "เลขบัตรประชาชน [THAI_ID]"),
        ("โทร.081 234 5678 หรือ 02-123-4567", "โทร.[PHONE] หรือ [PHONE]"),
        ("call me at 020 7946 0018", "call me at [PHONE]"),
        ("(415) 555-2671, 415.555.2671", "[PHONE], [PHONE]"),
        ("my account number is 12345678.", "my account number is [ACCOUNT]."),
        ("acct: AB-778812", "acct: [ACCOUNT]"),
        ("เลขที่บัญชี 123-4-56789-0", "เลขที่บัญชี [ACCOUNT]"),
        ("a/c 9876543210123", "a/c [ACCOUNT]"),
        ("wallet 0x52908400098527886E0F7030069857D2E4169EE7", "wallet [WALLET]"),
        ("SSN 078-05-1120", "SSN [SSN]"),
    ],
)
def test_each_kind_is_named(text, redacted):
    assert Redactor().text(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "my account lost 12500 USD on 2024-01-03",
        "account 2024-01-03: 104.30",
        "บัญชี 12500 บาท",
        "volume 3000000000, turnover 1234567890.55",
        "levels 4150 4155 4160 4171",
        "7 14 21 28 35 42 49 56 63 70",
        "pi 3.14159265358979",
        "call 150.00 2024-06-21, put 145.50",
        "2024-01-03-2024-02-14",
        "+12.5 415.55 2001.20",
    ],
)
def test_numbers_that_identify_no_person_stay(text):
    assert Redactor().text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "ISIN US0378331005",
        "Apple (US0378331005), Tesla (US88160R1014), BAE (GB0002634946)",
        "CUSIP 037833100",
        "volume 12345678901",
        "Volume: 12345678901",
        "ปริมาณซื้อขาย 12345678901",
        "มูลค่า 12345678901 บาท",
        "revenue was $12345678901",
        "Market cap 2345678901234",
        "12345678901 shares changed hands",
        "buy 100@104.20",
        "AAPL@150.25",
        "limit@open",
        ".@JimCramer breaks down the jobs number: https://t.co/c9cby6UgZD",
        "sold AAPL @ 150.25. Then bought",
        "150-155-160-165",
        "10-20-30-40-50",
        "support 150-155 160-165 170-175",
        "levels\n4150\n4155\n4160\n4171",
        "4150 4155 4160 4171 4180",
        "100-150-2000",
        "F1234567 shares",
        "cell 1234567 units",
        "TEL 2345678",
        "account: 12500",
        "บัญชี 12500",
        "พอร์ต 100000",
        "พอร์ต 1234567 บาท",
        "account 250000",
        "มูลค่าพอร์ต 12345678",
        "CIK 0000320193",
        "call us at 10-12-2024",
        "my account up 2023-24",
        "09/10/2024 12 sold",
        "bought at dot com prices",
    ],
)
def test_what_markets_write_stays(text):
    assert Redactor().text(text) == text


@pytest.mark.parametrize(
    "sign",
    ["\n", "\r\n", "\t", "\r", "\v", "\f", "  ", " \n ", "\u0085", "\u2028", "\u2029", "\u00a0", "\u2800", "-", " - ", "–", " – ",
     "−", "-\n", "_", "/", " / ", "."],
)  # fmt: skip
@pytest.mark.parametrize(
    ("parts", "mark"),
    [
        (("081", "234", "5678"), "PHONE"),
        (("0812", "345678"), "PHONE"),
        (("4111", "1111", "1111", "1111"), "CARD"),
        (("4111", "1111", "1111", "1112"), "CARD"),
        (("DE89", "3704", "0044", "0532", "0130", "00"), "IBAN"),
        (("DE88", "3704", "0044", "0532", "0130", "00"), "IBAN"),
        (("DE893", "70400440532013", "000"), "IBAN"),
        (("1", "1017", "00230", "70", "8"), "THAI_ID"),
        (("1101700", "230708"), "THAI_ID"),
    ],
)
def test_no_sign_between_its_parts_hides_a_number(parts, mark, sign):
    assert (
        Redactor().text(f"Call the desk on {sign.join(parts)} now")
        == f"Call the desk on [{mark}] now"
    )


@pytest.mark.parametrize(
    "sign",
    [*"\0\x08\x7f\u00ad\u034f\u061c\u115f\u17b4\u180b\u180e\u200b\u200d\u200e\u202a\u202b\u202c\u202d\u202e\u2060\u2065\u2066\u2067\u2068"
     "\u2069\u206a\u20e3\u3164\ufe0f\ufeff\uffa0\ufff9\U000e0041\U000e0100"],
    ids=lambda sign: f"U+{ord(sign):04X}",
)  # fmt: skip
def test_no_invisible_sign_hides_a_number(sign):
    def hide(text):
        return sign.join(text)

    text = f"{hide('0812345678')}, {hide('1-1017-00230-70-8')}, {hide('DE89 3704 0044 0532 0130 00')}, {hide('me@example.com')}"
    assert Redactor().text(text) == "[PHONE], [THAI_ID], [IBAN], [EMAIL]"


def test_a_number_broken_across_lines_is_found_whatever_else_breaks_it():
    texts = [
        "1-1017-\n00230-70-8",
        "1-1017-0023\n0-70-8",
        "123-4-567\n12-9",
        "account\n12345678",
        "DE89\n3704 0044-0532\n013000",
    ]
    for text in texts:
        assert not any(character.isdigit() for character in Redactor().text(text)), text


def without_unseen(text):
    return "".join(sign for sign in text if sign.isprintable() or sign.isspace())


@RELAXED
@given(
    st.lists(
        st.one_of(secrets, market, around, st.sampled_from("\n\t \u2028\u200b\U000e0041\r\v")),
        max_size=10,
    ).map("".join)
)
def test_later_stages_restore_no_redacted_number(text):
    once = Redactor().text(neutralize(text))
    for later in (
        once,
        neutralize(once),
        quoted(once),
        " ".join(once.split()),
        without_unseen(once),
    ):
        assert Redactor().text(later) == later


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("NL91 ABNA 0417 1643 01", "[IBAN]"),
        ('{"account": "12345678"}', '{"account": "[ACCOUNT]"}'),
        ("account (12345678)", "account ([ACCOUNT])"),
        ("account_id=12345678", "account_id=[ACCOUNT]"),
        ("account_number: 12345678", "account_number: [ACCOUNT]"),
        ("accountNumber: 12345678", "accountNumber: [ACCOUNT]"),
        ("my account, 12345678", "my account, [ACCOUNT]"),
        ("account – 12345678", "account – [ACCOUNT]"),
        ("account 123456", "account [ACCOUNT]"),
        ("0010000000", "[ACCOUNT]"),
        ("account 1234 5678", "account [ACCOUNT]"),
        ("บัญชีหุ้น 0012345-6", "บัญชีหุ้น [ACCOUNT]"),
        ("พอร์ต 12345678", "พอร์ต [ACCOUNT]"),
        ("Fidelity Z12345678", "Fidelity [ACCOUNT]"),
        ("Webull 5MV12345", "Webull [ACCOUNT]"),
        ("Alpaca PA3ABCDEFGHI", "Alpaca [ACCOUNT]"),
        ("Konto 12345678", "Konto [ACCOUNT]"),
        ("Kontonummer: 12345678", "Kontonummer: [ACCOUNT]"),
        ("Depotnummer 123456789", "Depotnummer [ACCOUNT]"),
        ("klantnummer 12345678", "klantnummer [ACCOUNT]"),
        ("client id 8812345", "client id [ACCOUNT]"),
        ("SSN: 078 05 1120", "SSN: [SSN]"),
        ("social security 078.05.1120", "social security [SSN]"),
        ("john.doe (at) example (dot) com", "[EMAIL]"),
        ("john.doe [at] example.com", "[EMAIL]"),
        ("john.doe at example dot com", "[EMAIL]"),
        ("john doe @ example.com", "john [EMAIL]"),
        ("somchai@\nexample.com", "[EMAIL]"),
        ("somchai@exam\nple.com", "[EMAIL]"),
        ("somchai@example.\ncom", "[EMAIL]"),
        ("0\n812345678", "[PHONE]"),
        ("DU\n7712004", "[ACCOUNT]"),
        ("somchai＠example。com", "[EMAIL]"),
        ("somchai@192.168.0.1", "[EMAIL]"),
        ("card 4111 1111 1111 1112", "card [CARD]"),
        ("volume 0812345678", "volume [PHONE]"),
        ("volume 081-234-5678", "volume [PHONE]"),
        ("U1234567 shares the account", "[ACCOUNT] shares the account"),
        ("2024-01-03 123-4-56712-9", "2024-01-03 [ACCOUNT]"),
        ("+66.81.234.5678", "[PHONE]"),
    ],
)
def test_forms_that_people_use(text, redacted):
    assert Redactor().text(text) == redacted


@pytest.mark.parametrize(
    "symbol", ["12345678", "U1234567", "0812345678", "PA3ABCDEFGHI", "somchai@x.com", "A1234567"]
)
def test_a_symbol_that_is_no_ticker_is_removed(symbol):
    assert Redactor().item(FeedbackItem(instruction="?", response="!", symbol=symbol)).symbol == ""


@pytest.mark.parametrize(
    "symbol", ["7203.T", "005930.KS", "600519", "PTT.BK", "BRK-B", "^GSPC", "EURUSD=X", "KESTRO"]
)
def test_a_ticker_stays(symbol):
    assert (
        Redactor().item(FeedbackItem(instruction="?", response="!", symbol=symbol)).symbol == symbol
    )


def test_an_identifying_id_is_hidden_and_can_be_looked_up():
    redactor = Redactor({"hash of DEMO-0001"}, lambda account: f"hash of {account}")
    names = (
        "somchai@example.com",
        "DE89370400440532013000",
        "ibkr:U1234567-T1",
        "generic:DEMO-0001-T7",
        "acct U7654321 news.json",
    )
    for name in names:
        ref = redactor.ref(name)
        assert ref == f"id:hash of {name}" == redactor.ref(name)
        assert resolve(ref, ["another", name], lambda account: f"hash of {account}") == name
        assert resolve(ref, ["another"], lambda account: f"hash of {account}") == ref
    for name in ("sample-0001", "generic:T00005", "5c9e8a7b5d7e4a3c9f1b2d3e4f5a6b7c", "news.json"):
        assert redactor.ref(name) == name


def test_the_users_own_accounts_are_known_in_any_form():
    redactor = Redactor({"hash of DEMO-0001"}, lambda account: f"hash of {account}")
    assert (
        redactor.text("bought in demo-0001 and DEMO-0002, DEMO-0001.")
        == "bought in [ACCOUNT] and DEMO-0002, [ACCOUNT]."
    )
    assert redactor.counts == {"ACCOUNT": 2}


def test_the_sample_is_unchanged():
    redactor = Redactor()
    for line in (SAMPLE / "feedback.jsonl").read_text().splitlines():
        item = FeedbackItem.from_json(json.loads(line))
        clean = redactor.item(item)
        for name in (
            "instruction",
            "input",
            "response",
            "correction",
            "comment",
            "symbol",
            "skill",
            "as_of",
            "rating",
            "thumb",
        ):
            assert getattr(clean, name) == getattr(item, name)
    assert not redactor.counts


def test_only_listed_fields_of_an_item_are_learnt_from():
    given = FeedbackItem(
        instruction="From me@example.com: analyze ACME",
        input="account 12345678",
        response="call 081-234-5678",
        correction="IBAN DE89370400440532013000",
        comment="1101700230708",
        symbol="me@example.com",
        source="Somchai",
        response_id="r-1",
        model_version="v7",
    )
    clean = Redactor().item(given)
    assert (clean.instruction, clean.input, clean.response) == (
        "From [EMAIL]: analyze ACME",
        "account [ACCOUNT]",
        "call [PHONE]",
    )
    assert (clean.correction, clean.comment, clean.symbol) == ("IBAN [IBAN]", "[THAI_ID]", "")
    assert (clean.source, clean.response_id, clean.model_version) == ("user", "", "")
    assert (clean.id, clean.created_at) == (given.id, given.created_at)


def test_hostile_text_is_read_in_linear_time():
    spaced = [
        "1 ",
        "account ",
        "12 - ",
        "account: ",
        "a (at) ",
        "a dot ",
        "DE12 ",
        "1\n",
        "cap ",
        "081 ",
    ]
    for part in ["a-", "+1", "1-", "A1", "0x", "\u200b1", *spaced]:
        redactor = Redactor({"x"}, str.lower)
        assert isinstance(redactor.text(part * 20_000 + "1@"), str)


def test_marks_are_listed_once():
    assert len(set(MARKS)) == len(MARKS)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("acct ends 7788991", "acct ends [ACCOUNT]"),
        ("account ending in 4321", "account ending in [ACCOUNT]"),
        ("last four digits of my account: 4321", "last four digits of my account: [ACCOUNT]"),
        ("acct. ****7788991", "acct. ****[ACCOUNT]"),
        ("บัญชีลงท้ายด้วย 7788991", "บัญชีลงท้ายด้วย [ACCOUNT]"),
        ("accounts ending 7788991 and 7788992", "accounts ending [ACCOUNT] and [ACCOUNT]"),
        ("my card ends 4242", "my card ends [CARD]"),
        ("passport no. AA1234567 expires", "passport no. [PASSPORT] expires"),
        ("Reisepass C01X00T47", "Reisepass [PASSPORT]"),
        ("หนังสือเดินทาง AA1234567", "หนังสือเดินทาง [PASSPORT]"),
        ("P<THASOMCHAI<<JAIDEE<<<<<<<<<<<", "[PASSPORT]"),
        ("driver's license D1234567", "driver's license [ID]"),
        ("tax id 12-3456789", "tax id [ID]"),
        ("DNI 12345678Z is mine", "DNI [ID] is mine"),
    ],
)
def test_parts_of_numbers_passports_and_identity_numbers_are_found(text, redacted):
    assert Redactor().text(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "The portfolio ends 2025 up 12%",
        "account ends the year at 12500 USD",
        "accounts ending 2025-12-31",
        "Passport Capital holds 250000 shares",
        "TIN ORE closed at 12345678 shares",
        "Visa closed at 312.45, revenue 8985000000",
        "card ends 2025",
    ],
)
def test_years_amounts_and_names_of_companies_stay(text):
    assert Redactor().text(text) == text
