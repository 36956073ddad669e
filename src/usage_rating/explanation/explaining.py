"""Explains an invoice: finds it, works it out once more, and holds that against what was published."""

from fractions import Fraction
from pathlib import Path

from usage_rating.errors import BadInput
from usage_rating.explanation import cycles
from usage_rating.explanation.context import Context
from usage_rating.explanation.corrections import Key, Said, corrected_lines, said_by
from usage_rating.explanation.lines import SAID_IN_ALL, explained_lines
from usage_rating.explanation.model import Explanation, Line, Section
from usage_rating.explanation.panels import Picture, picture_of
from usage_rating.explanation.published import Record
from usage_rating.explanation.rework import Archive, State, open_archive
from usage_rating.figures import plain
from usage_rating.manifests import Manifest

NOTHING = Said(Fraction(0), Fraction(0))


def explain(input_folder: Path, output: Path, invoice: str, line: int | None = None) -> Explanation:
    """An invoice, by its id or number, and how each of its figures came about.

    :param line: only this line
    :raises BadInput: no such invoice or line, several of this number, a rate card that is missing; or the invoice does
        not come out as it was published
    """
    with open_archive(input_folder, output) as archive:
        return _only(explain_in(archive, archive.published.invoice(invoice)), invoice, line)


def explain_to_draw(
    input_folder: Path, output: Path, invoice: str, line: int | None = None
) -> tuple[Explanation, Picture]:
    """The same, and what there is to see of it.

    :raises BadInput: as `explain`; or there is nothing to see
    """
    with open_archive(input_folder, output) as archive:
        explained = _only(explain_in(archive, archive.published.invoice(invoice)), invoice, line)
        picture = picture_in(archive, explained)
    if not picture.panels:
        what = invoice if line is None else f"line {line} of {invoice}"
        raise BadInput(
            [f"--svg: nothing to draw of {what}. A picture shows peaks of carts, and usage under a spending limit."]
        )
    return explained, picture


def _only(explained: Explanation, name: str, line: int | None) -> Explanation:
    """One line of an explanation, or all."""
    if line is None:
        return explained
    lines = [each for each in explained.lines if each.line_number == line]
    if not lines:
        raise BadInput([f"--line {line}: {name} has {len(explained.lines)} lines, numbered from 1."])
    return Explanation(**vars(explained) | {"lines": lines})


def explain_in(archive: Archive, invoice: Record, state: State | None = None) -> Explanation:
    """An invoice of an output folder that is open.

    :param state: of the run that issued it, if that was worked out already
    """
    run = archive.published.run_of(invoice)
    context = _context(archive, invoice, state)
    base = context.invoice
    if base is invoice:
        _refuse_if_other(invoice, _published_lines(archive, invoice), context.lines)
        lines = explained_lines(context)
    else:
        lines = _correction(archive, invoice, base, context)
    return Explanation(
        invoice=invoice,
        run_id=run.run_id,
        minor_digits=context.card(base).minor_digits,
        cycle=cycles.cycle(context),
        card=cycles.card(context),
        lines=lines,
        credit=_credit(archive, invoice),
    )


def picture_in(archive: Archive, explained: Explanation) -> Picture:
    """What there is to see of the lines that are explained, of an output folder that is open."""
    invoice = explained.invoice
    now, before = _context(archive, invoice), None
    if now.invoice is not invoice:
        before = _before(archive, invoice, now.invoice, _said_so_far(archive, invoice))
    return picture_of(explained, now, before)


def _context(archive: Archive, invoice: Record, state: State | None = None) -> Context:
    """An invoice, or the one that it corrects, as the run that issued it worked it out."""
    base_id = invoice["corrects_invoice_id"] or invoice["invoice_id"]
    base = invoice if base_id == invoice["invoice_id"] else archive.published.invoice(base_id)
    run = archive.published.run_of(invoice)
    return Context(archive.published, state or archive.state(invoice["subscription_id"], run, [base_id]), base)


def _published_lines(archive: Archive, invoice: Record) -> list[Record]:
    return archive.published.lines(invoice["invoice_id"])


