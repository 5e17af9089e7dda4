"""The club's own headings of member lists, for the import."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0002_let_a_cut_period_move_past_its_cut")]

    operations = [
        migrations.CreateModel(
            name="ImportHeading",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("heading", models.CharField(help_text="In lower case, without punctuation.", max_length=100, unique=True)),
                ("column", models.CharField(blank=True, help_text="Empty: this column is not imported.", max_length=20)),
            ],
        ),
    ]
