"""A receipt remembers whether its prompt was found by its code or by amount, account and time."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("payments", "0002_protect_the_books")]

    operations = [
        migrations.AddField(
            model_name="receipt",
            name="push_guessed",
            field=models.BooleanField(
                default=False,
                help_text="Paired with the prompt by amount, account and time; the code has not proved it yet.",
            ),
        ),
    ]
