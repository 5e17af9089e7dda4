"""Addresses of payments, under /api/v1/."""

from django.urls import path

from payments import views

app_name = "payments"

urlpatterns = [
    path("callbacks/stk/<str:token>/", views.StkCallbackView.as_view(), name="stk-callback"),
    path("callbacks/c2b/<str:secret>/confirmation/", views.C2bConfirmationView.as_view(), name="c2b-confirmation"),
    path("callbacks/c2b/<str:secret>/validation/", views.C2bValidationView.as_view(), name="c2b-validation"),
]
