"""Exports of admin lists as CSV or XLSX, read by one query in constant memory, without formulas.

Few rows are answered at once. More rows are written by a job to a file under EXPORTS_ROOT, which is deleted after a
week. No web server serves that folder. Each export has an Export row, which records who took out which rows.
"""

import csv
import io
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import IO, Any

from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.db.models.expressions import Combinable
from django.utils import timezone
from openpyxl import Workbook
from procrastinate.contrib.django import app as procrastinate

from api.admin.roles import may, sees_phones
from api.errors import Conflict
from api.logs import without_secrets
from api.models import Export, ExportState
from api.phones import masked

AT_ONCE = 5_000  # rows that are answered without a job
KEEP = timedelta(days=7)
GIVE_UP = timedelta(days=1)  # an export that waits longer has lost its job
CHUNK = 2_000  # rows in one fetch from the database
SHEET_ROWS = 1_000_000  # Excel opens 1,048,576 rows in a sheet, with the titles

# Characters with which a formula begins in a spreadsheet (OWASP, "CSV Injection"), also in full width.
FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# Characters that XML, and so XLSX, does not allow (XML 1.0, section 2.2). They are of no use in a CSV file either.
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
MAX_CELL = 32_767  # characters in a cell of Excel

Cell = str | int | date | None


class ExportWaiting(Conflict):
    """An export of the same list is still being written for the same user."""

    code, message = "export_waiting", "Your last export of this list is still being written. Find it under Exports."


@dataclass(frozen=True)
class Column:
    """A column of a file: its title, and the field, path or expression that the query selects for it."""

    title: str
    source: str | Combinable
    is_phone: bool = False


# --- Cells ----------------------------------------------------------------------------------------


def cell(value: object) -> Cell:
    """Return the value of a cell: numbers and dates as they are, datetimes in Nairobi time, text without formulas."""
    match value:
        case None:
            return None
        case bool():
            return "yes" if value else "no"
        case int():
            return value
        case datetime():
            return timezone.localtime(value).replace(tzinfo=None, microsecond=0)
        case date():
            return value
        case _:
            return harmless(str(value))


def harmless(text: str) -> str:
    """Return the text, with an apostrophe in front if a spreadsheet would read it as a formula."""
    text = UNPRINTABLE.sub("", text)[: MAX_CELL - 1]
    is_formula = text.startswith(("\t", "\r", "\n")) or text.lstrip().startswith(FORMULA_STARTS)
    return f"'{text}" if is_formula else text


def cells(queryset: QuerySet, columns: Sequence[Column], user) -> Iterator[list[Cell]]:
    """Yield the rows as `user` may see them. One query, fetched in chunks."""
    hidden = [column.is_phone and not sees_phones(user) for column in columns]
    for row in queryset.values_list(*(column.source for column in columns)).iterator(chunk_size=CHUNK):
        yield [cell(masked(value) if hide and value else value) for value, hide in zip(row, hidden, strict=True)]


# --- Files ----------------------------------------------------------------------------------------


