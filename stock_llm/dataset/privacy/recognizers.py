"""Recognizes identities in text: Presidio's pattern recognizers, which need no language model, and
patterns of this project.

In: text as `redaction` folds it: ASCII digits, hyphens, single spaces, nothing invisible. Out:
places and marks. Numbers that markets write in the same forms are left alone: ISINs by their check
digit, amounts by the word or currency beside them, price levels by their order.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from string import ascii_uppercase
from typing import TYPE_CHECKING

from stdnum import isin, luhn, numdb

if TYPE_CHECKING:
    from presidio_analyzer import EntityRecognizer


@dataclass(frozen=True, order=True)
class IdentityMatch:
    """A place in a text that identifies somebody, and the mark for it."""

    start: int
    end: int
    mark: str


def find_identities(text: str) -> Iterator[IdentityMatch]:
    """Finds all identities in folded text; matches may overlap."""
    plain = re.sub(r"(?<=\d)_(?=\d)", "-", text).replace("_", " ") if "_" in text else text
    # Presidio's \b sees no border between a Thai letter and a digit
    bare = (
        plain
        if plain.isascii()
        else re.sub(r"[^\W\d]", lambda letter: letter[0] if letter[0].isascii() else "|", plain)
    )
    versions = {"text": text, "plain": plain, "bare": bare}
    for recognizer in _recognizers():
        if recognizer.needs.search(plain):
            # no recognizer here looks at Presidio's language analysis
            presidio = recognizer.recognizer
            for result in presidio.analyze(
                versions[recognizer.reads],
                presidio.supported_entities,
                None,  # type: ignore[arg-type]
            ):
                find = IdentityMatch(result.start, result.end, result.entity_type)
                if not _is_of_the_market(plain, find):
                    yield find


# What looks like an identity and is none


def _is_of_the_market(text: str, find: IdentityMatch) -> bool:
    """Whether a number is an ISIN, an amount, or a row of prices."""
    if find.mark not in ("ACCOUNT", "PHONE", "THAI_ID", "CARD"):
        return False
    digits = text[find.start : find.end]
    if not digits.isdigit():
        return find.mark in ("ACCOUNT", "CARD") and _are_prices(digits)
    before, after = text[max(0, find.start - 60) : find.start], text[find.end : find.end + 20]
    if isin.is_valid(f"{_TOKEN_BEFORE.findall(before)[0]}{digits}{_TOKEN_AFTER.findall(after)[0]}"):
        return True
    if digits[0] == "0":
        return bool(_SECURITY_BEFORE.search(before))
    return bool(_AMOUNT_BEFORE.search(before) or _AMOUNT_AFTER.match(after))


def _are_prices(digits: str) -> bool:
    """Whether these are levels that rise or fall by small or round steps, such as
    150-155-160-165."""
    numbers = [int(part) for part in re.findall(r"\d+", digits)]
    if len(numbers) < 3 or not re.fullmatch(r"[\d /.-]+", digits):
        return False
    if re.fullmatch(r"\d{4}(?:\D+\d{4}){3}", digits) and not luhn.is_valid(
        re.sub(r"\D", "", digits)
    ):
        return max(numbers) < 2 * min(numbers)
    in_order = numbers in (sorted(set(numbers)), sorted(set(numbers), reverse=True))
    close = len(numbers) > 3 and 2 * max(numbers) < 3 * min(numbers)
    return in_order and (
        close or (max(numbers) < 10_000 and not any(number % 5 for number in numbers))
    )


_TOKEN_BEFORE, _TOKEN_AFTER = re.compile(r"[A-Za-z0-9]*$"), re.compile(r"^[A-Za-z0-9]*")

_CURRENCY = r"usd|thb|eur|gbp|jpy"
_UNIT = rf"(?:shares|units|contracts|{_CURRENCY}|dollars?|baht|บาท|หุ้น|ดอลลาร์|%)"
_SECURITY = r"\b(?:cusip|sedol|isin|wkn|cik)\b"
_BETWEEN = (
    r"(?:[ :=(]|\b(?:is|was|of|at|to|about|around|over|rose|fell|reached|hit)\b"
    r"|ซื้อขาย|ตลาด|รวม|หุ้น|อยู่ที่|ที่|เป็น)*"
)
_SECURITY_BEFORE = re.compile(rf"{_SECURITY}{_BETWEEN}$", re.IGNORECASE)
_AMOUNT_BEFORE = re.compile(
    rf"(?:{_SECURITY}|\b(?:volume|vol|turnover|revenues?|sales|cap|capitali[sz]ation|assets|debt|"
    rf"earnings|income|profit|loss|float|"
    rf"outstanding)\b\.?|ปริมาณ|มูลค่า|รายได้|กำไร|ขาดทุน|สินทรัพย์|"
    rf"หนี้สิน){_BETWEEN}(?:{_CURRENCY})? ?[$€£¥฿]?$"
    rf"|(?:[$€£¥฿]|\b(?:{_CURRENCY})) ?$",
    re.IGNORECASE,
)
_AMOUNT_AFTER = re.compile(rf" ?{_UNIT}", re.IGNORECASE)

# Forms

_START, _END = r"(?<!\d)(?<!\d\.)", r"(?!\d|\.\d|%)"
"""Around a number that stands alone: it is neither the decimals of a price nor what comes before
them."""

_PART = r"(?: ?[-./] ?| )"
_GAP = rf"{_PART}?"
"""What stands between the parts of a number, and what may stand between its digits."""

_IS = (
    r"(?: ?(?:numbers?|num\b|no\b\.?|nr\b\.?|n[°º]|id\b|is\b|are\b|was\b|which\b|that\b|['’]s\b|"
    r"[-#:=,(\[\"'{]|"
    r"\.{2,}|[…*•]+|x{2,}(?=[\d -])|x(?=\d)|เลขที่|หมายเลข|เลข|คือ|ที่|หุ้น|ธนาคาร|เงินฝาก|"
    r"ออมทรัพย์|"
    r"ซื้อขาย|หลักทรัพย์|กระแสรายวัน|ลงทุน|เทรด|ของผม|ของฉัน|ของดิฉัน))*+ ?+"
)
"""What stands between the word and the number; `\\K` then leaves the word where it is."""

_LAST_DIGITS = (
    r"(?:last|final|first) (?:(?:\d|two|three|four|five|six) )?(?:digits?|numbers?|figures?)\b"
)
_ENDS = (
    r"(?:(?:ends?|ended|ending|finish(?:es|ing)|starts?|starting|begins?|beginning)\b(?: (?:in|"
    r"with|on|by)\b)?"
    rf"|{_LAST_DIGITS}|(?:ลงท้าย|ขึ้นต้น)(?:ด้วย)?|(?:endet|endend) (?:auf|mit)\b"
    r"|termina(?:nd[oa]|d[oa])?(?: (?:en|in|com|con)\b)?|(?:se termin|finiss)[a-z]+ par\b)"
)
"""What announces a part of a number."""

_NO_AMOUNT = rf"(?! ?{_UNIT})"
_NO_DATE = (
    r"(?!(?:(?:19|20)\d\d[-/]\d\d(?:[-/]\d\d)?|[0-3]?\d[-/][0-3]?\d[-/](?:19|20)\d\d)(?![\d/-]))"
)
_NO_ROUND = r"(?!\d{1,3}0{3,}(?!\d| ?[-/] ?\d))"

_NO_YEAR = r"(?!(?:19|20|25)\d\d(?!\d))"
_SOME_DIGITS = rf"{_NO_DATE}{_NO_YEAR}\d(?:[ -]?\d){{2,}}{_END}{_NO_AMOUNT}"
_AND = r"(?: ?(?:,|&|/|and|or|und|et|y|และ|หรือ|กับ) ?)++"

_ACCOUNT_WORD = (
    r"(?:\b(?:account|acct|acc|a/c|konto|rekening|cuenta|compte|(?<!home )depot|portfolio(?= (?:no|"
    r"num|id|#))|"
    r"(?:client|customer|user|member|kunden|klant)(?= ?(?:id|no|num|nr|#|nummer)))s?(?:number|"
    r"nummer|no|nr|id)?\b"
    r"(?:(?<=acct|accts|acc)\.)?|บัญชี|(?<!มูลค่า)พอร์ต)"
)
_NAMED = rf"{_ACCOUNT_WORD}{_IS}(?:{_ENDS}{_IS})?\K{_NO_DATE}{_NO_ROUND}"


def _in_part(word: str) -> dict[str, str]:
    """The last digits of a number, behind its name or before it, and a further number beside
    one."""
    of = r"(?: (?:of|on|in|for|from|my|the|our|your|his|her|their))* "
    return {
        "in part": rf"{word}{_IS}{_ENDS}{_IS}\K{_SOME_DIGITS}",
        "part first": rf"(?:\b{_LAST_DIGITS}{of}|เลขท้าย){word}{_IS}\K{_SOME_DIGITS}",
    }


_ACCOUNT = {
    **_in_part(_ACCOUNT_WORD),
    "another": rf"\[ACCOUNT\]{_AND}\K{_NO_DATE}{_NO_ROUND}\d(?:[ -]?\d){{5,}}{_END}{_NO_AMOUNT}",
    "named": rf"{_NAMED}(?:[A-Z]{{0,6}}-?(?:\d[A-Z]{{0,2}}(?: ?[-/] ?)?){{5,}}\d[A-Z\d]*"
    rf"|(?:\d(?: ?[-/] ?| )?{_NO_DATE}){{7,}}\d"
    rf"|[A-Z]{{1,6}}-?(?:\d[A-Z]{{0,2}}-?){{4,}}\d[A-Z\d]*){_END}{_NO_AMOUNT}",
    "broker's form": r"(?<![A-Z\d])(?:(?:D[UF] ?|U|F(?!\d+ (?:shares|units|contracts)))\d{6,9}"
    r"|[XYZ]\d{8})(?!\d)"
    r"|(?<![A-Z\d])(?:PA\d[A-Z\d]{9}|\d[A-Z]{2}\d{5})(?![A-Z\d])",
    "long": rf"{_START}(?![1-9]\d{{0,3}}0+(?!\d))\d{{10,}}{_END}",
    "in groups": r"(?<![\d.-])(?!\d{4}-\d\d-\d\d)(?=[\d ]{1,20}-[\d ]{1,20}-)"
    r"(?=(?:(?: ?- ?| )?\d){10,19}(?![\d-]))"
    r"\d{1,6}(?:(?: ?- ?| )(?!\d{4}-\d\d-\d\d)\d{1,6}){2,6}(?![\d-]|\.\d)",
}

_PHONE = {
    "Thai mobile": rf"{_START}0[689]{_GAP}\d{_GAP}\d{{3}}{_GAP}\d{{4}}{_END}"
    rf"|{_START}(?!\d\d[-./]\d\d[-./]\d{{4}}(?!\d))0 ?[689](?:{_GAP}\d){{8}}{_END}",
    "Thai landline": rf"{_START}0(?:2{_GAP}\d{{3}}{_GAP}\d{{4}}"
    rf"|[3-57]\d{_GAP}\d{{3}}{_GAP}\d{{3}}){_END}",
    "North American": rf"{_START}(?![01]\d[05]-\d\d[05]-\d{{3}}[05]{_END})"
    rf"(?:\(\d{{3}}\) ?\d{{3}}[ .-]\d{{4}}|\d{{3}} ?([-./]) ?\d{{3}} ?\1 ?\d{{4}}){_END}",
    "abroad": rf"(?<![\d.])\+(?=(?:[ ()/-]{{0,3}}\d){{9,15}}(?!\d))"
    rf"\d{{1,3}}(?:[ /-]{{0,3}}\(?\d{{1,12}}\)?){{1,7}}{_END}"
    rf"|(?<![\d.])\+\d{{1,3}}(?:\.\d{{2,4}}){{3,4}}{_END}",
    "named": r"(?:\b(?:phone|(?!(?-i:TEL) \d{7}(?!\d))tel|telephone|telefon|mobile|cell|whatsapp|fax"
    r"|call (?:me|us)(?: at| on)?)"
    rf"\b|โทรศัพท์|โทร|มือถือ|เบอร์)\.?{_IS}\K{_NO_DATE}\+?\d(?:[ "
    rf"()/-]{{0,3}}\d){{6,14}}{_END}{_NO_AMOUNT}",
}

_NO_SIGN = r"[^\s@,;:<>()\[\]\"'"
_EMAIL = {
    "any domain": rf"{_NO_SIGN}\u0e00-\u0e7f]{{1,64}}@{_NO_SIGN}\u0e00-\u0e7f]{{1,190}}"
    r"\.(?:(?:(?![\u0e00-\u0e7f])\p{L}){2,63}|xn--[A-Z\d-]{2,59})",
    "Thai": rf"{_NO_SIGN}]{{0,63}}[\u0e00-\u0e7f]@{_NO_SIGN}]{{1,190}}\.\p{{L}}{_NO_SIGN}]{{1,62}}",
    "of a machine": r"[A-Z\d._%+-]{1,64}@(?:localhost\b|\[?\d{1,3}(?:\.\d{1,3}){3}\b\]?)",
}

_LOCAL, _HOST = r"[A-Z\d._%+-]{1,64}", r"[A-Z\d-]{1,63}"
_AT, _DOT = r" ?(?:@|[(\[{] ?(?:at|@) ?[)\]}]) ?", r" ?(?:[(\[{] ?(?:dot|\.) ?[)\]}]|\bdot\b) ?"
_SPELLED_EMAIL = {
    "with signs": rf"{_LOCAL}{_AT}{_HOST}(?:(?:\.|{_DOT}){_HOST}){{0,3}}?"
    rf"(?:\.|{_DOT}| ?\. ?(?=(?:co|com|net|org|info|th)\b))[A-Z]{{2,24}}\b",
    "broken": rf"[A-Z\d]{_LOCAL}@{_HOST} {_HOST}(?:\.{_HOST}){{0,2}}\.[A-Z]{{2,24}}\b",
    "in words": rf"{_LOCAL} at {_HOST}(?:{_DOT}{_HOST}){{0,3}}{_DOT}[A-Z]{{2,24}}\b",
}


@cache
def _iban_forms() -> tuple[str, dict[str, str]]:
    """What is an IBAN by its check digits, and by its form alone, by SWIFT's registry in stdnum."""
    countries: dict[int, list[str]] = {}
    registry = numdb.get("iban")
    for country in map("".join, product(ascii_uppercase, repeat=2)):
        if form := registry.info(country)[0][1].get("bban"):
            size = sum(map(int, re.findall(r"(\d+)!?[a-z]", form)))
            countries.setdefault(size, []).append(country)

    def iban(rest: Callable[[int], str]) -> str:
        forms = "|".join(
            rf"(?:{'|'.join(names)})\d\d{rest(size)}" for size, names in sorted(countries.items())
        )
        return rf"(?<![A-Z\d])({forms})(?![A-Z\d])"

    def in_fours(characters: int) -> str:
        last = rf"{_PART}[A-Z\d]{{{characters % 4}}}" if characters % 4 else ""
        digits = r"(?=(?:[A-Z ./-]{0,10}\d){8})"
        return rf"{digits}(?:{_PART}[A-Z\d]{{4}}){{{characters // 4}}}{last}"

    whole = r"(?<![A-Z\d])[A-Z]{2}\d{2}(?=[A-Z]{0,8}\d{6})[A-Z\d]{11,30}(?![A-Z\d])"
    checked = iban(lambda size: rf"(?:{_GAP}[A-Z\d]){{{size}}}")
    return checked, {"in one piece": whole, "in fours": iban(in_fours)}


