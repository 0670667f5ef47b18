"""Files as text: UTF-8 without a byte order mark, lines that end in `\n`, and an error that names the row where it is not so."""

import codecs
from collections.abc import Iterator
from pathlib import Path

from stock_llm.errors import InputError


def text_blocks(path: Path, size: int = 1 << 24) -> Iterator[str]:
    """A file as text, in blocks of whole lines of about `size` bytes that end in `\n`, without a spreadsheet's byte order mark.

    Raises:
        InputError: the file is empty or not UTF-8.
    """
    rows, rest, blank = 0, b"", True
    with path.open("rb") as stream:
        rest = stream.read(len(codecs.BOM_UTF8))
        rest = b"" if rest == codecs.BOM_UTF8 else rest
        while chunk := stream.read(size):
            rest += chunk
            cut = rest.rfind(b"\n") + 1
            if cut:
                yield _text(rest[:cut], rows, path)
                blank = blank and not rest[:cut].strip()
                rows += rest.count(b"\n", 0, cut)
                rest = rest[cut:]
    if blank and not rest.strip():
        raise InputError("the file is empty", file=path, remedy="Export it again")
    if rest:
        yield _text(rest, rows, path)


def read_text(path: Path) -> str:
    """A whole file as text, its lines ending in `\n`, without the byte order mark that spreadsheets put before it.

    Raises:
        InputError: the file is empty or not UTF-8.
    """
    return "".join(text_blocks(path))


def _text(content: bytes, rows: int, path: Path) -> str:
    try:
        return content.decode().replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        row = rows + content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"not UTF-8 text (byte 0x{content[error.start]:02x})",
            file=path,
            row=row,
            remedy="Save it as CSV in UTF-8",
        ) from None