def _refuse_if_other(invoice: Record, published: list[Record], worked_out: list[Record]) -> None:
    """Only the figure that was published is explained, never another."""

    def told(lines: list[Record]) -> list[tuple[object, ...]]:
        return [tuple(line[name] for name in SAID_IN_ALL) for line in lines]

    if told(published) != told(worked_out):
        raise _other(invoice, _amounts(published), _amounts(worked_out))


def _amounts(lines: list[Record]) -> str:
    return ", ".join(f"{line['kind']} {line['charge']} {plain(line['amount'], 2)}" for line in lines) or "no line"


def _other(invoice: Record, published: str, worked_out: str) -> BadInput:
    return BadInput(
        [
            f"{invoice['invoice_id']}: worked out once more it is not what was published, so nothing is explained. "
            f"Published: {published}. Worked out: {worked_out}. The code has changed since, or a file has; "
            "`usage-rating verify` says which figures are right, `usage-rating doctor` which files are not."
        ]
    )


def _correction(archive: Archive, invoice: Record, base: Record, now: Context) -> list[Line]:
    issued = _said_so_far(archive, invoice)
    published = _published_lines(archive, invoice)
    comes_to = said_by(now.lines)
    differing = {
        key: Said(now_said.quantity - was.quantity, now_said.amount - was.amount)
        for key in comes_to.keys() | issued.keys()
        for now_said, was in [(comes_to.get(key, NOTHING), issued.get(key, NOTHING))]
        if now_said != was
    }
    if differing != said_by(published):
        amounts = ", ".join(f"{key[0]} {key[1]} {plain(said.amount, 2)}" for key, said in sorted(differing.items()))
        raise _other(invoice, _amounts(published), amounts or "no line")
    return corrected_lines(_before(archive, invoice, base, issued), now, issued, published)


def _said_so_far(archive: Archive, invoice: Record) -> dict[Key, Said]:
    """What an invoice and its corrections before this one said."""
    return said_by(line for each, _ in _earlier(archive, invoice) for line in _published_lines(archive, each))


def last_run_before(archive: Archive, correction: Record) -> Manifest:
    """The last run before a correction that issued its invoice, or another correction of it."""
    return max((run for _, run in _earlier(archive, correction)), key=lambda run: run.run_number)


def _earlier(archive: Archive, correction: Record) -> list[tuple[Record, Manifest]]:
    """What was issued of an invoice before a correction, and by which run."""
    base_id, until = correction["corrects_invoice_id"], archive.published.run_of(correction).run_number
    issued = [
        (each, archive.published.run_of(each))
        for each in archive.published.invoices_of(correction["subscription_id"])
        if base_id in (each["invoice_id"], each["corrects_invoice_id"])
    ]
    return [(each, run) for each, run in issued if run.run_number < until]


def _before(archive: Archive, invoice: Record, base: Record, issued: dict[Key, Said]) -> Context:
    """The invoice as it came to before: in the run before, or where that knew more already, when it was last issued."""
    run = archive.published.run_of(invoice)
    for number in dict.fromkeys((run.run_number - 1, last_run_before(archive, invoice).run_number)):
        state = archive.state(base["subscription_id"], archive.chain.manifests[number - 1], [base["invoice_id"]])
        context = Context(archive.published, state, base)
        if {key: said for key, said in said_by(context.lines).items() if said != NOTHING} == {
            key: said for key, said in issued.items() if said != NOTHING
        }:
            break
    return context


def _credit(archive: Archive, invoice: Record) -> Section:
    """What the invoice took from prepaid credit."""
    entries = archive.published.ledger(invoice["invoice_id"])
    says = [
        f"taken from the prepaid credit of {each['account_id']} on {each['entry_date']}, posted as of "
        f"{each['posted_as_of']}: {plain(each['amount'], 2)}; the balance is then {plain(each['balance'], 2)} "
        f"{each['currency']}"
        for each in entries
    ]
    return Section(says, [], {"entries": entries} if entries else {})
