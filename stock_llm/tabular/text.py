"""Decodes text files: UTF-8, UTF-16 with a byte order mark, else Windows-1252 line by line.

In: a file. Out: text whose lines end in `\\n`, without a byte order mark. Files that are no text
(PDF, spreadsheets, archives) are refused as what they are.
"""

import codecs
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from stock_llm.errors import InputError

_SIGNATURES = {
    b"PK\x03\x04": "a spreadsheet or a ZIP file",
    b"%PDF": "a PDF",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook (XLS)",
    b"\x1f\x8b": "a gzip file",
}
"""First bytes of files that are no text."""

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def text_blocks(path: Path, size: int = 1 << 24, *, strict: bool = False) -> Iterator[str]:
    """Yields a file in blocks of whole lines of about `size` bytes.

    Args:
        path: the file.
        size: bytes that are decoded at a time.
        strict: only Unicode; otherwise a line that is not UTF-8 is read as Windows-1252.

    Raises:
        InputError: the file is empty, cannot be read, or is no text.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path) from None
    rows, blank = 0, True
    with stream:
        rest = stream.read(4)
        if (kind := _SIGNATURES.get(rest) or _SIGNATURES.get(rest[:2])) is not None:
            raise InputError(f"this is {kind}, not text", file=path, remedy="Export it as CSV")
        if rest.startswith(_UTF16):
            yield _utf16(rest + stream.read(), path)
            return
        rest = rest.removeprefix(codecs.BOM_UTF8)
        while chunk := stream.read(size):
            cut = chunk.rfind(b"\n") + 1
            if not cut:
                rest += chunk
                continue
            lines, rest = rest + chunk[:cut], chunk[cut:]
            yield _utf8(lines, rows, path, strict)
            blank = blank and not lines.strip()
            rows += lines.count(b"\n")
    if blank and not rest.strip():
        raise _empty(path)
    if rest:
        yield _utf8(rest, rows, path, strict)


def read_text(path: Path, *, strict: bool = False) -> str:
    """Returns a whole file; see `text_blocks`."""
    return "".join(text_blocks(path, strict=strict))


def without_accents(text: str) -> str:
    """Removes accents, which exports in capitals or of old systems leave out."""
    signs = unicodedata.normalize("NFKD", text)
    return "".join(sign for sign in signs if not unicodedata.combining(sign))


def _utf16(content: bytes, path: Path) -> str:
    try:
        text = _with_plain_line_ends(content.decode("utf-16"))
    except UnicodeDecodeError as error:
        problem = f"not UTF-16 text: {error.reason}"
        raise InputError(problem, file=path, remedy="Save it as CSV in UTF-8") from None
    if not text.strip():
        raise _empty(path)
    return text


def _utf8(content: bytes, rows: int, path: Path, strict: bool) -> str:
    try:
        return _with_plain_line_ends(content.decode())
    except UnicodeDecodeError as error:
        if not strict:
            return _with_plain_line_ends("\n".join(map(_line, content.split(b"\n"))))
        raise InputError(
            f"not UTF-8 text (byte 0x{content[error.start]:02x})",
            file=path,
            row=rows + content.count(b"\n", 0, error.start) + 1,
            remedy="Save it in UTF-8",
        ) from None


def _line(line: bytes) -> str:
    for encoding in ("utf-8", "cp1252"):
        try:
            return line.decode(encoding)
        except UnicodeDecodeError:
            continue
    return line.decode("latin-1")


def _with_plain_line_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _empty(path: Path) -> InputError:
    return InputError("the file is empty", file=path, remedy="Export it again")
