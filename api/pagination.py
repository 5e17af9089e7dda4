"""Pagination of lists. The page size is limited, and the envelope's `meta` describes the page."""

import re
from datetime import UTC, datetime
from urllib.parse import urlsplit

from rest_framework import pagination
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.response import Response

DEFAULT_PAGE_SIZE = 25
LARGEST_PAGE = 100
WHOLE_NUMBER = re.compile("[0-9]{1,18}")  # int() also reads 1_0 and the digits of other scripts


def relative(url: str | None) -> str | None:
    """Return a link without scheme and host, so that it works behind any proxy."""
    if url is None:
        return None
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


class PageResponse(Response):
    """A response with the rows of one page. The renderer copies `pagination` into the envelope's meta."""

    def __init__(self, data, pagination: dict):
        super().__init__(data)
        self.pagination = pagination


class BoundedPages:
    """Pages of 1 to LARGEST_PAGE rows, DEFAULT_PAGE_SIZE without `page_size`. The OpenAPI document shows an array."""

    def get_page_size(self, request):
        """Return the number of rows of a page.

        :raises ValidationError: `page_size` is not a number from 1 to LARGEST_PAGE
        """
        text = request.query_params.get("page_size")
        if text is None:
            return DEFAULT_PAGE_SIZE
        if not (WHOLE_NUMBER.fullmatch(text) and 1 <= int(text) <= LARGEST_PAGE):
            raise ValidationError({"page_size": [f"Write a number from 1 to {LARGEST_PAGE}."]})
        return int(text)

    def get_paginated_response_schema(self, schema):
        return schema


class PagePagination(BoundedPages, pagination.PageNumberPagination):
    """Numbered pages, with the total number of rows."""

    query_parameters = {"page", "page_size"}
    meta_name = "PageMeta"  # its schema in api/schema.py
    page_size = DEFAULT_PAGE_SIZE
    page_size_query_param = "page_size"
    max_page_size = LARGEST_PAGE

    def get_page_number(self, request, paginator):
        number = str(super().get_page_number(request, paginator))
        if not WHOLE_NUMBER.fullmatch(number) and number not in self.last_page_strings:
            raise NotFound(self.invalid_page_message)
        return number

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


class CursorPagination(BoundedPages, pagination.CursorPagination):
    """Pages by cursor, newest first, without a total. A page far down the list costs no more than the first."""

    query_parameters = {"cursor", "page_size"}
    meta_name = "CursorMeta"
    page_size = DEFAULT_PAGE_SIZE
    page_size_query_param = "page_size"
    max_page_size = LARGEST_PAGE
    ordering = ("-created_at", "-id")

    def decode_cursor(self, request):
        """Check that the cursor's position is a datetime: anything else would fail in the database."""
        cursor = super().decode_cursor(request)
        if cursor is None or cursor.position is None:
            return cursor
        try:
            position = datetime.fromisoformat(cursor.position)
            if position.tzinfo is None:
                raise ValueError("a position without a time zone")
            return cursor._replace(position=str(position.astimezone(UTC)))
        except (ValueError, OverflowError):
            raise NotFound(self.invalid_cursor_message) from None

    def get_paginated_response(self, data):
        return PageResponse(
            data, {"next": relative(self.get_next_link()), "previous": relative(self.get_previous_link())}
        )
