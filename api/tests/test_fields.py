"""Serializer fields: what a client may send, and the error for anything else."""

import pytest
from rest_framework.exceptions import ValidationError

from api.fields import PhoneField


def test_phone_field_normalises_a_number():
    assert PhoneField().run_validation("0712 345 678") == "254712345678"


@pytest.mark.parametrize("typed", ["0201234567", "7" * 63])
def test_phone_field_refuses_any_other_number(typed):
    with pytest.raises(ValidationError) as refused:
        PhoneField().run_validation(typed)

    assert [(error.code, str(error)) for error in refused.value.detail] == [
        ("invalid_phone_number", "Enter a Kenyan mobile number, such as 0712 345 678.")
    ]
