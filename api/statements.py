"""Statements that are run so often that writing their SQL anew costs more than running it."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

from django.db import connection
from django.db.models import Model, QuerySet
from django.db.models.query import get_related_populators


class WrittenOnce:
    """A queryset of model instances that hangs on one value, its SQL written by the ORM on the first call only.

    `build` is called once, with `stand_in` in place of the value; wherever the stand-in ends up among the parameters,
    each call puts its own value. Everything else in the queryset must be the same for every call. Locks
    (select_for_update), select_related, only and annotations work as in the ORM.
    """

    def __init__(self, build: Callable[[Any], QuerySet], *, stand_in: Any) -> None:
        self._build, self._stand_in = build, stand_in

    def __call__(self, value: Any) -> list[Model]:
        """Run the statement with `value` and return its rows as instances."""
        sql, params, instance_of = self._written
        with connection.cursor() as cursor:
            cursor.execute(sql, [value if is_value else param for param, is_value in params])
            return [instance_of(row) for row in cursor.fetchall()]

    @cached_property
    def _written(self) -> tuple[str, list[tuple[Any, bool]], Callable[[tuple], Model]]:
        compiler = self._build(self._stand_in).query.get_compiler(connection.alias)
        sql, params = compiler.as_sql()
        columns = [column for column, _, _ in compiler.select]
        if compiler.get_converters(columns):
            raise TypeError("A column of this queryset needs converting, which only the ORM does.")
        return sql, [(param, param == self._stand_in) for param in params], _reader(compiler)


def _reader(compiler) -> Callable[[tuple], Model]:
    """Return what makes an instance of a row, as the ORM's own iterator does."""
    model, positions = compiler.klass_info["model"], compiler.klass_info["select_fields"]
    start, end = positions[0], positions[-1] + 1
    names = [column.target.attname for column, _, _ in compiler.select[start:end]]
    # The stubs are those of a later Django.
    populators = get_related_populators(compiler.klass_info, compiler.select, connection.alias)  # type: ignore[call-arg]
    annotations = compiler.annotation_col_map.items()

    def instance_of(row: tuple) -> Model:
        instance = model.from_db(connection.alias, names, row[start:end])
        for populator in populators:
            populator.populate(row, instance)
        for name, position in annotations:
            setattr(instance, name, row[position])
        return instance

    return instance_of
