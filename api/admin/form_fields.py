"""Form fields of the admin's own forms, with its widgets."""

import re
from datetime import date

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from unfold.widgets import BASE_INPUT_CLASSES, UnfoldAdminIntegerFieldWidget, UnfoldAdminTextInputWidget

from api.money import MAX_KES
from api.phones import InvalidPhoneNumber, normalise

# A margin to the first and last date of Python, so that adding days to any date works.
FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2199, 12, 31)


class PhoneField(forms.CharField):
    """A Kenyan mobile number in any usual form. Its cleaned value is 254 and nine digits, or None."""

    widget = UnfoldAdminTextInputWidget(attrs={"inputmode": "tel", "autocomplete": "off"})

    def clean(self, value):
        text = super().clean(value)
        try:
            return normalise(text) if text else None
        except InvalidPhoneNumber as error:
            raise ValidationError(error.message, code=error.code) from error


class DayField(forms.DateField):
    """A date from FIRST_DAY to LAST_DAY, entered in the browser's own date picker."""

    def __init__(self, **kwargs):
        widget = forms.DateInput(format="%Y-%m-%d", attrs={"class": " ".join(BASE_INPUT_CLASSES)})
        widget.input_type = "date"
        bounds = [MinValueValidator(FIRST_DAY), MaxValueValidator(LAST_DAY)]
        super().__init__(widget=widget, validators=bounds, **kwargs)


class TextField(forms.CharField):
    """A line of text that the browser does not complete from earlier ones."""

    widget = UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"})


class WholeNumberField(forms.IntegerField):
    """A whole number in the digits 0 to 9. Django also reads 1_000 as 1000, and the digits of other scripts."""

    def to_python(self, value):
        if isinstance(value, str) and not re.fullmatch(r"\s*[+-]?[0-9]*\s*", value):
            raise ValidationError("Enter a whole number in the digits 0 to 9.", code="invalid")
        return super().to_python(value)


class ShillingsField(WholeNumberField):
    """Whole Kenyan shillings, up to MAX_KES."""

    widget = UnfoldAdminIntegerFieldWidget(attrs={"inputmode": "numeric", "autocomplete": "off"})

    def __init__(self, *, min_value: int, **kwargs):
        super().__init__(min_value=min_value, max_value=MAX_KES, **kwargs)
