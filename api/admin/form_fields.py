"""Fields that the admin's own forms share, in its looks."""

from datetime import date

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from unfold.widgets import BASE_INPUT_CLASSES, UnfoldAdminIntegerFieldWidget, UnfoldAdminTextInputWidget

from api.money import MAX_KES
from api.phones import InvalidPhoneNumber, normalise

# So that any day can be counted on from, and back from.
FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2199, 12, 31)


class PhoneField(forms.CharField):
    """A Kenyan mobile number as people write it; read as 254 and nine digits."""

    widget = UnfoldAdminTextInputWidget(attrs={"inputmode": "tel", "autocomplete": "off"})

    def clean(self, value):
        typed = super().clean(value)
        try:
            return normalise(typed) if typed else None
        except InvalidPhoneNumber as error:
            raise ValidationError(error.message, code=error.code) from error


class DayField(forms.DateField):
    """A day, picked in the browser's own calendar, from FIRST_DAY to LAST_DAY."""

    def __init__(self, **kwargs):
        widget = forms.DateInput(format="%Y-%m-%d", attrs={"class": " ".join(BASE_INPUT_CLASSES)})
        widget.input_type = "date"
        bounds = [MinValueValidator(FIRST_DAY), MaxValueValidator(LAST_DAY)]
        super().__init__(widget=widget, validators=bounds, **kwargs)


class TextField(forms.CharField):
    """A line of text that the browser does not complete from earlier ones."""

    widget = UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"})


class ShillingsField(forms.IntegerField):
    """Whole Kenyan shillings, up to MAX_KES."""

    widget = UnfoldAdminIntegerFieldWidget(attrs={"inputmode": "numeric", "autocomplete": "off"})

    def __init__(self, *, min_value: int, **kwargs):
        super().__init__(min_value=min_value, max_value=MAX_KES, **kwargs)
