"""Filtering, searching and ordering of lists. An unknown parameter or field is an error, not ignored."""

from django_filters.rest_framework import DjangoFilterBackend
from rest_framework import filters
from rest_framework.settings import api_settings

from api.admin.roles import sees_phones
from api.errors import Invalid

# The parameters of pagination and content negotiation, which every list takes.
COMMON_PARAMETERS = {"page", "page_size", "cursor", "format"}


class UnknownParameter(Invalid):
    """The query has a parameter, or an ordering, that the list does not have."""

    code, message = "unknown_parameter", "This list does not have such a parameter."


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


class StrictFilterBackend(DjangoFilterBackend):
    """django-filter's backend, which also answers 400 to a parameter that no backend and no paginator uses."""

    def filter_queryset(self, request, queryset, view):
        known = set(COMMON_PARAMETERS)
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

    def get_search_fields(self, view, request):
        """Leave out the phone number for users who see it masked: they could find it by trying digits."""
        fields = super().get_search_fields(view, request) or []
        return fields if sees_phones(request.user) else [name for name in fields if name != "phone_number"]

    def get_schema_operation_parameters(self, view):
        return super().get_schema_operation_parameters(view) if getattr(view, "search_fields", None) else []


class StrictOrderingFilter(filters.OrderingFilter):
    """Order by the view's `ordering_fields`. Any other field is answered 400."""

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
        require_none({field for field in fields if field.lstrip("-") not in valid})
        return fields
