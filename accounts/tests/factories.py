"""Factory of users."""

import factory
from django.utils import timezone

from accounts.models import CustomUser
from api.roles import Role

PASSWORD = "correct-horse-battery"


class UserFactory(factory.django.DjangoModelFactory):
    """Creates a member with a verified phone number and e-mail address, and a known password."""

    class Meta:
        model = CustomUser

    username = factory.Sequence(lambda n: f"person{n}")
    first_name = "Asha"
    last_name = factory.Sequence(lambda n: f"Otieno{n}")
    email = factory.Sequence(lambda n: f"person{n}@example.com")
    phone_number = factory.Sequence(lambda n: f"2547{n:08d}")
    password = PASSWORD
    role = Role.MEMBER
    email_verified_at = factory.LazyFunction(timezone.now)
    phone_verified_at = factory.LazyFunction(timezone.now)
    consented_at = factory.LazyFunction(timezone.now)

    @classmethod
    def _create(cls, model_class, *args, **kwargs):
        return model_class.objects.create_user(*args, **kwargs)
