"""What a rate card may say, and that everything else is refused with its place and the choices there are."""

from decimal import Decimal
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.folders import write
from usage_rating.errors import BadInput
from usage_rating.rate_card_files import read_rate_cards
from usage_rating.rate_cards import RateCard

CHARGE = '{kind: peak, category: Standard, price: {per_unit: "40.00"}}'
CARD = f"""\
rate_card: app-store
version: 1
effective_from: 2024-01-01
currency: USD
cycle: {{every: 1 month, anchor: calendar}}
plans:
  basic:
    carts: {CHARGE}
"""
WHOLE_CARD = """\
rate_card: app-store
version: 3
effective_from: 2024-01-01
reason: First published price list.
currency: KWD
time_zone: Asia/Kuwait
cycle: {every: 30 days, anchor: subscription_started}
grace_days: 2
payment_days: 14
rounding: half_even
settlement: prepaid_credits
plan_change: {takes_effect: next_cycle, minimum_difference: "1.005"}
spending_limit: {default: "100.000", alert_at: ["0.9", "1"]}
plans:
  basic:
    fee:      {kind: recurring, bill: advance, price: {flat: "5.000"}, prorate: first_cycle}
    support:  {kind: recurring, bill: arrears, price: {flat: "0"}, on_cancel: drop}
    carts:    {kind: peak, category: Standard, price: {per_unit: "0.000001"}}
    orders:
      kind: usage
      meter: order_items
      aggregation: unique
      price: {graduated: [{up_to: "10.5", per_unit: "3"}, {up_to: "20", per_unit: "2", flat: "7.500"}, {per_unit: "1"}]}
      minimum: {quantity: "200", meter: invoices, prorate: first_cycle, daily_decimals: 1}
      cap: "5000.00"
  large:
    messages:
      kind: usage
      meter: messages
      aggregation: latest
      price: {volume: [{up_to: "1", per_unit: "0"}, {per_unit: "1"}]}
    boxes:    {kind: peak, category: Standard, price: {package: {size: "0.5", price: "9999999999.999999999"}}}
"""


def cards_of(folder: Path, *texts: str | bytes) -> list[RateCard]:
    """Reads the texts as rate_cards/1.yaml, 2.yaml and so on."""
    write(folder, {f"rate_cards/{number}.yaml": text for number, text in enumerate(texts, start=1)})
    return [file.card for file in read_rate_cards(folder / "rate_cards")]


def faults_of(folder: Path, *texts: str | bytes) -> list[str]:
    with pytest.raises(BadInput) as error:
        cards_of(folder, *texts)
    return error.value.faults


def edited(old: str, new: str, card: str = CARD) -> str:
    assert card.count(old) == 1
    return card.replace(old, new)


# ---- what is accepted


def test_every_key_and_price_form_is_read_as_it_stands(tmp_path: Path) -> None:
    (card,) = cards_of(tmp_path, WHOLE_CARD)
    written = YAML(typ="safe", pure=True).load(edited("2024-01-01", '"2024-01-01"', WHOLE_CARD))
    assert card.model_dump(mode="json", exclude_unset=True) == written
    assert (card.cycle.length, card.cycle.unit, card.minor_digits) == (30, "days", 3)
    forms = [charge.price.form for charges in card.plans.values() for charge in charges.values()]
    assert forms == ["flat", "flat", "per_unit", "graduated", "volume", "package"]


def test_what_is_left_out_has_the_values_of_the_contract(tmp_path: Path) -> None:
    (card,) = cards_of(tmp_path, CARD)
    assert (card.time_zone, card.rounding, card.settlement, card.grace_days) == ("UTC", "half_up", "invoice", 0)
    assert (card.plan_change.takes_effect, card.plan_change.minimum_difference) == ("immediately", Decimal(0))
    assert card.spending_limit is None


@pytest.mark.parametrize("text", [f"\ufeff{CARD}", CARD.replace("\n", "\r\n"), f"---\n{CARD}...\n", f"# why\n{CARD}"])
def test_how_the_file_is_written_does_not_matter(text: str, tmp_path: Path) -> None:
    assert cards_of(tmp_path, text) == cards_of(tmp_path, CARD)


def test_a_plan_may_charge_nothing(tmp_path: Path) -> None:
    assert cards_of(tmp_path, edited(f"\n    carts: {CHARGE}", " {}"))[0].plans == {"basic": {}}


