"""The base class of model serializers: its fields are built once and copied."""

import pytest
from rest_framework import serializers

from accounts.models import CustomUser
from accounts.serializers import MaskedPhoneField, MeSerializer, UserSerializer
from api.serializers import ModelSerializer


def test_changed_fields_belong_to_one_instance():
    mine = UserSerializer()
    mine.fields["username"].read_only = True
    mine.fields.pop("email")

    other = UserSerializer()
    assert (other.fields["username"].read_only, "email" in other.fields) == (False, True)


def test_fields_are_built_once_for_each_class(monkeypatch):
    UserSerializer().fields, MeSerializer().fields
    monkeypatch.setattr(UserSerializer, "build_field", lambda *args: pytest.fail("built again"))

    assert "password" in UserSerializer().fields
    assert "password" not in MeSerializer().fields


class Tagged(ModelSerializer):
    """A serializer with a list, which has an inner field."""

    tags = serializers.ListField(child=MaskedPhoneField(), source="groups")

    class Meta:
        model = CustomUser
        fields = ["tags"]


def test_items_of_a_list_belong_to_its_instance():
    mine, other = Tagged(context={"of": "mine"}), Tagged(context={"of": "another"})

    assert [each.fields["tags"].child.context["of"] for each in (mine, other, mine)] == ["mine", "another", "mine"]
