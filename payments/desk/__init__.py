"""Money that staff handle: desk receipts, voids, refunds, reported codes and review items."""
