"""Draws a picture of an invoice as SVG: the same bytes for the same figures, without a display.

A coordinate may be a float: it is made in `_x` and `_y` from exact instants and figures, and never read back. Every
figure that is written out is exact. Text stays text: it can be searched, and is drawn in a font that the viewer has.
"""

import io
import re
import unicodedata
import warnings
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import escape

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from usage_rating.errors import BadInput
from usage_rating.explanation.carts import Level
from usage_rating.explanation.panels import (
    CartsPanel,
    Charged,
    LimitPanel,
    Panel,
    Picture,
    day_name,
    days_marked,
    local,
    round_steps,
)
from usage_rating.figures import lasting, plain, seconds_between
from usage_rating.files import private_files, put

# In inches: as wide as A4 between its margins.
WIDTH, HEAD, PANEL, AXES, ABOVE_AXES, FOOT, LEFT, RIGHT, RIGHT_WITH_LABELS = (
    7.1,
    0.85,
    2.35,
    1.5,
    0.5,
    0.2,
    0.75,
    0.2,
    1.5,
)
POINTS = 72  # an inch
LARGE, MIDDLE, SMALL = 11.0, 8.5, 7.5  # sizes of text in points
INK, GREY, FAINT, LINE, MARK = "#222222", "#666666", "#dddddd", "#1f4e79", "#b3261e"
STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans", "sans-serif"],  # it comes with the library: places do not hang on the machine
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": SMALL,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "svg.fonttype": "none",
    "svg.hashsalt": "usage_rating",
    "hatch.linewidth": 0.4,
}
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
NOT_SHOWN = re.compile("[\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
GAP_NAMED = Fraction(1, 8)  # of the cycle: in a narrower gap there is no room for words
DUE_SHOWN = 2  # times the highest limit; what is due above is cut off, and said

Side = Literal["left", "right"]
Points = tuple[list[float], list[float]]


def write_picture(picture: Picture, to: Path) -> None:
    """Writes a picture; a file of the name is replaced at once or not at all.

    :raises BadInput: the file cannot be written
    """
    drawn = svg_of(picture)
    aside = to.with_name(f".{to.name}.new")
    try:
        with private_files():
            aside.write_text(drawn, encoding="utf-8")
            try:
                put(aside, to)
            finally:
                aside.unlink(missing_ok=True)
    except OSError as error:
        raise BadInput([f"{to}: cannot be written: {error.strerror}."]) from None


def svg_of(picture: Picture) -> str:
    """A picture as SVG, with its main figures in words for those who do not see it."""
    file = io.StringIO()
    with mpl.rc_context(), warnings.catch_warnings():
        # Names may be in any script. The viewer has fonts for it; the library only measures.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        mpl.rcdefaults()  # whatever the user of the machine likes
        mpl.rcParams.update(STYLE)
        figure_of(picture).savefig(file, format="svg", metadata=NO_METADATA)
    drawn = file.getvalue()
    root, _, body = drawn[drawn.index("<svg ") :].partition(">\n")
    says = "\n".join(f"{panel.heading}: {panel.says}." for panel in picture.panels)
    described = "\n".join(
        f'<{tag} id="{tag}">{escape(_shown(text))}</{tag}>'
        for tag, text in (("title", picture.title), ("desc", "\n".join((*picture.subtitles, says))))
    )
    return f'{root} role="img" aria-labelledby="title desc">\n{described}\n{body}'


def figure_of(picture: Picture) -> Figure:
    """The figure: a head, and the panels below it."""
    height = HEAD + PANEL * len(picture.panels) + FOOT
    figure = Figure(figsize=(WIDTH, height), dpi=POINTS)
    rows = [(picture.title, LARGE, INK, "bold"), *((text, MIDDLE, GREY, "normal") for text in picture.subtitles)]
    for number, (text, size, color, weight) in enumerate(rows):
        y = 1 - (0.22 + 0.19 * number) / height
        figure.text(LEFT / WIDTH, y, _cut(text, size, WIDTH - LEFT), size=size, color=color, weight=weight)
    right = RIGHT_WITH_LABELS if any(isinstance(each, LimitPanel) or each.before for each in picture.panels) else RIGHT
    for number, panel in enumerate(picture.panels):
        bottom = height - HEAD - PANEL * number - ABOVE_AXES - AXES
        axes = figure.add_axes((LEFT / WIDTH, bottom / height, 1 - (LEFT + right) / WIDTH, AXES / height))
        axes.set_gid(f"panel-{number + 1}")
        _frame(axes, picture, panel)
        canvas = Canvas(axes, picture, number + 1)
        if isinstance(panel, CartsPanel):
            _draw_carts(canvas, panel)
        else:
            _draw_limit(canvas, panel)
    axes.set_xlabel(f"days in {picture.time_zone}", size=SMALL, color=GREY, loc="left")
    return figure


def _frame(axes: Axes, picture: Picture, panel: Panel) -> None:
    """Heading, unit, and the days below; no box."""
    unit = f"{panel.category} carts active" if isinstance(panel, CartsPanel) else f"charged so far, {panel.currency}"
    for text, size, color, weight, above in (
        (panel.heading, MIDDLE, INK, "bold", 24),
        (unit, SMALL, GREY, "normal", 12),
    ):
        axes.annotate(
            _cut(text, size, WIDTH - LEFT),
            (0, 1),
            (0, above),
            xycoords="axes fraction",
            textcoords="offset points",
            size=size,
            color=color,
            weight=weight,
        )
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GREY)
    days = days_marked(picture)
    axes.set_xlim(0, _x(picture.ends_at, picture))
    axes.set_xticks([_x(at, picture) for _, at in days], [day_name(day) for day, _ in days])
    axes.tick_params(axis="x", color=GREY, labelcolor=INK)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)