def test_versions_come_sorted_by_the_day_they_hold_from(tmp_path: Path) -> None:
    later = edited("version: 1", "version: 2", edited("2024-01-01", "2024-06-01"))
    assert [card.version for card in cards_of(tmp_path, later, CARD)] == [1, 2]


# ---- what is refused: the text that replaces a part of the card, the place said, and what is said of it

FORMS = "flat, per_unit, graduated, volume, package"
REFUSED = {
    # the card's own keys
    ("version: 1", "version: 0"): ("line 2: version: ", "1; got 0"),
    ("version: 1", 'version: "1"'): ("line 2: version: ", "whole number; got '1'"),
    ("version: 1", "version: 1.0"): ("line 2: version: ", "whole number"),
    ("version: 1", "version: true"): ("line 2: version: ", "whole number"),
    ("rate_card: app-store", "rate_card: 007"): ("line 1: rate_card: ", "text"),
    ("rate_card: app-store", 'rate_card: ""'): ("line 1: rate_card: ", "1 character"),
    ("rate_card: app-store\n", ""): ("line 1: ", "lacks the key 'rate_card'"),
    ("2024-01-01", "soon"): ("line 3: effective_from: ", "date"),
    ("2024-01-01", "2024-02-30"): ("", "day"),
    ("2024-01-01", "20240101"): ("line 3: effective_from: ", "date"),
    ("2024-01-01", "1704067200"): ("line 3: effective_from: ", "date"),
    ("2024-01-01", '"1704067200"'): ("line 3: effective_from: ", "date"),
    ("2024-01-01", "2024-01-01T12:00:00"): ("line 3: effective_from: ", "date"),
    ("2024-01-01", "1899-12-31"): ("line 3: effective_from: ", "1900"),
    ("USD", "usd"): ("line 4: currency: ", "'usd' is not an ISO 4217 currency"),
    ("USD", "XAU"): ("line 4: currency: ", "minor units"),  # gold has none
    ("USD", "USD\ntime_zone: Mars/Base"): ("line 5: time_zone: ", "'Mars/Base' is not an IANA time zone"),
    ("USD", "USD\ngrace_days: -1"): ("line 5: grace_days: ", "0; got -1"),
    ("USD", "USD\npayment_days: 1.5"): ("line 5: payment_days: ", "whole number"),
    ("USD", "USD\nreason: 5"): ("line 5: reason: ", "text"),
    ("USD", "USD\nrounding: bankers"): ("line 5: rounding: ", "'half_up', 'half_even', 'down' or 'up'"),
    ("USD", "USD\nsettlement: cash"): ("line 5: settlement: ", "'invoice' or 'prepaid_credits'"),
    ("USD", "USD\nplan_change: {takes_effect: later}"): ("line 5: plan_change.takes_effect: ", "'next_cycle'"),
    ("USD", "USD\nplan_change: {minimum_difference: 1}"): ("line 5: plan_change.minimum_difference: ", '"1"'),
    ("USD", "USD\nspending_limit: {max: 1}"): (
        "line 5: spending_limit: ",
        "'max'.\n    Known keys: default, alert_at.",
    ),
    ("USD", "USD\nspending_limit: {default: 100}"): ("line 5: spending_limit.default: ", "not a quoted decimal"),
    ("USD", 'USD\nspending_limit: {alert_at: ["1", "0"]}'): ("line 5: spending_limit.alert_at.1: ", "0"),
    ("USD", "USD\nspending_limit: {alert_at: [0.9]}"): ("line 5: spending_limit.alert_at.0: ", '"0.9"'),
    ("USD", "USD\ntax: 1"): ("line 5: unknown key 'tax'", "Known keys: rate_card, version, effective_from, reason,"),
    # the cycle
    ("every: 1 month, ", ""): ("line 5: cycle: ", "lacks the key 'every'"),
    ("every: 1 month", "every: 30"): ("line 5: cycle.every: ", ""),
    ("every: 1 month", "every: 2 weeks"): ("line 5: cycle.every: ", "30 days"),
    ("every: 1 month", "every: 0 months"): ("line 5: cycle.every: ", "1 month"),
    ("every: 1 month", "every: 30 days"): ("line 5: cycle: ", "calendar"),
    ("every: 1 month", "every: 121 months"): ("line 5: cycle", "120 months"),
    ("anchor: calendar", "anchor: birthday"): (
        "line 5: cycle.anchor: ",
        "'account_created', 'subscription_started' or 'calendar'",
    ),
    ("anchor: calendar", "anchor: account_created, first_cycle_from: account_created"): ("line 5: cycle", "calendar"),
    ("anchor: calendar", "anchor: calendar, first_cycle_from: today"): (
        "line 5: cycle.first_cycle_from: ",
        "'account_created' or 'subscription_started'",
    ),
    # plans and charges
    (f"plans:\n  basic:\n    carts: {CHARGE}", "plans: {}"): ("line 6: plans: ", ""),
    (f"\n    carts: {CHARGE}", " []"): ("line 7: plans.basic: ", ""),
    ("basic:", "7:"): ("plans.7", "text"),
    ("kind: peak", "kind: peek"): ("line 8: plans.basic.carts: kind: ", "'peek' is not one of recurring, peak, usage"),
    ("kind: peak, ", ""): ("line 8: plans.basic.carts: ", "lacks the key 'kind', one of recurring, peak, usage"),
    ("category: Standard, ", ""): ("line 8: plans.basic.carts: ", "lacks the key 'category'"),
    ("category: Standard", "category: 7"): ("line 8: plans.basic.carts.category: ", "text; put it in quotes; got 7"),
    ("Standard,", "Standard, peak: 1,"): (
        "line 8: plans.basic.carts: ",
        "unknown key 'peak'.\n    Known keys: kind, category, price.",
    ),
    (CHARGE, "peak"): ("line 8: plans.basic.carts: ", "got 'peak'"),
    (CHARGE, '{kind: recurring, price: {flat: "1"}}'): ("line 8: plans.basic.carts: ", "lacks the key 'bill'"),
    (CHARGE, '{kind: recurring, bill: later, price: {flat: "1"}}'): (
        "line 8: plans.basic.carts.bill: ",
        "'advance' or 'arrears'",
    ),
    (CHARGE, '{kind: recurring, bill: arrears, price: {per_unit: "1"}}'): ("line 8: plans.basic.carts", "{flat: ...}"),
    (CHARGE, '{kind: recurring, bill: advance, on_cancel: drop, price: {flat: "1"}}'): (
        "line 8: plans.basic.carts",
        "on_cancel belongs to bill: arrears",
    ),
    (CHARGE, '{kind: recurring, bill: arrears, on_cancel: keep, price: {flat: "1"}}'): (
        "line 8: plans.basic.carts.on_cancel: ",
        "'charge' or 'drop'",
    ),
    (CHARGE, '{kind: usage, meter: m, aggregation: average, price: {per_unit: "1"}}'): (
        "line 8: plans.basic.carts.aggregation: ",
        "'sum', 'count', 'max', 'latest' or 'unique'",
    ),
    (CHARGE, '{kind: usage, meter: m, aggregation: sum, price: {per_unit: "1"}, minmum: {quantity: "1"}}'): (
        "line 8: plans.basic.carts: ",
        "unknown key 'minmum'.\n    Known keys: kind, meter, aggregation, price, minimum, cap.",
    ),
    (CHARGE, '{kind: usage, meter: m, aggregation: sum, price: {per_unit: "1"}, minimum: {quantity: 200}}'): (
        "line 8: plans.basic.carts.minimum.quantity: ",
        '"200"',
    ),
    (CHARGE, '{kind: usage, meter: m, aggregation: sum, price: {per_unit: "1"}, minimum: {quantity: "0"}}'): (
        "line 8: plans.basic.carts.minimum.quantity: ",
        "greater than 0",
    ),
    (
        CHARGE,
        '{kind: usage, meter: m, aggregation: sum, price: {flat: "1"}, minimum: {quantity: "1", daily_decimals: 1}}',
    ): ("line 8: plans.basic.carts.minimum: ", "prorate: first_cycle"),
    # YAML that is more than data
    ("version: 1", "version: 1\nversion: 2"): ("line 3: ", 'duplicate key "version"'),
    (f"carts: {CHARGE}", f"carts: {CHARGE}\n    carts: {CHARGE}"): ("line 9: ", 'duplicate key "carts"'),
    ("version: 1", "version: &one 1"): ("line 2: ", "aliases"),
    ("version: 1", "version: 1\npayment_days: &d 1\ngrace_days: *d"): ("line 3: ", "aliases"),
    ("USD", "!!python/name:os.system USD"): ("line 4: ", "tag"),
    ("USD", "USD\n<<: {grace_days: 1}"): ("line 5: ", ""),
    ("USD", "USD\n? [a, b]\n: 1"): ("", "text"),
    ("USD", "USD\n{{ tax }}: 1"): ("line 5: ", ""),
    ("USD", "USD\n5: 1"): ("line 5: ", "text"),
    ("USD", "USD\n---\nversion: 2"): ("line 5: ", "another document"),
    ("USD", "USD\n\tgrace_days: 1"): ("line 5: ", ""),
    ("{every: 1 month", "{every: 1 month]"): ("line 5: ", ""),
}


