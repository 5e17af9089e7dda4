"""The channel of opening balances, and their account in the ledger."""

from django.db import migrations, models

ACCOUNTS = [
    ("mpesa", "Mpesa"),
    ("cash", "Cash"),
    ("bank", "Bank"),
    ("member_credit", "Member Credit"),
    ("unmatched", "Unmatched"),
    ("sales", "Sales"),
    ("refunds", "Refunds"),
    ("opening", "Opening"),
    ("over_short", "Over Short"),
]
CHANNELS = [
    ("mpesa_stk", "M-Pesa STK push"),
    ("mpesa_c2b", "M-Pesa paybill"),
    ("cash", "Cash"),
    ("bank", "Bank"),
    ("opening", "Opening balance"),
]


class Migration(migrations.Migration):
    dependencies = [("payments", "0008_remove_idempotency_keys")]

    operations = [
        migrations.AlterField("ledgerentry", "account", models.CharField(choices=ACCOUNTS, max_length=16)),
        migrations.AlterField("receipt", "channel", models.CharField(choices=CHANNELS, max_length=12)),
    ]
