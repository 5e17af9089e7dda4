"""The fields of a model's serializer are found once, and belong to nobody else."""

import pytest

from accounts.serializers import MeSerializer, UserSerializer


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
