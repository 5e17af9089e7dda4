"""URLs of plans, subscriptions, closures and check-ins, under /api/v1/."""

from django.urls import path

from subscriptions import views

app_name = "subscriptions"

urlpatterns = [
    path("plan-groups/", views.PlanGroupListView.as_view(), name="plan-group-list"),
    path("plans/", views.PlanListView.as_view(), name="plan-list"),
    path("plans/<int:pk>/", views.PlanDetailView.as_view(), name="plan-detail"),
    path("subscriptions/", views.SubscriptionListView.as_view(), name="subscription-list"),
    path("subscriptions/<int:pk>/", views.SubscriptionDetailView.as_view(), name="subscription-detail"),
    path("subscriptions/gifts/", views.GiftView.as_view(), name="subscription-gift"),
    path("subscriptions/<int:pk>/cancel/", views.CancelView.as_view(), name="subscription-cancel"),
    path("subscriptions/<int:pk>/undo/", views.UndoView.as_view(), name="subscription-undo"),
    path("subscriptions/<int:pk>/freeze/", views.FreezeView.as_view(), name="subscription-freeze"),
    path("subscriptions/<int:pk>/unfreeze/", views.UnfreezeView.as_view(), name="subscription-unfreeze"),
    path("subscriptions/<int:pk>/change/", views.ChangeView.as_view(), name="subscription-change"),
    path("subscriptions/<int:pk>/upgrade/", views.UpgradeView.as_view(), name="subscription-upgrade"),
    path("subscriptions/<int:pk>/renew/", views.RenewView.as_view(), name="subscription-renew"),
    path("closures/", views.ClosureListView.as_view(), name="closure-list"),
    path("closures/<int:pk>/", views.ClosureDetailView.as_view(), name="closure-detail"),
    path("checkins/", views.CheckInView.as_view(), name="check-in"),
]
