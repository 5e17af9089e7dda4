"""Addresses of accounts, under /api/v1/."""

app_name = "accounts"

urlpatterns: list = []
