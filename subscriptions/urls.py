"""Addresses of subscriptions, under /api/v1/."""

app_name = "subscriptions"

urlpatterns: list = []
