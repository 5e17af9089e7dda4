"""The base classes of API views: those of REST framework, which refuse what they would otherwise ignore silently."""

from rest_framework import generics, views, viewsets
from rest_framework.exceptions import ValidationError

from api.filters import require_none
from api.parsers import StrictJSONParser
from api.serializers import UNKNOWN


class StrictView(views.APIView):
    """A view that answers 400 to query parameters and bodies that it does not use.

    Lists check their parameters themselves (api/filters.py). `request_serializer = None` means that a POST has no body.
    """

    query_parameters = {"format"}
    request_serializer: type | None

    def initial(self, request, *args, **kwargs):
        super().initial(request, *args, **kwargs)
        is_list = hasattr(self, "list") and getattr(self, "action", "list") == "list"
        if not is_list or request.method not in ("GET", "HEAD"):
            require_none(set(request.query_params) - self.query_parameters)
        if self.has_no_body(request):
            require_no_fields(request.data)

    def has_no_body(self, request) -> bool:
        """Return whether the call takes no body, or `{}`."""
        return request.method == "DELETE" or (
            request.method == "POST" and getattr(self, "request_serializer", True) is None
        )

    def get_parsers(self):
        """Return the parsers. A call without a body may send `{}` also to a view of uploads."""
        return [StrictJSONParser()] if self.request and self.has_no_body(self.request) else super().get_parsers()


def require_no_fields(body) -> None:
    """Check the body of a call that takes none.

    :raises ValidationError: it is neither missing nor `{}`. The details name its fields
    """
    if not isinstance(body, dict):
        raise ValidationError("This call takes no body.")
    if body:
        raise ValidationError({name: [UNKNOWN] for name in body})


# Without docstrings: the schema would show them for views without a docstring of their own.
class APIView(StrictView):
    pass


class GenericAPIView(StrictView, generics.GenericAPIView):
    pass


class ListAPIView(StrictView, generics.ListAPIView):
    pass


class ListCreateAPIView(StrictView, generics.ListCreateAPIView):
    pass


class RetrieveAPIView(StrictView, generics.RetrieveAPIView):
    pass


class RetrieveUpdateAPIView(StrictView, generics.RetrieveUpdateAPIView):
    pass


class DestroyAPIView(StrictView, generics.DestroyAPIView):
    pass


class GenericViewSet(StrictView, viewsets.GenericViewSet):
    pass