class Canvas:
    """One panel to draw on, and the places in it that texts have taken."""

    def __init__(self, axes: Axes, picture: Picture, number: int) -> None:
        self.axes, self.picture, self.number = axes, picture, number
        self._taken: list[tuple[float, float, float, float]] = []

    def line(self, name: str, points: Points, **style: Any) -> None:
        """Draws a line that a reader of the file finds by its name."""
        (line,) = self.axes.plot(*points, clip_on=False, solid_capstyle="butt", **style)
        line.set_gid(f"{name}-{self.number}")

    def heights(self, top: Fraction, smallest: Fraction) -> None:
        """Lays out the upright axis from 0 to `top`, with a mark at each round figure up to it."""
        marks = round_steps(top, smallest=smallest)
        self.axes.set_ylim(0, _y(top))
        self.axes.set_yticks([_y(mark) for mark in marks], [plain(mark) for mark in marks])

    def text(self, text: str, at: tuple[float, float], *places: tuple[float, float, Side], color: str = INK) -> None:
        """Puts a text beside a point, at the first of some places where it covers no text and no axis; else not at all.

        :param places: away from the point, in points, and the side of the text that is there
        """
        rows = text.split("\n")
        wide, high = max(_width(row, SMALL) for row in rows), SMALL * 1.25 * len(rows)
        (x, y), frame = self.axes.transData.transform(at), self.axes.bbox
        for right, up, side in places:
            low = y + up if up >= 0 else y + up - high
            left = x + right if side == "left" else x + right - wide
            box = (left, low, left + wide, low + high)
            is_free = all(
                box[2] <= own[0] or own[2] <= box[0] or box[3] <= own[1] or own[3] <= box[1] for own in self._taken
            )
            if is_free and left >= frame.x0 and low >= frame.y0 and box[2] <= WIDTH * POINTS:
                self._taken.append(box)
                # From the lowest line up: a text is then placed by where it stands, not by how a font is measured.
                for number, row in enumerate(reversed(rows)):
                    place = (right, low - y + SMALL * (0.25 + 1.25 * number))
                    self.axes.annotate(row, at, place, textcoords="offset points", ha=side, color=color)
                return

    def at_right(self, labels: Sequence[tuple[Fraction | Decimal, str, str]]) -> None:
        """Names lines where they end, each at its height, or as near as the others leave room."""
        end = _x(self.picture.ends_at, self.picture)
        up = [self.axes.transData.transform((end, _y(height)))[1] for height, _, _ in labels]
        lowest = -1.0
        for own, (height, text, color) in sorted(zip(up, labels, strict=True), key=lambda each: each[0]):
            lowest = max(own, lowest + SMALL * 1.3)
            place = (6, lowest - own - SMALL * 0.35)
            self.axes.annotate(text, (end, _y(height)), place, textcoords="offset points", color=color)


