"""Serializer fields that more than one app uses."""

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
