"""Files of member lists: CSV, read into lines with their values by column."""

import csv
from typing import TextIO

from api.errors import Invalid

REQUIRED = ("first_name", "last_name")
COLUMNS = (*REQUIRED, "phone_number", "email", "dob", "consented_on", "plan", "starts_on", "ends_on")


class UnreadableFile(Invalid):
    """The file is not CSV in UTF-8 with the columns of a member list."""

    code, message = "unreadable_file", "The file is not a CSV file with the columns of a member list."


def read_file(file: TextIO) -> list[tuple[int, dict[str, str]]]:
    """Return the lines of the file as (line number, values by column), without surrounding spaces.

    :raises UnreadableFile: a column is missing or unknown, a line has too many values, or it is not CSV in UTF-8
    """
    try:
        reader = csv.DictReader(file, strict=True)
        header = [name.strip() for name in reader.fieldnames or []]
        unknown, missing = set(header) - set(COLUMNS), set(REQUIRED) - set(header)
        if unknown or missing or len(set(header)) != len(header):
            raise UnreadableFile(
                f"Unknown columns: {', '.join(sorted(unknown)) or 'none'}; "
                f"missing: {', '.join(sorted(missing)) or 'none'}. Use each column once."
            )
        reader.fieldnames = header
        lines = [(reader.line_num, row) for row in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        raise UnreadableFile(f"The file cannot be read: {error}") from error
    if too_long := [number for number, row in lines if None in row]:
        raise UnreadableFile(f"Line {too_long[0]} has more values than the header.")
    return [(number, {name: (value or "").strip() for name, value in row.items()}) for number, row in lines]