def _draw_carts(canvas: Canvas, panel: CartsPanel) -> None:
    picture, peaks = canvas.picture, panel.peaks
    most = max([level.carts for level in (*panel.levels, *panel.before)], default=0)
    canvas.heights(Fraction(max(most, 1)) * Fraction(27, 20), Fraction(1))
    if panel.before:
        canvas.line("before", _stretches(panel.before, picture), color=GREY, linewidth=1.2, linestyle=(0, (3, 2)))
        last = [(Fraction(each[-1].carts), word, color) for each, word, color in _ends(panel) if each]
        canvas.at_right(last)
    canvas.line("carts", _stretches(panel.levels, picture), color=LINE, linewidth=1.6)
    _name_gaps(canvas, panel.levels)
    if peaks:
        canvas.line("peak", _stretches(peaks, picture), color=MARK, linewidth=3)
        first = peaks[0]
        at = (_x(first.since, picture), _y(first.carts))
        canvas.line("mark", ([at[0]], [at[1]]), color=MARK, marker="o", markersize=5)
        times = f", the first of {len(peaks):,} times" if len(peaks) > 1 else ""
        said = f"{first.carts:,} at one time, reached {local(first.since, picture.time_zone)}\n"
        said += f"for {lasting(seconds_between(first.since, first.until))}{times}"
        is_late = first.since - picture.starts_at > (picture.ends_at - picture.starts_at) / 2
        canvas.text(said, at, (0, 5, "right" if is_late else "left"), color=MARK)


def _ends(panel: CartsPanel) -> list[tuple[list[Level], str, str]]:
    return [(panel.before, "before", GREY), (panel.levels, "now", LINE)]


def _name_gaps(canvas: Canvas, levels: list[Level]) -> None:
    """Shades the times at which the subscription was not active."""
    picture = canvas.picture
    edges = [picture.starts_at, *(at for level in levels for at in (level.since, level.until)), picture.ends_at]
    for since, until in zip(edges[::2], edges[1::2], strict=True):
        if since < until:
            canvas.axes.axvspan(_x(since, picture), _x(until, picture), color=FAINT, linewidth=0)
            if (until - since) / (picture.ends_at - picture.starts_at) >= GAP_NAMED:
                canvas.text("not active", (_x(since, picture), 0), (4, 4, "left"), color=GREY)


def _draw_limit(canvas: Canvas, panel: LimitPanel) -> None:
    picture = canvas.picture
    highest = max(limit.amount for limit in panel.limits)
    charged, due = (panel.charges[-1].charged, panel.charges[-1].due) if panel.charges else (Decimal(0), Decimal(0))
    most = max(highest, charged, min(due, DUE_SHOWN * highest), *(each.charged for each in panel.before))
    smallest = Fraction(1, 10**panel.minor_digits)
    canvas.heights(max(Fraction(most), smallest) * Fraction(6, 5), smallest)
    lines = [(charged, f"charged {_money(charged, panel)}", LINE)]
    if due > charged:
        _shade_clipped(canvas, panel)
        above = ", above" if due > most else ""
        lines += [
            (min(due, most), f"due {_money(due, panel)}{above}", MARK),
            ((charged + min(due, most)) / 2, f"clipped {_money(due - charged, panel)}", MARK),
        ]
    if panel.before:
        canvas.line("before", _running(panel.before, picture), color=GREY, linewidth=1.2, linestyle=(0, (3, 2)))
        last = panel.before[-1].charged
        lines.append((last, f"before {_money(last, panel)}", GREY))
    canvas.line("charged", _running(panel.charges, picture), color=LINE, linewidth=1.6)
    canvas.at_right(lines)
    _draw_limits(canvas, panel)
    _mark_crossing(canvas, panel)


def _shade_clipped(canvas: Canvas, panel: LimitPanel) -> None:
    """Between what was charged and what would have been without the limit."""
    x, charged = _running(panel.charges, canvas.picture)
    _, due = _running([Charged(each.since, each.due, each.due) for each in panel.charges], canvas.picture)
    shade = canvas.axes.fill_between(x, charged, due, facecolor=f"{MARK}22", edgecolor=f"{MARK}88", hatch="////", lw=0)
    shade.set_gid(f"clipped-{canvas.number}")