@pytest.mark.parametrize(("old", "new"), REFUSED, ids=[new for _, new in REFUSED])
def test_a_fault_is_said_with_its_place_and_the_choices(old: str, new: str, tmp_path: Path) -> None:
    place, said = REFUSED[old, new]
    fault = faults_of(tmp_path, edited(old, new))[0]
    assert fault.startswith("rate_cards/1.yaml: ")
    assert place in fault
    assert said in fault


NO_PRICE = {
    "{}": FORMS,
    '{flat: "1", per_unit: "1"}': FORMS,
    '{unit: "1"}': f"unknown key 'unit'.\n    Known keys: {FORMS}.",
    '"1"': "",
    "[]": "",
    "{per_unit: }": "per_unit",
    "{flat: null}": "flat",
    "{graduated: }": "graduated",
    "{per_unit: 40.00}": "not a quoted decimal; write it in quotes",
    "{flat: 40}": 'not a quoted decimal; write it in quotes, such as "40"',
    '{per_unit: "1e3"}': "'1e3' is not a decimal",
    '{per_unit: "-1"}': "'-1' is not a decimal of 0 or more",
    '{per_unit: "1,00"}': "'1,00' is not a decimal",
    '{per_unit: " 1"}': "' 1' is not a decimal",
    '{per_unit: "\u0661"}': "is not a decimal",  # a digit, but not of ours
    '{per_unit: "0.0000000001"}': "9 decimals",
    '{per_unit: "12345678901"}': "10 digits",
    "{graduated: []}": "graduated: the last tier has no up_to",
    '{volume: [{up_to: "1", per_unit: "1"}]}': "volume: the last tier has no up_to",
    '{volume: [{per_unit: "1"}, {per_unit: "1"}]}': "volume: only the last tier goes without up_to",
    '{volume: [{up_to: "0", per_unit: "1"}, {per_unit: "1"}]}': "above the one before, the first above 0",
    '{graduated: [{up_to: "2", per_unit: "1"}, {up_to: "2", per_unit: "1"}, {per_unit: "1"}]}': "above the one before",
    '{graduated: [{up_to: "2", per_unit: "1"}, {up_to: "1", per_unit: "1"}, {per_unit: "1"}]}': "above the one before",
    '{graduated: [{up_to: 2, per_unit: "1"}, {per_unit: "1"}]}': "graduated.0.up_to: not a quoted decimal",
    '{graduated: [{up_to: "2", flat: "1"}, {per_unit: "1"}]}': "graduated.0: lacks the key 'per_unit'",
    '{graduated: [{per_unit: "1", price: "1"}]}': "unknown key 'price'.\n    Known keys: up_to, per_unit, flat.",
    '{graduated: {per_unit: "1"}}': "graduated: ",
    '{package: {size: "10"}}': "package: lacks the key 'price'",
    '{package: {size: "0", price: "1"}}': "package.size: ",
    '{package: {size: 10, price: "1"}}': 'package.size: not a quoted decimal; write it in quotes, such as "10"',
    '{package: {size: "10", price: "1", flat: "1"}}': "package: unknown key 'flat'.\n    Known keys: size, price.",
}


