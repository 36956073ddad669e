"""What an operator decides for a run: folders, the date billed up to, and policies."""

import tomllib
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from usage_rating.errors import BadInput

Share = Annotated[Decimal, Field(ge=0, le=1)]


class Settings(BaseModel):
    """One run's settings. Policies left out keep SPEC's values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Path
    output: Path
    as_of: date | None = None
    max_rejected: Share = Decimal("0.01")
    min_snapshot_share: Share = Decimal("0.5")
    max_change: Annotated[Decimal, Field(gt=0, max_digits=9, decimal_places=3)] | None = None
    correction_window: Annotated[int, Field(ge=0, le=36_500)] | None = None
    allow_missing_final_newline: bool = False
    memory_limit: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)? ?(MB|GB|MiB|GiB)$")] | None = None
    threads: Annotated[int, Field(ge=1)] | None = None

    @property
    def policies(self) -> dict[str, str]:
        """What a night's bills hang on beside rows and cards: kept with it, so that it can be worked out again."""
        given = {name: getattr(self, name) for name in ("min_snapshot_share", "max_change", "correction_window")}
        return {name: str(value) for name, value in given.items() if value is not None}


POLICIES = frozenset(Settings.model_fields) - {"input", "output", "as_of"}


def settings_from(options: dict[str, Any], file: Path | None) -> Settings:
    """Joins the command line's options with a TOML settings file; an option given wins.

    :param options: setting name to value; None is "not given"
    :param file: TOML with policies only, e.g. `max_rejected = "0.02"`
    :raises BadInput: an unknown key, a value out of bounds, a file that is no TOML; all of them at once
    """
    policies = _policies_in(file) if file else {}
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings.model_validate(policies | given)
    except ValidationError as error:
        raise BadInput(
            f"settings: {'.'.join(map(str, fault['loc']))}: {fault['msg']}; got {fault['input']!r}."
            for fault in error.errors()
        ) from None


def _policies_in(file: Path) -> dict[str, Any]:
    try:
        policies = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInput([f"{file}: not a readable settings file: {error}."]) from None
    unknown = sorted(policies.keys() - POLICIES)
    if unknown:
        known = ", ".join(sorted(POLICIES))
        raise BadInput(f"{file}: unknown key '{key}'.\n    Known keys: {known}" for key in unknown)
    return policies
