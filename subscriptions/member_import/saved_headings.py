"""The club's own headings of member lists, which are stored in ImportHeading."""

from collections.abc import Sequence

from api.errors import Invalid
from subscriptions.member_import.headings import COLUMNS, IGNORED, normalised
from subscriptions.models import ImportHeading


class BadMapping(Invalid):
    """A text that is not HEADING=COLUMN, or names no column of a member list."""

    code = "bad_mapping"


def load() -> dict[str, str]:
    """Return the column of each of the club's own headings."""
    return dict(ImportHeading.objects.values_list("heading", "column"))


def save(mappings: Sequence[str]) -> None:
    """Store mappings such as `Simu=phone_number`, or `Salary=` for a column that is not imported.

    A later mapping of the same heading replaces the earlier one.

    :raises BadMapping: a mapping has no heading, or names no column of a member list
    """
    for mapping in mappings:
        heading, separator, column = mapping.rpartition("=")
        heading, column = normalised(heading), column.strip().casefold()
        if not separator or not heading or len(heading) > 100:
            raise BadMapping(f"{mapping[:40]} is not a mapping. Write HEADING=COLUMN, such as Simu=phone_number.")
        if column != IGNORED and column not in COLUMNS:
            raise BadMapping(f"There is no column {column[:40]}. The columns are: {', '.join(COLUMNS)}.")
        ImportHeading.objects.update_or_create(heading=heading, defaults={"column": column})