@pytest.mark.parametrize("price", NO_PRICE)
def test_a_price_is_one_form_in_quoted_decimals(price: str, tmp_path: Path) -> None:
    fault = faults_of(tmp_path, edited('{per_unit: "40.00"}', price))[0]
    assert fault.startswith("rate_cards/1.yaml: line 8: plans.basic.carts.price")
    assert NO_PRICE[price] in fault


TOO_FINE = {
    "price": ("plans.basic.carts.price", '{per_unit: "40.00"}', '{flat: "1.001"}'),
    "tier": ("plans.basic.carts.price", '{per_unit: "40.00"}', '{volume: [{per_unit: "1.00001", flat: "0.005"}]}'),
    "cap": (
        "plans.basic.carts.cap",
        CHARGE,
        '{kind: usage, meter: m, aggregation: sum, price: {per_unit: "1"}, cap: "1.001"}',
    ),
    "limit": ("spending_limit.default", "USD", 'USD\nspending_limit: {default: "0.001"}'),
    "difference": ("plan_change.minimum_difference", "USD", 'USD\nplan_change: {minimum_difference: "0.001"}'),
}


@pytest.mark.parametrize("amount", TOO_FINE)
def test_an_amount_finer_than_its_currency_is_refused(amount: str, tmp_path: Path) -> None:
    place, old, new = TOO_FINE[amount]
    (fault,) = faults_of(tmp_path, edited(old, new))
    assert "finer than USD, which has 2 decimals" in fault
    assert place in fault
    assert cards_of(tmp_path, edited("USD", "KWD", edited(old, new)))
    assert "JPY, which has 0 decimals" in faults_of(tmp_path, edited("USD", "JPY", edited(old, new)))[0]


