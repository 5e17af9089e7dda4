"""The base class of model serializers."""

import copy
from functools import cache, cached_property

from rest_framework import serializers
from rest_framework.utils.serializer_helpers import BindingDict


# DRF's own class asks the model for its fields, creates each and binds it, on every request. This class does so once
# for each subclass, and copies the fields.
# This is not a docstring: the schema would show it for every serializer without a docstring of its own.
class ModelSerializer(serializers.ModelSerializer):
    @cached_property
    def fields(self):
        """The fields of this instance, which may change them. They depend on the class's Meta only."""
        bound = BindingDict(self)
        for name, field in self._template_fields().items():
            if has_inner_fields(field):
                bound[name] = copy.deepcopy(field)
            else:
                bound.fields[name] = copy_bound(field, parent=self)
        return bound

    @classmethod
    @cache
    def _template_fields(cls) -> dict[str, serializers.Field]:
        """Return the fields to copy. A field without inner fields is bound to an instance with no other use."""
        template = cls()
        fields = template.get_fields()
        for name, field in fields.items():
            if not has_inner_fields(field):
                field.bind(name, template)
        return fields


def has_inner_fields(field: serializers.Field) -> bool:
    """Return whether the field has inner fields, as a list has. They are bound to it, so it needs a deep copy."""
    return hasattr(field, "child") or hasattr(field, "child_relation")


def copy_bound(field: serializers.Field, *, parent: serializers.Serializer) -> serializers.Field:
    """Return a copy of a bound field, bound to another parent."""
    copied = object.__new__(type(field))
    vars(copied).update(vars(field), parent=parent)
    return copied
