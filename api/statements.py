"""Compiled querysets: the ORM writes their SQL once, because writing it costs more than running it."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from django.db import connection
from django.db.models import Model, QuerySet, query

Row = TypeVar("Row", bound=Model)


class Written(NamedTuple):
    """A statement: its SQL, each parameter with the position of the value that takes its place, and a row's reader."""

    sql: str
    params: list[tuple[Any, int | None]]
    instance_of: Callable[[tuple], Any]


class WrittenOnce(Generic[Row]):
    """A queryset of model instances that hangs on a few values, its SQL written by the ORM on the first call only.

    `build` is called with `stand_ins` in place of the values, each different from any other parameter. Each call puts
    its own values where the stand-ins are. Everything else in the queryset must be the same for every call. Locks
    (select_for_update), select_related, only, annotations and converters work as in the ORM.

    This uses private parts of Django, so it is used only where the benchmark shows a gain (docs/decisions/0028). Where
    those parts are not as expected, a RuntimeWarning says so once, and each later call runs the plain queryset: the
    same rows, only slower. In the tests a warning is an error.
    """

    def __init__(self, build: Callable[..., QuerySet[Row]], *, stand_ins: Sequence[Any]) -> None:
        self._build, self._stand_ins = build, list(stand_ins)
        self._written: Written | None = None
        self._is_plain = False

    def __call__(self, *values: Any) -> list[Row]:
        """Run the statement with `values` and return its rows as instances."""
        if self._is_plain:
            return list(self._build(*values))
        try:
            written = self._written = self._written or self._write(values)
        except Exception as error:
            return self._run_plain(values, error)
        with connection.cursor() as cursor:
            cursor.execute(written.sql, _params(written, values))
            rows = cursor.fetchall()
        try:
            return [written.instance_of(row) for row in rows]
        except Exception as error:
            return self._run_plain(values, error)

    def _write(self, values: Sequence[Any]) -> Written:
        queryset = self._build(*self._stand_ins)
        compiler = queryset.query.get_compiler(connection.alias)
        sql, params = compiler.as_sql()
        at = [self._stand_ins.index(param) if param in self._stand_ins else None for param in params]
        written = Written(sql, list(zip(params, at, strict=True)), _reader(queryset, compiler))
        plain_sql, plain_params = self._build(*values).query.get_compiler(connection.alias).as_sql()
        if (sql, _params(written, values)) != (plain_sql, list(plain_params)):
            raise TypeError("More of this queryset depends on the values than its stand-ins show.")
        return written

    def _run_plain(self, values: Sequence[Any], reason: Exception) -> list[Row]:
        """Run the plain queryset, now and from now on."""
        name = self._build.__qualname__
        warnings.warn(f"{name} is compiled on every call: {reason!r}", RuntimeWarning, stacklevel=3)
        self._is_plain = True
        return list(self._build(*values))


def _params(written: Written, values: Sequence[Any]) -> list[Any]:
    return [param if at is None else values[at] for param, at in written.params]


def _reader(queryset: QuerySet, compiler) -> Callable[[tuple], Model]:
    """Return what makes an instance of a row, as the ORM's own iterator does."""
    model, positions = compiler.klass_info["model"], compiler.klass_info["select_fields"]
    start, end = positions[0], positions[-1] + 1
    names = [column.target.attname for column, _, _ in compiler.select[start:end]]
    converters = compiler.get_converters([column for column, _, _ in compiler.select]).items()
    # Django 6.1 takes the queryset's fetch mode as one more argument.
    fetch_mode = [queryset._fetch_mode] if hasattr(queryset, "_fetch_mode") else []
    populators = query.get_related_populators(compiler.klass_info, compiler.select, connection.alias, *fetch_mode)
    annotations = compiler.annotation_col_map.items()

    def instance_of(found: tuple) -> Model:
        row = list(found)
        for position, (converts, column) in converters:
            for convert in converts:
                row[position] = convert(row[position], column, connection)
        instance = model.from_db(connection.alias, names, row[start:end])
        for populator in populators:
            populator.populate(row, instance)
        for name, position in annotations:
            setattr(instance, name, row[position])
        return instance

    return instance_of