NO_CARD = ["", "# nothing\n", "- a\n", "text\n", "a: [1\n", b"\xff\xfe", "\0", "a: \x07\n", "%YAML 9.9\n"]


@pytest.mark.parametrize("text", NO_CARD)
def test_a_file_that_is_no_card_is_named(text: str | bytes, tmp_path: Path) -> None:
    faults = faults_of(tmp_path, text)
    assert all(fault.startswith("rate_cards/1.yaml: ") for fault in faults)


def test_a_folder_without_a_card_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rate_cards").mkdir()
    assert faults_of(tmp_path)[0].startswith("rate_cards/: no file.")


def test_every_fault_of_every_file_is_said_at_once(tmp_path: Path) -> None:
    first = edited("USD", "USX", edited('"40.00"', "40.00"))
    second = edited("version: 1", "version: 2\nvresion: 3", edited("peak", "peek"))
    places = [fault.partition("\n")[0].split(": ")[:3] for fault in faults_of(tmp_path, first, second)]
    assert places == [
        ["rate_cards/1.yaml", "line 4", "currency"],
        ["rate_cards/1.yaml", "line 8", "plans.basic.carts.price.per_unit"],
        ["rate_cards/2.yaml", "line 9", "plans.basic.carts"],
        ["rate_cards/2.yaml", "line 3", "unknown key 'vresion'."],
    ]


# ---- versions of one card

LATER = edited("version: 1", "version: 2", edited("2024-01-01", "2024-02-01"))
UNSHARED = {
    "currency": ("USD", "EUR", "EUR is not USD"),
    "time_zone": ("USD", "USD\ntime_zone: Europe/Berlin", "Europe/Berlin is not UTC"),
    "settlement": ("USD", "USD\nsettlement: prepaid_credits", "prepaid_credits is not invoice"),
    "cycle": ("every: 1 month", "every: 2 months", "1 month"),
}


@pytest.mark.parametrize("key", UNSHARED)
def test_versions_share_what_moves_or_mixes_invoices(key: str, tmp_path: Path) -> None:
    old, new, said = UNSHARED[key]
    (fault,) = faults_of(tmp_path, CARD, edited(old, new, LATER))
    assert fault.startswith(f"rate_cards/2.yaml: {key}: ")
    assert said in fault
    assert "currency, time_zone, cycle, settlement" in fault


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("every: 1 month", "every: 1 months"),
        ("anchor: calendar", "anchor: calendar, first_cycle_from: subscription_started"),
        ("USD", "USD\ntime_zone: UTC\nsettlement: invoice"),
    ],
)
def test_the_same_setting_may_be_written_otherwise(old: str, new: str, tmp_path: Path) -> None:
    assert len(cards_of(tmp_path, CARD, edited(old, new, LATER))) == 2


def test_two_versions_from_one_day_are_refused(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, CARD, edited("version: 1", "version: 2"))
    assert fault.startswith("rate_cards/2.yaml: effective_from: 2024-01-01 is also the day of rate_cards/1.yaml")


def test_two_files_of_one_version_are_refused(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, CARD, edited("2024-01-01", "2024-02-01"))
    assert fault.startswith("rate_cards/2.yaml: version: 1 of app-store is also in rate_cards/1.yaml")


def test_cards_of_other_names_share_nothing(tmp_path: Path) -> None:
    other = edited("app-store", "other", edited("USD", "EUR", edited("every: 1 month", "every: 2 months")))
    assert len(cards_of(tmp_path, CARD, other)) == 2