def _draw_limits(canvas: Canvas, panel: LimitPanel) -> None:
    """The limits as steps with their amounts, and the shares of them of which alerts tell."""
    picture, limits = canvas.picture, panel.limits
    ends = [*(limit.since for limit in limits[1:]), picture.ends_at]
    x = [_x(at, picture) for limit, end in zip(limits, ends, strict=True) for at in (limit.since, end)]
    canvas.line("limit", (x, [_y(each.amount) for each in limits for _ in "  "]), color=INK, linewidth=1)
    for number in (0, *range(len(limits) - 1, 0, -1)):  # where there is not room for all, the last matters most
        limit = limits[number]
        at = (_x(limit.since, picture), _y(limit.amount))
        word = "raised to" if number else "limit"
        canvas.text(f"{word} {_money(limit.amount, panel)}", at, (2, 3, "left"), (-2, 3, "right"))
    for share in panel.thresholds:
        if share < 1:
            heights = [_y(each.amount * share) for each in limits for _ in "  "]
            canvas.line(f"share-{share}", (x, heights), color=GREY, linewidth=0.6, linestyle=(0, (1, 2)))
            canvas.text(f"{plain(share * 100)} %", (x[0], heights[0]), (2, -2, "left"), color=GREY)


def _mark_crossing(canvas: Canvas, panel: LimitPanel) -> None:
    """Where the limit was crossed first, and where each alert was due."""
    picture = canvas.picture
    for reached_at in dict.fromkeys(alert.reached_at for alert in panel.alerts):
        told = [alert for alert in panel.alerts if alert.reached_at == reached_at]
        x, heights = _x(reached_at, picture), [_y(alert.threshold * alert.limit) for alert in told]
        name = f"alert-{reached_at:%Y%m%dT%H%M%S%f}"
        canvas.line(name, ([x] * len(told), heights), color=INK, linestyle="none", marker=0, markersize=6)
        shares = ", ".join(f"{plain(alert.threshold * 100)} %" for alert in told)
        word = "alert" if len(told) == 1 else "alerts"
        canvas.text(f"{word} {shares}", (x, heights[0]), (-8, -3, "right"), (8, -3, "left"))
    if panel.crossed:
        at = (_x(panel.crossed.since, picture), _y(panel.crossed.charged))
        canvas.line("mark", ([at[0]], [at[1]]), color=MARK, marker="o", markersize=5)
        said = f"crossed {local(panel.crossed.since, picture.time_zone)}"
        canvas.text(said, at, (6, -6, "left"), (-6, -6, "right"), (6, 6, "left"), (6, 18, "left"), color=MARK)


def _stretches(levels: Iterable[Level], picture: Picture) -> Points:
    """A step line through levels; it stops where they do."""
    x: list[float] = []
    y: list[float] = []
    until = None
    for level in levels:
        if until not in (None, level.since):
            x.append(float("nan"))
            y.append(float("nan"))
        x += [_x(level.since, picture), _x(level.until, picture)]
        y += [_y(level.carts), _y(level.carts)]
        until = level.until
    return x, y


def _running(charges: list[Charged], picture: Picture) -> Points:
    """A step line from 0 through what was charged by each instant, up to the cycle's end."""
    x, y = [0.0], [0.0]
    for each in charges:
        x += [_x(each.since, picture)] * 2
        y += [y[-1], _y(each.charged)]
    return [*x, _x(picture.ends_at, picture)], [*y, y[-1]]


def _x(at: datetime, picture: Picture) -> float:
    """Where an instant stands: days since the cycle began."""
    return (at - picture.starts_at) / timedelta(days=1)


def _y(figure: Fraction | Decimal | int) -> float:
    """Where a figure stands."""
    return float(figure)


def _money(amount: Decimal, panel: LimitPanel) -> str:
    return plain(amount, panel.minor_digits)


def _shown(text: str) -> str:
    """A name as it can be shown: what breaks a line, a file or the direction of reading has a sign in its place."""
    return NOT_SHOWN.sub(lambda found: chr(0x2400 + ord(found[0])) if found[0] < " " else "\ufffd", text)


def _cut(text: str, size: float, inches: float) -> str:
    """A text as far as there is room."""
    shown = _shown(text)
    while _width(shown, size) > inches * POINTS:
        shown = shown[:-2] + "\u2026"
    return shown


def _width(text: str, size: float) -> float:
    """About how wide a text is, in points: rather too much."""
    return size * sum(1.0 if unicodedata.east_asian_width(letter) in "FW" else 0.62 for letter in text)
