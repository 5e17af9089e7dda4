"""Bounded lists; what page this is stands in the envelope's meta."""

from datetime import UTC, datetime
from urllib.parse import urlsplit

from rest_framework import pagination
from rest_framework.exceptions import NotFound
from rest_framework.response import Response

DEFAULT_PAGE_SIZE = 25
LARGEST_PAGE = 100


def relative(url: str | None) -> str | None:
    """Return a link without scheme and host, good behind any proxy."""
    if url is None:
        return None
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


class PageResponse(Response):
    """The rows of one page; what `pagination` says goes into the envelope's meta."""

    def __init__(self, data, pagination: dict):
        super().__init__(data)
        self.pagination = pagination


class RowsInData:
    """Describes a list in the OpenAPI document as it is answered: the rows are the data, the rest is in meta."""

    def get_paginated_response_schema(self, schema):
        return schema


class PagePagination(RowsInData, pagination.PageNumberPagination):
    """Numbered pages with a total."""

    meta_name = "PageMeta"  # its schema in api/schema.py
    page_size = DEFAULT_PAGE_SIZE
    page_size_query_param = "page_size"
    max_page_size = LARGEST_PAGE

    def get_paginated_response(self, data):
        return PageResponse(
            data,
            {
                "page": self.page.number,
                "page_size": self.page.paginator.per_page,
                "total": self.page.paginator.count,
                "total_pages": self.page.paginator.num_pages,
                "next": relative(self.get_next_link()),
                "previous": relative(self.get_previous_link()),
            },
        )


class CursorPagination(RowsInData, pagination.CursorPagination):
    """Pages that cost the same at row ten and at row ten million; newest first, no total. Ordered by a moment."""

    meta_name = "CursorMeta"
    page_size = DEFAULT_PAGE_SIZE
    page_size_query_param = "page_size"
    max_page_size = LARGEST_PAGE
    ordering = ("-created_at", "-id")

    def decode_cursor(self, request):
        cursor = super().decode_cursor(request)
        if cursor is None or cursor.position is None:
            return cursor
        try:
            moment = datetime.fromisoformat(cursor.position)
            if moment.tzinfo is None:
                raise ValueError("A position is a moment, which has a zone.")
            return cursor._replace(position=str(moment.astimezone(UTC)))
        except (ValueError, OverflowError):
            raise NotFound(self.invalid_cursor_message) from None

    def get_paginated_response(self, data):
        return PageResponse(
            data, {"next": relative(self.get_next_link()), "previous": relative(self.get_previous_link())}
        )
