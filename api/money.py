"""Money is whole Kenyan shillings (KES), in integers."""

MAX_KES = 10_000_000  # the largest price, fee or desk amount: far above any real one, and it fits every column
