"""What every serializer of a model shares."""

import copy

from rest_framework import serializers


# Described here: the schema would give a docstring to every serializer that has none of its own.
# DRF's own asks the model for its fields on every request; this one, once per class.
class ModelSerializer(serializers.ModelSerializer):
    def get_fields(self):
        """Return fields of this instance's own; they hang on the class's Meta only."""
        built = type(self).__dict__.get("_fields_built")
        if built is None:
            built = type(self)._fields_built = super().get_fields()
        return copy.deepcopy(built)
