"""A period that an upgrade cut may move past the day of the cut. It has no day left then."""

from django.db import migrations, models
from django.db.models import F, Q
from django.db.models.functions import Greatest

NAME = "subscription_ends_after_its_length_unless_cut"


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0001_initial")]

    operations = [
        migrations.RemoveConstraint("subscription", NAME),
        migrations.AddConstraint(
            "subscription",
            models.CheckConstraint(
                condition=~Q(fact="granted")
                | Q(cut_on__isnull=True, ends_on__gte=F("base_ends_on"))
                | Q(cut_on__isnull=False, ends_on=Greatest("starts_on", "cut_on")),
                name=NAME,
            ),
        ),
    ]
