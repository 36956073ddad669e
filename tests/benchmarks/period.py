"""When the rows of the benchmark happened."""

from datetime import date, timedelta

FIRST_DAY = date(2024, 1, 1)
WEEK = 7
DAYS = 91
AS_OF = FIRST_DAY + timedelta(days=DAYS)  # the first day after three months: what ended by then is billed


def night(number: int) -> date:
    """The day whose files the n-th night takes in, and up to which it bills."""
    return FIRST_DAY + timedelta(days=number - 1)
