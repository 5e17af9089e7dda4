"""`manage.py tunnel`."""

import pytest
from django.core.management import CommandError, call_command


def test_missing_token_is_reported_with_what_to_do(settings):
    settings.NGROK_AUTHTOKEN = ""

    with pytest.raises(CommandError) as raised:
        call_command("tunnel", port=8033)

    assert str(raised.value) == (
        "NGROK_AUTHTOKEN is not set. To get one, free of charge:\n"
        "    1. Register at https://dashboard.ngrok.com/signup\n"
        "    2. Copy the token from https://dashboard.ngrok.com/get-started/your-authtoken\n"
        "    3. Add the line NGROK_AUTHTOKEN=<the token> to .env, and run this again.\n"
        "Any other tunnel works too. For example localtunnel:\n"
        "    npx localtunnel --port 8033\n"
        "    PUBLIC_URL=https://<the host that it prints> python manage.py dev --port 8033"
    )


def test_tunnel_is_closed_when_the_product_stops(monkeypatch, settings):
    from pyngrok import ngrok

    events = []

    class Tunnel:
        public_url = "http://some-name.ngrok.app"

    def run(places, say):
        events.append(("run", places.public_url, places.env["ALLOWED_HOSTS"].split(",")[-1]))

    settings.NGROK_AUTHTOKEN = "not-a-real-token"
    monkeypatch.setattr(ngrok, "connect", lambda *args, **kwargs: Tunnel())
    monkeypatch.setattr(ngrok, "kill", lambda config: events.append("closed"))
    monkeypatch.setattr("config.management.commands.tunnel.run", run)

    call_command("tunnel", port=8033)

    assert events == [("run", "https://some-name.ngrok.app", "some-name.ngrok.app"), "closed"]
