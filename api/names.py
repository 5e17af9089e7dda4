"""Names of people and things: one line of text, without characters that cannot be seen."""

import re
import unicodedata

from django.db import models

# Joiners inside Arabic, Persian and Indian words, and inside emoji. Other format characters are removed: they hide
# text, or turn its direction.
JOINERS = "\u200c\u200d"
REMOVED_CATEGORIES = {"Cc", "Cf", "Cs"}
BREAKS = re.compile(r"\s+")


def plain_name(text: str) -> str:
    """Return the text on one line: a space for each line break or run of spaces, and no control characters."""
    shown = BREAKS.sub(" ", text)
    if not shown.isprintable():  # most names have nothing to remove
        shown = "".join(
            letter for letter in shown if letter in JOINERS or unicodedata.category(letter) not in REMOVED_CATEGORIES
        )
        shown = BREAKS.sub(" ", shown)
    # An accent that a keyboard writes as a character of its own becomes part of its letter: one name is one text.
    return unicodedata.normalize("NFC", shown).strip()


class NameField(models.CharField):
    """A column of names. Every write stores the text that `plain_name` returns, whoever writes it."""

    def deconstruct(self):
        """Describe it as a CharField: the column is the same, so that no migration is needed."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs

    def to_python(self, value):
        """Return the plain name. Forms, lookups and every write call this."""
        value = super().to_python(value)
        return plain_name(value) if isinstance(value, str) else value

    def pre_save(self, model_instance, add):
        """Set the stored text on the object too, so that it is the same as in the database."""
        value = getattr(model_instance, self.attname)
        if isinstance(value, str):
            value = plain_name(value)
            setattr(model_instance, self.attname, value)
        return value
