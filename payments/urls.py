"""Addresses of payments, under /api/v1/."""

app_name = "payments"

urlpatterns: list = []
