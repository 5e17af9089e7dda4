"""Rows of the admin as CSV or XLSX: read by one query, in constant memory, without anything a spreadsheet would run.

A few rows are answered at once. Many are written by a job to a file under EXPORTS_ROOT, which no web server serves;
it is kept for a week. Either way an Export row stays, that says who took what.
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

AT_ONCE = 5_000  # rows
KEEP = timedelta(days=7)
GIVE_UP = timedelta(days=1)  # no job writes for so long
CHUNK = 2_000  # rows that one trip to the database brings
SHEET = 1_000_000  # rows; Excel opens 1,048,576 on a sheet, with the titles

# What a spreadsheet takes for the start of a formula (OWASP, "CSV Injection"), also in full width.
FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# What XML, and so XLSX, cannot hold (XML 1.0, section 2.2); nobody means them in a CSV either.
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
LONGEST = 32_767  # characters in a cell of Excel

Cell = str | int | date | None


class ExportWaiting(Conflict):
    """The same person already waits for a file of this list."""

    code, message = "export_waiting", "Your last export of this list is still being written."


@dataclass(frozen=True)
class Column:
    """One column of a file: its title, and the field, path or expression that the query reads for it."""

    title: str
    source: str | Combinable
    is_phone: bool = False


# --- Cells ----------------------------------------------------------------------------------------


def cell(value: object) -> Cell:
    """Return what stands in the file: numbers and dates as such, moments in Nairobi time, text that runs nowhere."""
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
    """Return the text with an apostrophe before what a spreadsheet would take for a formula."""
    text = UNPRINTABLE.sub("", text)[: LONGEST - 1]
    starts_one = text.startswith(("\t", "\r", "\n")) or text.lstrip().startswith(FORMULA)
    return f"'{text}" if starts_one else text


def cells(queryset: QuerySet, columns: Sequence[Column], user) -> Iterator[list[Cell]]:
    """Yield the rows as `user` may see them, by one query whose rows come a chunk at a time."""
    hidden = [column.is_phone and not sees_phones(user) for column in columns]
    for row in queryset.values_list(*(column.source for column in columns)).iterator(chunk_size=CHUNK):
        yield [cell(masked(value) if hide and value else value) for value, hide in zip(row, hidden, strict=True)]


# --- Files ----------------------------------------------------------------------------------------


def write_csv(titles: Sequence[str], rows: Iterable[list[Cell]], file: IO[bytes]) -> int:
    """Write UTF-8 that Excel recognises as such; return how many rows."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        writer = csv.writer(text)
        writer.writerow(titles)
        count = 0
        for row in rows:
            writer.writerow(row)
            count += 1
    finally:
        text.detach()  # or it would close the file
    return count


def write_xlsx(titles: Sequence[str], rows: Iterable[list[Cell]], file: IO[bytes]) -> int:
    """Write a workbook, row by row; what is too long for one sheet goes on to the next. Return how many rows."""
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
            if count and count % SHEET == 0:
                sheet = new_sheet()
            sheet.append(row)
            count += 1
    finally:
        book.save(file)  # after an error as well: it removes the temporary files of openpyxl
    return count


@dataclass(frozen=True)
class FileFormat:
    content_type: str
    write: Callable[[Sequence[str], Iterable[list[Cell]], IO[bytes]], int]


FORMATS = {
    "csv": FileFormat("text/csv; charset=utf-8", write_csv),
    "xlsx": FileFormat("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", write_xlsx),
}


def path_of(export: Export) -> Path:
    """Return where the file of a large export lies."""
    return settings.EXPORTS_ROOT / export.file_name


def _write(export: Export, queryset: QuerySet, columns: Sequence[Column], file: IO[bytes]) -> int:
    titles = [column.title for column in columns]
    return FORMATS[export.file_format].write(titles, cells(queryset, columns, export.asked_by), file)


# --- Asking, writing, forgetting ------------------------------------------------------------------


def start_export(
    *, queryset: QuerySet, columns: Sequence[Column], filters: dict[str, list[str]], file_format: str, by, now: datetime
) -> tuple[Export, IO[bytes] | None]:
    """Record that `by` takes these rows out; return the file, or None when a job writes it.

    A job asks for the rows again, by the filters: only a whole filtered list may have more than AT_ONCE.
    A small file is whole before the answer begins, so that an error is never taken for its end.

    :raises ExportWaiting: a job is writing the same list for the same person
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
    # What was typed may be a phone number, and nothing asks by it again.
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
    """Write the file of a large export, if who asked may still have it. Twice is harmless."""
    export = Export.objects.select_related("asked_by").get(pk=export_id)
    if export.state != ExportState.WAITING:
        return
    export.state, export.ended_at = ExportState.FAILED, now
    try:
        if may_take_out(export.asked_by, export):
            page: Any = admin.site.get_model_admin(apps.get_model(export.page))
            export.rows = _write_aside(export, page.filtered_rows(export.asked_by, export.filters), page.export_columns)
            export.state = ExportState.READY
    finally:
        export.save(update_fields=["state", "rows", "ended_at"])


def _write_aside(export: Export, queryset: QuerySet, columns: Sequence[Column]) -> int:
    """Write the file under another name first: two runs of one job never write into each other's."""
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


def may_take_out(user, export: Export) -> bool:
    """Say whether the role of `user` still takes out such rows. Whose file it is, is the page's question."""
    return may(user, f"export_{export.file_format}", apps.get_model(export.page))


def delete_old_files(*, now: datetime) -> int:
    """Delete the files that are over a week old; return how many. Their rows stay, as the record. Twice is harmless.

    What lost jobs left goes as well: their halves of files, and that somebody waits, who can then ask again.
    """
    Export.objects.filter(state=ExportState.WAITING, asked_at__lte=now - GIVE_UP).update(
        state=ExportState.FAILED, ended_at=now
    )
    count = Export.objects.filter(state=ExportState.READY, ended_at__lte=now - KEEP).update(state=ExportState.FORGOTTEN)
    kept = {export.file_name for export in Export.objects.filter(state=ExportState.READY)}
    if settings.EXPORTS_ROOT.exists():
        for path in settings.EXPORTS_ROOT.iterdir():
            if path.name not in kept and path.stat().st_mtime < (now - GIVE_UP).timestamp():
                path.unlink(missing_ok=True)
    return count
