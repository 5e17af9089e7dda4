"""Amounts of money: whole Kenyan shillings (KES), in integers. The limits here fit every column."""

MAX_KES = 10_000_000  # the largest price, fee or amount at the desk, far above any real one

# The largest amount that a message of Safaricom may report. It is higher, because money that moved is never refused.
MAX_REPORTED_KES = 100_000_000
