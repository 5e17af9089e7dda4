"""Filtering, searching and ordering of lists. An unknown parameter or field is an error, not ignored."""

import re

import django_filters
from django import forms
from django.db import models
from django_filters.rest_framework import DjangoFilterBackend, FilterSet
from rest_framework import filters
from rest_framework.exceptions import ValidationError
from rest_framework.settings import api_settings

from api.admin.roles import sees_phones
from api.errors import Invalid

# Each word of a search is compared with every search field of every row.
MOST_SEARCH_WORDS = 5
LONGEST_SEARCH = 100


class UnknownParameter(Invalid):
    """The query has a parameter, or an ordering, that does not exist here."""

    code, message = "unknown_parameter", "There is no such parameter here."


def require_none(names) -> None:
    """Refuse unknown parameters, if there are any.

    :raises UnknownParameter: `names` is not empty. The details list each name
    """
    if names:
        raise UnknownParameter(
            details=[
                {"field": name, "code": "unknown_parameter", "message": "Unknown parameter."} for name in sorted(names)
            ]
        )


class StrictBooleanField(forms.Field):
    """`true` or `false`, or None without a value. django-filter's own field takes any other text as no value."""

    default_error_messages = {"invalid": "Write true or false."}

    def to_python(self, value):
        values = {"true": True, "false": False, "": None, None: None}
        if value not in values:
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid")
        return values[value]


class StrictBooleanFilter(django_filters.BooleanFilter):
    field_class = StrictBooleanField


class AsciiDigits:
    """A form field that refuses the digits of other scripts and `1_0`, which Python reads as numbers."""

    def to_python(self, value):
        if value not in self.empty_values and not re.fullmatch("[0-9-]+", str(value)):
            raise forms.ValidationError("Use the digits 0 to 9.", code="invalid")
        return super().to_python(value)


class DayField(AsciiDigits, forms.DateField):
    pass


class RowField(AsciiDigits, django_filters.fields.ModelChoiceField):
    pass


class DayFilter(django_filters.DateFilter):
    field_class = DayField


class RowFilter(django_filters.ModelChoiceFilter):
    """A filter by the id of a related row."""

    field_class = RowField


class StrictFilterSet(FilterSet):
    """The filters of a view's `filterset_fields`."""

    FILTER_DEFAULTS = {
        **FilterSet.FILTER_DEFAULTS,
        models.BooleanField: {"filter_class": StrictBooleanFilter},
        models.DateField: {"filter_class": DayFilter},
        models.ForeignKey: {**FilterSet.FILTER_DEFAULTS[models.ForeignKey], "filter_class": RowFilter},
    }


class StrictFilterBackend(DjangoFilterBackend):
    """django-filter's backend, which also answers 400 to a parameter that no backend and no paginator uses."""

    filterset_base = StrictFilterSet

    def filter_queryset(self, request, queryset, view):
        known = view.query_parameters | view.paginator.query_parameters
        if getattr(view, "search_fields", None):
            known.add(api_settings.SEARCH_PARAM)
        if getattr(view, "ordering_fields", None):
            known.add(api_settings.ORDERING_PARAM)
        filterset_class = self.get_filterset_class(view, queryset)
        if filterset_class is not None:
            known.update(filterset_class.base_filters)
        require_none(set(request.query_params) - known)
        return super().filter_queryset(request, queryset, view)


class StrictSearchFilter(filters.SearchFilter):
    """Search in the view's `search_fields`. A view without them has no search parameter, also in the schema."""

    def get_search_terms(self, request):
        """Return the words of the search.

        :raises ValidationError: there are more than MOST_SEARCH_WORDS, or LONGEST_SEARCH characters
        """
        is_short = len(request.query_params.get(self.search_param, "")) <= LONGEST_SEARCH
        words = super().get_search_terms(request) if is_short else []
        if not is_short or len(words) > MOST_SEARCH_WORDS:
            message = f"Search for at most {MOST_SEARCH_WORDS} words and {LONGEST_SEARCH} characters."
            raise ValidationError({self.search_param: [message]})
        return words

    def get_search_fields(self, view, request):
        """Leave out the phone number for users who see it masked: they could find it by trying digits."""
        fields = super().get_search_fields(view, request) or []
        return fields if sees_phones(request.user) else [name for name in fields if name != "phone_number"]

    def get_schema_operation_parameters(self, view):
        return super().get_schema_operation_parameters(view) if getattr(view, "search_fields", None) else []


class StrictOrderingFilter(filters.OrderingFilter):
    """Order by the view's `ordering_fields`, with empty values last. Any other field is answered 400.

    The primary key is always the last field: PostgreSQL returns rows with equal values in any order, so that without
    it one row is on two pages and another on none.
    """

    def filter_queryset(self, request, queryset, view):
        names = self.get_ordering(request, queryset, view)
        if names:
            queryset = queryset.order_by(*(self.empty_last(name, queryset.model) for name in names))
        names = queryset.query.order_by
        return queryset if not names or names[-1] in ("pk", "-pk", "id") else queryset.order_by(*names, "pk")

    def empty_last(self, name: str, model):
        """Return the ordering by one field. PostgreSQL itself lists NULL last in ascending order only."""
        descending = name.startswith("-")
        is_nullable = descending and model._meta.get_field(name[1:]).null
        return models.F(name[1:]).desc(nulls_last=True) if is_nullable else name

    def get_schema_operation_parameters(self, view):
        names = getattr(view, "ordering_fields", None) or []
        return [
            {
                **parameter,
                "description": f"Fields, separated by commas, of: {', '.join(names)}. Descending with - before it.",
            }
            for parameter in (super().get_schema_operation_parameters(view) if names else [])
        ]

    def remove_invalid_fields(self, queryset, fields, view, request):
        valid = {name for name, _ in self.get_valid_fields(queryset, view, {"request": request})}
        require_none({field for field in fields if field.removeprefix("-") not in valid})
        return fields
