"""Serializer fields that more than one app uses."""

import re
from datetime import UTC

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from api.phones import InvalidPhoneNumber, normalise


class PhoneField(serializers.CharField):
    """A Kenyan mobile number in any usual form, such as 0712 345 678. It is validated to 254 and nine digits."""

    default_error_messages = {InvalidPhoneNumber.code: InvalidPhoneNumber.message}

    def __init__(self, **kwargs):
        super().__init__(**{"max_length": 30, **kwargs})  # for the schema. `normalise` refuses longer text itself

    def to_internal_value(self, data):
        try:
            return normalise(super().to_internal_value(data))
        except InvalidPhoneNumber as error:
            self.fail(error.code)


class MomentField(serializers.DateTimeField):
    """A moment, written in UTC with Z. REST framework itself writes it in the time zone of the club."""

    default_timezone = staticmethod(lambda: UTC)


@extend_schema_field({"type": "string", "pattern": "^[0-9]{2}:[0-9]{2}(:[0-9]{2})?$"})
class HourField(serializers.TimeField):
    """A time of day in Nairobi, such as 06:00. It is no `format: time`, which has an offset from UTC (RFC 3339)."""

    WRITTEN = re.compile("[0-9]{2}:[0-9]{2}(:[0-9]{2})?")

    def to_internal_value(self, data):
        if not self.WRITTEN.fullmatch(str(data)):
            self.fail("invalid", format="hh:mm or hh:mm:ss")
        return super().to_internal_value(data)