_CARD_WITH_CHECK = (
    rf"(?<![A-Z\d])(?<!\d\.)(?:4\d{{3}}|5[0-5]\d\d|6\d{{3}}|1\d{{3}}|3\d{{3}}|"
    rf"2[2-7]\d\d){_GAP}\d{{3,4}}{_GAP}\d{{3,4}}{_GAP}\d{{3,5}}{_END}"
    rf"|{_START}(?=\d{{3,}} \d{{3,}}{_END})[3-6](?: ?\d){{14,15}}{_END}"
)
_CARD_SHAPE = {
    **_in_part(r"(?:\b(?:card|visa|mastercard|amex)s?\b|บัตร(?:เครดิต|เดบิต)?)"),
    "in fours": rf"{_START}(?:[3-6]\d{{3}}|2[2-7]\d\d)(?:{_PART}\d{{4}}){{3}}(?!{_GAP}\d){_END}",
}
_PASSPORT_WORD = (
    r"(?:\b(?:passports?|reisep(?:ass|ässe)|pass(?= ?(?:no|nr|num))|pasaportes?|passeports?|"
    r"passaport[eio]|paspoort)"
    r"(?:number|nummer|no|nr)?\b|หนังสือเดินทาง|พาสปอร์ต|паспорт\w*|护照|旅券|여권)"
)
_PASSPORT_NUMBER = (
    r"(?:(?=(?:[A-Z-]*\d){5})[A-Z\d-]{6,14}|[A-Z]{0,3} ?\d(?:[ -]?\d){4,11}[A-Z]{0,2})(?![A-Z\d])"
)
_PASSPORT = {
    **_in_part(_PASSPORT_WORD),
    "named": rf"{_PASSPORT_WORD}{_IS}\K{_NO_DATE}{_PASSPORT_NUMBER}{_NO_AMOUNT}",
    "another": rf"\[PASSPORT\]{_AND}\K{_PASSPORT_NUMBER}",
    "for machines": r"(?<![A-Z\d<])(?:[PVIAC][A-Z<][A-Z]{3}[A-Z<]{5,}<<[A-Z<]*"
    r"|[A-Z\d<]{9}\d[A-Z<]{3}\d{7}[MFX<]\d{7}[A-Z\d<]{8,})",
}
_ID_WORD = (
    r"(?:\b(?:driv(?:er['’]?s?|ing)['’]? (?:licen[cs]e|permit)s?|licen[cs]e(?= ?(?:no|num|#))|"
    r"(?:national|citizen|personal|identity|identification)(?: card)? (?:id|number|no)|"
    r"id(?:entity)? card|"
    r"tax(?:payer)?(?: identification)? (?:id|no|number)|itin|tin|ein|nric|nin|nie|dni|nif|cpf|bsn|"
    r"pesel|aadhaa?r|"
    r"pan(?= ?(?:card|no|num|[A-Z]{5}\d{4}))|steuer-?(?:id|nummer)|personalausweis|social "
    r"insurance|"
    r"(?:ni|national insurance|visa|medicare|health (?:card|insurance)) (?:no|number))\b"
    r"|เลขประจำตัว(?:ประชาชน|ผู้เสียภาษี(?:อากร)?)?|บัตรประชาชน|ใบขับขี่|ใบอนุญาตขับ(?:ขี่|รถ))"
)
_ID_NUMBER = (
    rf"{_NO_DATE}(?:(?=(?:[A-Z ./-]{{0,6}}\d){{6}})(?:[A-Z]{{1,5}}[ -]?)?[A-Z]*\d[A-Z\d]*"
    r"(?:[ ./-]{1,2}[A-Z]?\d[A-Z\d]*)*(?: [A-Z](?![A-Z\d]))?|[A-Z]{3,5}\d{4,}[A-Z]?)(?![A-Z\d])"
)
_ID = {**_in_part(_ID_WORD), "named": rf"{_ID_WORD}{_IS}\K{_ID_NUMBER}{_NO_AMOUNT}"}
_WALLET = {"Ethereum": r"(?<![A-Z\d])0x[\dA-F]{40}(?![A-Z\d])"}
_SSN = {
    "by form": r"(?<![\d-])\d{3} ?- ?\d\d ?- ?\d{4}(?![\d-])",
    "named": rf"\b(?:SSN|social security){_IS}\K\d{{3}}{_GAP}\d\d{_GAP}\d{{4}}(?!\d)",
}
_THAI_ID = (
    rf"{_START}[1-8](?:{_GAP}\d{{4}}{_GAP}\d{{5}}{_GAP}\d\d{_GAP}\d){_END}"
    rf"|{_START}(?=[1-8](?:{_GAP}\d){{12}}{_END})\d{{2,}}(?:{_PART}\d{{2,}})?{_END}"
    rf"|{_START}(?=[\d ]{{1,20}}-[\d ]{{1,20}}-[\d ]{{1,20}}-)[1-8](?:(?: ?- ?| )?\d){{12}}{_END}"
)


