"""Addresses of payments, under /api/v1/."""

from django.urls import path

from payments import views

app_name = "payments"

urlpatterns = [
    path("callbacks/stk/<str:token>/", views.StkCallbackView.as_view(), name="stk-callback"),
]
