"""Test clients that act like a browser: HTTPS, cookies, and CSRF checks."""

from rest_framework.test import APIClient

ORIGIN = "https://testserver"


class BrowserClient(APIClient):
    """A client that sends cookies, its CSRF token, and the Referer that Django requires over HTTPS."""

    def __init__(self, **defaults):
        super().__init__(enforce_csrf_checks=True, HTTP_REFERER=f"{ORIGIN}/", **defaults)
        self.csrf_token = None

    def generic(self, method, path, *args, **kwargs):
        kwargs["secure"] = True
        if self.csrf_token and "HTTP_X_CSRFTOKEN" not in kwargs:
            kwargs["HTTP_X_CSRFTOKEN"] = self.csrf_token
        response = super().generic(method, path, *args, **kwargs)
        self.csrf_token = response.headers.get("X-CSRFToken", self.csrf_token)
        return response


def browser() -> BrowserClient:
    """Return a client with a CSRF token that is not logged in."""
    client = BrowserClient()
    client.get("/api/v1/auth/csrf/")
    return client


def logged_in_as(user, password: str = "correct-horse-battery") -> BrowserClient:
    """Return a client that has logged in as `user` through the API."""
    client = browser()
    response = client.post("/api/v1/auth/login/", {"identifier": user.username, "password": password}, format="json")
    assert response.status_code == 200, response.content
    return client
