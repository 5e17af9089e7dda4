"""Actions of the front desk: each form checks what is typed, and makes one call of a service."""
