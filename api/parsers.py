"""Reading JSON from strangers: whatever cannot be right is refused before any serializer sees it."""

import json
from collections.abc import Mapping
from typing import Any

from rest_framework.parsers import JSONParser, MultiPartParser

from api.errors import DomainError, Invalid

# Bytes of a JSON body; uploads have a parser of their own.
LARGEST_BODY = 64 * 1024
MAX_UPLOAD_BYTES = 6 * 1024 * 1024  # bytes of any body: a file, and what is written around it
DEEPEST = 16
LONGEST_NUMBER = 30  # digits; more are no amount, and cost quadratic time to read


class ParseError(Invalid):
    code, message = "parse_error", "The body could not be read as JSON."


class UnkeepableText(Invalid):
    """A NUL character or half a surrogate pair: PostgreSQL holds neither."""

    code, message = "validation_error", "A text holds a character that cannot be kept."


class TooLarge(DomainError):
    """The body is longer than any of ours; answered 413."""

    status, code, message = 413, "too_large", "The request is too large."


class StrictJSONParser(JSONParser):
    """JSON in UTF-8, of bounded size, depth and numbers, without NUL, lone surrogates, NaN or a doubled name."""

    def parse(self, stream, media_type=None, parser_context=None) -> Any:
        _require_utf8(parser_context)
        body = stream.read(LARGEST_BODY + 1)
        if len(body) > LARGEST_BODY:
            raise TooLarge
        return read_json(body)


class UploadParser(MultiPartParser):
    """A multipart body, for the views that take a file."""

    def parse(self, stream, media_type=None, parser_context=None) -> Any:
        _require_utf8(parser_context)
        return super().parse(stream, media_type=media_type, parser_context=parser_context)


def _require_utf8(parser_context: Mapping[str, Any]) -> None:
    """:raises ParseError: the request says that its text is in another encoding"""
    charset = parser_context["request"].content_params.get("charset", "utf-8")
    if charset.lower().replace("-", "") != "utf8":
        raise ParseError("The body must be in UTF-8.")


def read_json(body: bytes) -> Any:
    """Return what a JSON body says.

    :raises ParseError: it is not JSON, or holds something none of our fields could mean
    :raises UnkeepableText: a text holds a NUL character or a lone surrogate
    """
    try:
        text = body.decode("utf-8")
        found = json.loads(
            text,
            object_pairs_hook=_no_doubled_names,
            parse_int=_short_number(int),
            parse_float=_short_number(float),
            parse_constant=_no_constant,
        )
        _check_depth_and_text(found)
    except (ValueError, RecursionError) as error:
        raise ParseError from error
    return found


def _no_doubled_names(pairs: list[tuple[str, Any]]) -> dict:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


def _short_number(kind):
    def read(digits: str):
        if len(digits) > LONGEST_NUMBER:
            raise ValueError("a number too long")
        return kind(digits)

    return read


def _no_constant(word: str):
    raise ValueError(word)  # NaN and Infinity are not JSON


def _check_depth_and_text(found: Any) -> None:
    """:raises ValueError: nested too deep
    :raises UnkeepableText: a text that PostgreSQL cannot hold
    """
    level, depth = [found], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise ValueError("nested too deep")
        below: list = []
        for item in level:
            if isinstance(item, str):
                if "\x00" in item or any("\ud800" <= letter <= "\udfff" for letter in item):
                    raise UnkeepableText
            elif isinstance(item, dict):
                below += item.keys()
                below += item.values()
            elif isinstance(item, list):
                below += item
        level = below
