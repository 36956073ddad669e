"""The lines of a CSV file, looked at as its text goes by: its header, how many rows it has, and what none may hold.

The engine loses what it cannot hold without a word: a line past its buffer, and all that follows 8 MB of lines which
are no rows. So the rows are counted here too, and a file that would need more than is fair is refused before that.
"""

import csv
import io
import re

from usage_rating.errors import BadInput

COLUMNS_MAX = 1_000
LINE_BYTES_MAX = 4 << 20  # past 2 MB a line is a refused row; from 8 MB on the engine may not come to an end over one
BLANK_LINES_MAX = 1_000_000
# The engine holds a report for each field too many or too few: so much, and up to 10,000 bytes of the line's text.
REPORT_BYTES = 1_500
REPEATED_BYTES = 10_000
REPORTS_BYTES_MAX = 512 << 20

_QUOTED = re.compile(rb'(?<![^,\r\n])"[^"]*(?:""[^"]*)*(?:"|\Z)')
_NO_MARKS = bytes(byte for byte in range(256) if byte not in b',"\r\n')
_LETTERS = bytes.maketrans(_NO_MARKS, b"x" * len(_NO_MARKS))
_MASK = bytes.maketrans(b",\r\n", b"...")


class CsvLines:
    """Counts a file's lines. `header` is empty until the first line has ended.

    Lines are numbered as the engine numbers them: the header is line 1, blank lines count, and a line end inside
    quotes begins none. What the fields hold is not looked at.
    """

    def __init__(self, name: str) -> None:
        self.header: tuple[str, ...] = ()
        self._name = name
        self._rest = b""
        self._lines = 0
        self._blank = 0
        self._reports_bytes = 0

    @property
    def rows(self) -> int:
        """The lines so far, but for the header and blank ones."""
        return max(self._lines - self._blank - 1, 0)

    def add(self, text: bytes) -> None:
        """Takes in the next piece of the text, decompressed, of any size.

        :raises BadInput: a line, the header or the blank lines are past what is fair
        :raises csv.Error: the header is no CSV
        """
        text = self._rest + (text if self._lines or self._rest else text.removeprefix(b"\xef\xbb\xbf"))
        end = text.rfind(b"\n") + 1
        if not end or not self._take_alike(text[:end]):
            masked = _masked(text)
            # A return that comes last may be half of a Windows line end.
            end = masked.rfind(b"\n") + 1 or masked.rfind(b"\r", 0, -1) + 1
            if end and not self._take_alike(masked[:end]):
                self._look_at(text[:end], masked[:end].splitlines())
        self._rest = text[end:]
        if len(self._rest) > LINE_BYTES_MAX:
            self._refuse_long_line(self._lines + 1)

    def end(self) -> None:
        """Takes in the last line, which may lack its end.

        :raises BadInput: as `add`
        """
        if self._rest:
            self._look_at(self._rest, _masked(self._rest).splitlines())
        self._rest = b""

    def _take_alike(self, text: bytes) -> bool:
        """Takes in lines that are all as they should be, which is told quickly; leaves others alone.

        Pairs of quotes with no comma or line end between them lie within one field, and change nothing.
        """
        marks = text.translate(None, _NO_MARKS).replace(b'""', b"")
        row = b"," * (len(self.header) - 1) + (b"\r\n" if text.endswith(b"\r\n") else b"\n")
        lines = len(marks) // len(row)
        is_alike = len(self.header) > 1 and len(text) <= LINE_BYTES_MAX and marks == row * lines and _is_utf8(text)
        self._lines += lines if is_alike else 0
        return is_alike

    def _look_at(self, text: bytes, lines: list[bytes]) -> None:
        for number, line in enumerate(lines, start=self._lines + 1):
            if len(line) > LINE_BYTES_MAX:
                self._refuse_long_line(number)
        if not self._lines:
            self.header = _header(text[: len(lines[0])])
            if len(self.header) > COLUMNS_MAX:
                raise BadInput(
                    [f"{self._name}: has {len(self.header):,} columns; up to {COLUMNS_MAX:,} are read. Leave some out."]
                )
        self._lines += len(lines)
        self._blank += lines.count(b"")
        if self._blank > BLANK_LINES_MAX:
            raise BadInput([f"{self._name}: more than {BLANK_LINES_MAX:,} lines are blank. Have it exported again."])
        self._bound_reports(lines, is_utf8=_is_utf8(text))

    def _bound_reports(self, lines: list[bytes], *, is_utf8: bool) -> None:
        commas = len(self.header) - 1
        for line in filter(None, lines):
            faults = abs(line.count(b",") - commas) + (not is_utf8 and not _is_utf8(line))
            self._reports_bytes += faults * (REPORT_BYTES + min(len(line), REPEATED_BYTES))
        if self._reports_bytes > REPORTS_BYTES_MAX:
            raise BadInput(
                [
                    f"{self._name}: far too many of its lines, up to line {self._lines:,}, are no UTF-8 or have not "
                    f"the {len(self.header):,} fields that its header names. Have it exported again."
                ]
            )

    def _refuse_long_line(self, number: int) -> None:
        raise BadInput(
            [
                f"{self._name}: line {number:,} is longer than {LINE_BYTES_MAX >> 20} MB, or begins a quote that is "
                "never closed. Have it exported again."
            ]
        )


def _masked(text: bytes) -> bytes:
    """The text with other marks for the commas and line ends inside quotes, byte for byte at the same places.

    :param text: begins where a line does; a quote still open at its end counts as open to there
    """
    if b'"' not in text:
        return text
    parts = text.split(b'"')
    outside = b'"'.join((*parts[:-1:2], b""))
    if b'x"' in outside.translate(_LETTERS):
        # A quote opens a field at its beginning only: elsewhere it is a letter like any other.
        return _QUOTED.sub(lambda quoted: quoted[0].translate(_MASK), text)
    parts[1::2] = b'"'.join(parts[1::2]).translate(_MASK).split(b'"')
    return b'"'.join(parts)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _header(line: bytes) -> tuple[str, ...]:
    text = io.StringIO(line.decode("utf-8", errors="replace"), newline="")
    csv.field_size_limit(LINE_BYTES_MAX)
    return tuple(next(csv.reader(text, strict=True), ()))
