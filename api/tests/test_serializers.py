"""The fields of a model's serializer are found once, and belong to nobody else."""

import pytest
from rest_framework import serializers

from accounts.models import CustomUser
from accounts.serializers import MaskedPhoneField, MeSerializer, UserSerializer
from api.serializers import ModelSerializer


def test_what_one_instance_changes_in_its_fields_no_other_sees():
    mine = UserSerializer()
    mine.fields["username"].read_only = True
    mine.fields.pop("email")

    other = UserSerializer()
    assert (other.fields["username"].read_only, "email" in other.fields) == (False, True)


def test_the_model_is_asked_once_for_each_class(monkeypatch):
    UserSerializer().fields, MeSerializer().fields
    monkeypatch.setattr(UserSerializer, "build_field", lambda *args: pytest.fail("asked again"))

    assert "password" in UserSerializer().fields
    assert "password" not in MeSerializer().fields


class Tagged(ModelSerializer):
    """With a list, whose items are fields of their own."""

    tags = serializers.ListField(child=MaskedPhoneField(), source="groups")

    class Meta:
        model = CustomUser
        fields = ["tags"]


def test_the_items_of_a_list_belong_to_the_same_instance_as_the_list():
    mine, other = Tagged(context={"of": "mine"}), Tagged(context={"of": "another"})

    assert [each.fields["tags"].child.context["of"] for each in (mine, other, mine)] == ["mine", "another", "mine"]
