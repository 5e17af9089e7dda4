"""Parsers of request bodies. Bodies that no serializer could accept are refused while they are read."""

import json
from collections.abc import Mapping
from typing import Any

from rest_framework.parsers import JSONParser, MultiPartParser

from api.errors import DomainError, Invalid

MAX_JSON_BYTES = 64 * 1024
MAX_UPLOAD_BYTES = 6 * 1024 * 1024  # of any body: a file of 5 MiB, and the multipart format around it
MAX_DEPTH = 16
MAX_NUMBER_DIGITS = 30  # longer numbers are no amounts, and take quadratic time to read


class ParseError(Invalid):
    """The body is not JSON, or has a part that no field could accept."""

    code, message = "parse_error", "The body could not be read as JSON."


class UnstorableText(Invalid):
    """A text has a NUL character or a lone surrogate, which PostgreSQL cannot store."""

    code, message = "validation_error", "A text has a character that cannot be stored."


class TooLarge(DomainError):
    """The body is too large. Answered 413."""

    status, code, message = 413, "too_large", "The request is too large."


class StrictJSONParser(JSONParser):
    """JSON in UTF-8 of limited size. See `read_json` for the content that is refused."""

    def parse(self, stream, media_type=None, parser_context=None) -> Any:
        _require_utf8(parser_context)
        body = stream.read(MAX_JSON_BYTES + 1)
        if len(body) > MAX_JSON_BYTES:
            raise TooLarge
        return read_json(body)


class UploadParser(MultiPartParser):
    """A multipart body in UTF-8, for the views that accept a file."""

    def parse(self, stream, media_type=None, parser_context=None) -> Any:
        _require_utf8(parser_context)
        return super().parse(stream, media_type=media_type, parser_context=parser_context)


def _require_utf8(parser_context: Mapping[str, Any]) -> None:
    """Check the charset of the request.

    :raises ParseError: it is not UTF-8
    """
    charset = parser_context["request"].content_params.get("charset", "utf-8")
    if charset.lower().replace("-", "") != "utf8":
        raise ParseError("The body must be in UTF-8.")


def read_json(body: bytes) -> Any:
    """Return the value of a JSON body.

    :raises ParseError: it is not JSON in UTF-8, has NaN, Infinity, a duplicate name or a very long number, or is nested
        too deeply
    :raises UnstorableText: a text has a NUL character or a lone surrogate
    """
    try:
        text = body.decode("utf-8")
        found = json.loads(
            text,
            object_pairs_hook=_unique_names,
            parse_int=_limited(int),
            parse_float=_limited(float),
            parse_constant=_refuse_constant,
        )
        _check_depth_and_text(found)
    except (ValueError, RecursionError) as error:
        raise ParseError from error
    return found


def _unique_names(pairs: list[tuple[str, Any]]) -> dict:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate name")
    return found


def _limited(kind):
    def read(digits: str):
        if len(digits) > MAX_NUMBER_DIGITS:
            raise ValueError("number too long")
        return kind(digits)

    return read


def _refuse_constant(name: str):
    raise ValueError(name)  # NaN and Infinity are not JSON


def _check_depth_and_text(found: Any) -> None:
    """Check a parsed body, level by level.

    :raises ValueError: it is nested too deeply
    :raises UnstorableText: PostgreSQL cannot store a text in it
    """
    level, depth = [found], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError("nested too deeply")
        below: list = []
        for item in level:
            if isinstance(item, str):
                if "\x00" in item or any("\ud800" <= letter <= "\udfff" for letter in item):
                    raise UnstorableText
            elif isinstance(item, dict):
                below += item.keys()
                below += item.values()
            elif isinstance(item, list):
                below += item
        level = below