def write_csv(titles: Sequence[str], rows: Iterable[list[Cell]], file: IO[bytes]) -> int:
    """Write a CSV file in UTF-8 that Excel recognises, and return the number of rows."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        writer = csv.writer(text)
        writer.writerow(titles)
        count = 0
        for row in rows:
            writer.writerow(row)
            count += 1
    finally:
        text.detach()  # otherwise it would close the file
    return count


def write_xlsx(titles: Sequence[str], rows: Iterable[list[Cell]], file: IO[bytes]) -> int:
    """Write a workbook row by row, and return the number of rows. A full sheet is followed by a new one."""
    book = Workbook(write_only=True)
    count = 0

    def new_sheet():
        sheet = book.create_sheet()
        sheet.freeze_panes = "A2"
        sheet.append(list(titles))
        return sheet

    sheet = new_sheet()
    try:
        for row in rows:
            if count and count % SHEET_ROWS == 0:
                sheet = new_sheet()
            sheet.append(row)
            count += 1
    finally:
        book.save(file)  # also after an error: this removes the temporary files of openpyxl
    return count


@dataclass(frozen=True)
class FileFormat:
    """A format of exported files, and the function that writes it."""

    content_type: str
    write: Callable[[Sequence[str], Iterable[list[Cell]], IO[bytes]], int]


FORMATS = {
    "csv": FileFormat("text/csv; charset=utf-8", write_csv),
    "xlsx": FileFormat("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", write_xlsx),
}


def path_of(export: Export) -> Path:
    """Return the path of the file of a large export."""
    return settings.EXPORTS_ROOT / export.file_name


def _write(export: Export, queryset: QuerySet, columns: Sequence[Column], file: IO[bytes]) -> int:
    titles = [column.title for column in columns]
    return FORMATS[export.file_format].write(titles, cells(queryset, columns, export.asked_by), file)


# --- Starting, writing, deleting ------------------------------------------------------------------


def start_export(
    *, queryset: QuerySet, columns: Sequence[Column], filters: dict[str, list[str]], file_format: str, by, now: datetime
) -> tuple[Export, IO[bytes] | None]:
    """Record that `by` exports these rows. Return the export and its file, or None if a job will write the file.

    A job reads the rows again by the filters, so only a whole filtered list may have more than AT_ONCE rows. A small
    file is complete before the answer begins, so that an error cannot look like the end of the file.

    :raises ExportWaiting: a job is writing the same list for the same user
    """
    export = Export(
        asked_by=by, asked_at=now, page=queryset.model._meta.label_lower, filters=filters, file_format=file_format
    )
    if queryset.order_by()[: AT_ONCE + 1].count() > AT_ONCE:
        export.state = ExportState.WAITING
        try:
            with transaction.atomic():
                export.save()
                procrastinate.configure_task("api.write_export").defer(export_id=export.pk)
        except IntegrityError as error:
            raise ExportWaiting from error
        return export, None
    # The filters may contain a phone number, and no job needs them.
    export.filters = {name: [without_secrets(value) for value in values] for name, values in filters.items()}
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the answer closes it
    try:
        export.rows = _write(export, queryset, columns, file)
    except BaseException:
        file.close()
        raise
    export.state, export.ended_at = ExportState.SENT, now
    export.save()
    file.seek(0)
    return export, file


def write_export(*, export_id: int, now: datetime) -> None:
    """Write the file of a large export, if the user may still have it. It may run twice."""
    export = Export.objects.select_related("asked_by").get(pk=export_id)
    if export.state != ExportState.WAITING:
        return
    export.state, export.ended_at = ExportState.FAILED, now
    try:
        if may_export(export.asked_by, export):
            page: Any = admin.site.get_model_admin(apps.get_model(export.page))
            export.rows = _write_aside(export, page.filtered_rows(export.asked_by, export.filters), page.export_columns)
            export.state = ExportState.READY
    finally:
        export.save(update_fields=["state", "rows", "ended_at"])


def _write_aside(export: Export, queryset: QuerySet, columns: Sequence[Column]) -> int:
    """Write a temporary file and rename it, so that two runs of one job do not write into the same file."""
    settings.EXPORTS_ROOT.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=settings.EXPORTS_ROOT, prefix="unfinished-")
    try:
        with os.fdopen(handle, "wb") as file:
            count = _write(export, queryset, columns, file)
        os.replace(name, path_of(export))
    except BaseException:
        os.unlink(name)
        raise
    return count


def may_export(user, export: Export) -> bool:
    """Return whether the role of `user` allows exports of this list. It does not check whose export this is."""
    return may(user, f"export_{export.file_format}", apps.get_model(export.page))


def delete_old_files(*, now: datetime) -> int:
    """Delete the files that are over a week old, and return their number. The Export rows stay. It may run twice.

    It also cleans up after lost jobs: it deletes their unfinished files, and marks their exports as failed, so that the
    user can start a new one.
    """
    Export.objects.filter(state=ExportState.WAITING, asked_at__lte=now - GIVE_UP).update(
        state=ExportState.FAILED, ended_at=now
    )
    count = Export.objects.filter(state=ExportState.READY, ended_at__lte=now - KEEP).update(state=ExportState.FORGOTTEN)
    current = {export.file_name for export in Export.objects.filter(state=ExportState.READY)}
    if settings.EXPORTS_ROOT.exists():
        for path in settings.EXPORTS_ROOT.iterdir():
            if path.name not in current and path.stat().st_mtime < (now - GIVE_UP).timestamp():
                path.unlink(missing_ok=True)
    return count
