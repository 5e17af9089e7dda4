"""Filtering, searching and ordering that refuse what they do not know."""

from django_filters.rest_framework import DjangoFilterBackend
from rest_framework import filters
from rest_framework.settings import api_settings

from api.admin.roles import sees_phones
from api.errors import Invalid

# What pagination and content negotiation read, in any list.
ALWAYS = {"page", "page_size", "cursor", "format"}


class UnknownParameter(Invalid):
    code, message = "unknown_parameter", "This list does not know that parameter."


def refuse(names) -> None:
    """:raises UnknownParameter: there are any names, which its details list"""
    if names:
        raise UnknownParameter(
            details=[
                {"field": name, "code": "unknown_parameter", "message": "Unknown parameter."} for name in sorted(names)
            ]
        )


class StrictFilterBackend(DjangoFilterBackend):
    """django-filter, answering 400 to any parameter that neither it nor its neighbours read."""

    def filter_queryset(self, request, queryset, view):
        known = set(ALWAYS)
        if getattr(view, "search_fields", None):
            known.add(api_settings.SEARCH_PARAM)
        if getattr(view, "ordering_fields", None):
            known.add(api_settings.ORDERING_PARAM)
        filterset_class = self.get_filterset_class(view, queryset)
        if filterset_class is not None:
            known.update(filterset_class.base_filters)
        refuse(set(request.query_params) - known)
        return super().filter_queryset(request, queryset, view)


class StrictSearchFilter(filters.SearchFilter):
    """Searching where a view says by what; elsewhere the parameter is unknown, and not described."""

    def get_search_fields(self, view, request):
        """Who is shown no whole phone numbers cannot try them out either."""
        fields = super().get_search_fields(view, request) or []
        return fields if sees_phones(request.user) else [name for name in fields if name != "phone_number"]

    def get_schema_operation_parameters(self, view):
        return super().get_schema_operation_parameters(view) if getattr(view, "search_fields", None) else []


class StrictOrderingFilter(filters.OrderingFilter):
    """Ordering by the fields a view lists, and 400 for any other."""

    def get_schema_operation_parameters(self, view):
        names = getattr(view, "ordering_fields", None) or []
        return [
            {
                **parameter,
                "description": f"One or more, by commas, of: {', '.join(names)}; - before one turns it round.",
            }
            for parameter in (super().get_schema_operation_parameters(view) if names else [])
        ]

    def remove_invalid_fields(self, queryset, fields, view, request):
        valid = {name for name, _ in self.get_valid_fields(queryset, view, {"request": request})}
        refuse({field for field in fields if field.lstrip("-") not in valid})
        return fields