@dataclass(frozen=True)
class _Recognizer:
    """A recognizer of Presidio's.

    Attributes:
        reads: "text" as it is, "plain": underscores as hyphens and spaces, "bare": Thai letters as
            bars, too.
        needs: what a text must have for it to find anything: most have not, and this is faster than
            looking.
    """

    recognizer: "EntityRecognizer"
    reads: str
    needs: re.Pattern[str]


@cache
def _recognizers() -> list[_Recognizer]:
    from presidio_analyzer import Pattern, PatternRecognizer
    from presidio_analyzer.predefined_recognizers import (
        CreditCardRecognizer,
        CryptoRecognizer,
        IbanRecognizer,
        PhoneRecognizer,
        ThTninRecognizer,
    )
    from tldextract import TLDExtract

    # the list that comes with it, not the network's
    known_suffix = TLDExtract(suffix_list_urls=(), cache_dir=None)

    class SpelledEmail(PatternRecognizer):
        """Of words that could be an address, those that end with a domain's suffix."""

        def validate_result(self, pattern_text: str) -> bool:
            dotted = re.sub(_DOT, ".", pattern_text, flags=re.IGNORECASE).replace(" ", "")
            return bool(known_suffix(re.split(r"@|[)\]}]", dotted)[-1]).suffix)

    def forms(patterns: dict[str, str]) -> list[Pattern]:
        return [Pattern(name, regex, 0.5) for name, regex in patterns.items()]

    def ours(mark: str, patterns: dict[str, str]) -> PatternRecognizer:
        return PatternRecognizer(mark, patterns=forms(patterns))

    any_case = re.DOTALL | re.MULTILINE | re.IGNORECASE
    apart = [(sign, "") for sign in "-./ "]
    iban_with_check, iban_shape = _iban_forms()
    iban, card, thai_id = (
        forms({"with check": regex}) for regex in (iban_with_check, _CARD_WITH_CHECK, _THAI_ID)
    )
    known_iban = IbanRecognizer(
        iban,  # type: ignore[arg-type]  # declared as texts, used as patterns
        supported_entity="IBAN",
        regex_flags=any_case,
        replacement_pairs=apart,
    )
    at_sign, spelled = re.compile("@"), re.compile(r"@|[(\[{] ?[aA][tT]|\b[dD][oO][tT]\b")
    country, long_word, hexadecimal = map(
        re.compile, (r"(?<![A-Za-z\d])[A-Za-z]{2}\d\d", r"[A-Za-z\d]{25}", "0[xX]")
    )
    three = re.compile(r"\d(?:\D{0,4}\d){2}|[pP][aA]\d|<<")
    seven, nine, twelve = (re.compile(rf"\d(?:\D{{0,4}}\d){{{count - 1}}}") for count in (7, 9, 12))
    return [
        _Recognizer(ours("EMAIL", _EMAIL), "text", at_sign),
        _Recognizer(SpelledEmail("EMAIL", patterns=forms(_SPELLED_EMAIL)), "text", spelled),
        _Recognizer(known_iban, "bare", country),
        _Recognizer(ours("IBAN", iban_shape), "bare", country),
        _Recognizer(
            CreditCardRecognizer(card, supported_entity="CARD", replacement_pairs=apart),
            "bare",
            twelve,
        ),
        _Recognizer(ours("CARD", _CARD_SHAPE), "plain", three),
        _Recognizer(
            ThTninRecognizer(thai_id, supported_entity="THAI_ID", replacement_pairs=apart),
            "bare",
            twelve,
        ),
        _Recognizer(
            PhoneRecognizer(supported_entity="PHONE", supported_regions=(None,)),
            "bare",
            re.compile(r"\+"),
        ),
        _Recognizer(ours("PHONE", _PHONE), "plain", seven),
        _Recognizer(CryptoRecognizer(supported_entity="WALLET"), "bare", long_word),
        _Recognizer(ours("WALLET", _WALLET), "bare", hexadecimal),
        _Recognizer(ours("SSN", _SSN), "plain", nine),
        _Recognizer(ours("PASSPORT", _PASSPORT), "plain", three),
        _Recognizer(ours("ID", _ID), "plain", three),
        _Recognizer(ours("ACCOUNT", _ACCOUNT), "plain", three),
    ]
