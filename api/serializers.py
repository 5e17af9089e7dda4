"""What every serializer of a model shares."""

import copy

from rest_framework import serializers


# Described here: the schema would give a docstring to every serializer that has none of its own.
# DRF's own asks the model for its fields on every request, and makes each that is declared anew; this one asks once per
# class, and copies.
class ModelSerializer(serializers.ModelSerializer):
    def get_fields(self):
        """Return fields of this instance's own; they hang on the class's Meta only."""
        built = type(self).__dict__.get("_fields_built")
        if built is None:
            built = type(self)._fields_built = super().get_fields()
        # A field changes by being bound, to the serializer it belongs to. What it holds besides is only read, but for
        # fields within it, which are bound to it.
        return {name: copy_of(field) for name, field in built.items()}


def copy_of(field: serializers.Field) -> serializers.Field:
    """Return a field like another, unbound. One made around others, as a list is around its items, is made anew."""
    if hasattr(field, "child") or hasattr(field, "child_relation"):
        return copy.deepcopy(field)
    copied = object.__new__(type(field))
    vars(copied).update(vars(field))
    return copied
