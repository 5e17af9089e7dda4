"""Statements that are run so often that writing their SQL anew costs more than running it."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from django.db import connection
from django.db.models import Model, QuerySet
from django.db.models.query import get_related_populators

Row = TypeVar("Row", bound=Model)


class Written(NamedTuple):
    """A statement: its SQL, each parameter with the position of the value that takes its place, and a row's reader."""

    sql: str
    params: list[tuple[Any, int | None]]
    instance_of: Callable[[tuple], Any]


class WrittenOnce(Generic[Row]):
    """A queryset of model instances that hangs on a few values, its SQL written by the ORM on the first call only.

    `build` is called with `stand_ins`, each unlike any other parameter, in place of the values; wherever one ends up
    among the parameters, each call puts its own value. Everything else in the queryset must be the same for every call:
    what is computed from a value is a value of its own. Locks (select_for_update), select_related, only, annotations
    and converters work as in the ORM.
    """

    def __init__(self, build: Callable[..., QuerySet[Row]], *, stand_ins: Sequence[Any]) -> None:
        self._build, self._stand_ins = build, list(stand_ins)
        self._written: Written | None = None

    def __call__(self, *values: Any) -> list[Row]:
        """Run the statement with `values` and return its rows as instances.

        :raises TypeError: on the first call, when the stand-ins' SQL is not the one that the ORM writes for the values
        """
        if self._written is None:
            self._written = self._write(values)
        sql, _, instance_of = self._written
        with connection.cursor() as cursor:
            cursor.execute(sql, _params(self._written, values))
            return [instance_of(row) for row in cursor.fetchall()]

    def _write(self, values: Sequence[Any]) -> Written:
        compiler = self._build(*self._stand_ins).query.get_compiler(connection.alias)
        sql, params = compiler.as_sql()
        at = [self._stand_ins.index(param) if param in self._stand_ins else None for param in params]
        written = Written(sql, list(zip(params, at, strict=True)), _reader(compiler))
        told_sql, told_params = self._build(*values).query.get_compiler(connection.alias).as_sql()
        if (sql, _params(written, values)) != (told_sql, list(told_params)):
            raise TypeError("More of this queryset hangs on the values than its stand-ins show.")
        return written


def _params(written: Written, values: Sequence[Any]) -> list[Any]:
    return [param if at is None else values[at] for param, at in written.params]


def _reader(compiler) -> Callable[[tuple], Model]:
    """Return what makes an instance of a row, as the ORM's own iterator does."""
    model, positions = compiler.klass_info["model"], compiler.klass_info["select_fields"]
    start, end = positions[0], positions[-1] + 1
    names = [column.target.attname for column, _, _ in compiler.select[start:end]]
    converters = compiler.get_converters([column for column, _, _ in compiler.select]).items()
    # The stubs are those of a later Django.
    populators = get_related_populators(compiler.klass_info, compiler.select, connection.alias)  # type: ignore[call-arg]
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
