"""Bytes of a file become text: UTF-8, UTF-16 or Windows-1252, a byte order mark taken off."""

from pathlib import Path

from stock_llm.errors import InputError


def text_of(path: Path) -> str:
    """A file as text. A line that is not UTF-8 is Latin-1 (Windows-1252), the others stay what they are.

    Raises:
        InputError: the file is empty, unreadable or not text.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path) from None
    return decoded(content, path)


def decoded(content: bytes, path: Path) -> str:
    """See `text_of`."""
    text = _unicode(content, path)
    if not text.strip():
        raise InputError("the file is empty", file=path, remedy="Export it again")
    return text


def _unicode(content: bytes, path: Path) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return content.decode("utf-16")
        except UnicodeDecodeError as error:
            raise InputError(
                f"not UTF-16 text: {error.reason}", file=path, remedy="Save it as CSV in UTF-8"
            ) from None
    if content.startswith(b"PK\x03\x04"):
        raise InputError(
            "this is a spreadsheet or a ZIP file, not text",
            file=path,
            remedy="Save it as CSV in UTF-8",
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return "\n".join(_line(line) for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n"))


def _line(line: bytes) -> str:
    for encoding in ("utf-8", "cp1252"):
        try:
            return line.decode(encoding)
        except UnicodeDecodeError:
            continue
    return line.decode("latin-1")
