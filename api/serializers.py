"""What every serializer of a model shares."""

import copy
from functools import cache, cached_property

from rest_framework import serializers
from rest_framework.utils.serializer_helpers import BindingDict


# Described here: the schema would give a docstring to every serializer that has none of its own.
# DRF's own asks the model for its fields on every request, and makes and binds each anew; this one does so once per
# class, and copies.
class ModelSerializer(serializers.ModelSerializer):
    @cached_property
    def fields(self):
        """Fields of this instance's own; they hang on the class's Meta only."""
        bound = BindingDict(self)
        for name, field in self._bound_once().items():
            if is_around_others(field):
                bound[name] = copy.deepcopy(field)
            else:
                bound.fields[name] = copy_of(field, parent=self)
        return bound

    @classmethod
    @cache
    def _bound_once(cls) -> dict[str, serializers.Field]:
        """Return fields to copy, each bound to an instance that nobody uses but those around other fields."""
        nobody = cls()
        fields = nobody.get_fields()
        for name, field in fields.items():
            if not is_around_others(field):
                field.bind(name, nobody)
        return fields


def is_around_others(field: serializers.Field) -> bool:
    """Say whether the field has fields within, as a list has its items; those are bound to it, not only read."""
    return hasattr(field, "child") or hasattr(field, "child_relation")


def copy_of(field: serializers.Field, *, parent: serializers.Serializer) -> serializers.Field:
    """Return a field like one that is bound, bound to another parent."""
    copied = object.__new__(type(field))
    vars(copied).update(vars(field), parent=parent)
    return copied
