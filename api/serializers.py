"""The base classes of all serializers. They refuse unknown fields, changed read-only fields, and other JSON types."""

import copy
import json
from collections.abc import Mapping
from functools import cache, cached_property

from django.db import models
from rest_framework import serializers
from rest_framework.utils.encoders import JSONEncoder
from rest_framework.utils.serializer_helpers import BindingDict

from api.fields import HourField, MomentField

UNKNOWN = serializers.ErrorDetail("There is no such field here.", "unknown_field")
READ_ONLY = serializers.ErrorDetail("This field cannot be changed here.", "read_only")
# The JSON type of each class of field, and the message for another one. REST framework itself converts: it accepts the
# text "1_0" or digits of another script as a number, 0 as a text, and "no" as a boolean.
JSON_TYPES: list[tuple[tuple[type[serializers.Field], ...], type, str]] = [
    ((serializers.BooleanField,), bool, "Send true or false, without quotes."),
    ((serializers.IntegerField, serializers.PrimaryKeyRelatedField), int, "Send a whole number, without quotes."),
    (
        (
            serializers.CharField,
            serializers.ChoiceField,
            serializers.DateField,
            serializers.TimeField,
            serializers.SlugRelatedField,
        ),
        str,
        "Send a text, in quotes.",
    ),
]
WITH_DIGITS = (serializers.DateField, serializers.TimeField)


def type_error(field: serializers.Field, value):
    """Return the error if `value` is not of the field's JSON type, or None. Of a list, the errors by position."""
    if isinstance(field, serializers.ListField):
        wrong = {
            index: type_error(field.child, each) for index, each in enumerate(value if type(value) is list else [])
        }
        return {index: error for index, error in wrong.items() if error} or None
    if value is None:
        return None
    for fields, json_type, message in JSON_TYPES:
        if isinstance(field, fields) and type(value) is not json_type:
            return [serializers.ErrorDetail(message, "invalid")]
    if isinstance(field, WITH_DIGITS) and not value.isascii():
        return [serializers.ErrorDetail("Use the digits 0 to 9.", "invalid")]
    return None


# Comments of these classes are no docstrings: the schema would show them for serializers without their own.
# A typing mistake in the name of an optional field must not be answered as a success.
class Serializer(serializers.Serializer):
    def to_internal_value(self, data):
        refused = self.refused_fields(data) if isinstance(data, Mapping) else {}
        try:
            validated = super().to_internal_value(data)
        except serializers.ValidationError as error:
            raise serializers.ValidationError({**error.detail, **refused}) from error
        if refused:
            raise serializers.ValidationError(refused)
        return validated

    def refused_fields(self, data: Mapping) -> dict:
        """Return the errors of fields that do not exist, are read-only with another value, or have another type."""
        refused: dict = {}
        shown = None
        for name, value in data.items():
            field = self.fields.get(name)
            if field is None:
                refused[name] = [UNKNOWN]
            elif field.read_only:
                if shown is None:
                    shown = self.shown_values()
                if name not in shown or shown[name] != value:
                    refused[name] = [READ_ONLY]
            elif error := type_error(field, value):
                refused[name] = error
        return refused

    def shown_values(self) -> dict:
        """Return the object as the client has read it, or nothing for a new one."""
        shown = {} if self.instance is None else self.to_representation(self.instance)
        return json.loads(json.dumps(shown, cls=JSONEncoder))


# DRF's own class asks the model for its fields, creates each and binds it, on every request. This class does so once
# for each subclass, and copies the fields.
class ModelSerializer(Serializer, serializers.ModelSerializer):
    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        models.DateTimeField: MomentField,
        models.TimeField: HourField,
    }

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
