"""`manage.py tunnel` without a token says how to get one, and what else would do."""

import pytest
from django.core.management import CommandError, call_command


def test_without_a_token_it_says_where_to_get_one_and_what_else_would_do(settings):
    settings.NGROK_AUTHTOKEN = ""

    with pytest.raises(CommandError) as raised:
        call_command("tunnel", port=8033)

    assert str(raised.value) == (
        "NGROK_AUTHTOKEN is not set. To get one, free of charge:\n"
        "    1. Register at https://dashboard.ngrok.com/signup\n"
        "    2. Copy the token from https://dashboard.ngrok.com/get-started/your-authtoken\n"
        "    3. Add the line NGROK_AUTHTOKEN=<the token> to .env, and run this again.\n"
        "Any other tunnel does as well. With localtunnel, for instance:\n"
        "    npx localtunnel --port 8033\n"
        "    PUBLIC_URL=https://<the address it prints> python manage.py dev --port 8033"
    )


def test_the_tunnel_is_closed_when_the_product_behind_it_stops(monkeypatch, settings):
    from pyngrok import ngrok

    happened = []

    class Tunnel:
        public_url = "http://some-name.ngrok.app"

    def run(places, say):
        happened.append(("run", places.public_url, places.env["ALLOWED_HOSTS"].split(",")[-1]))

    settings.NGROK_AUTHTOKEN = "not-a-real-token"
    monkeypatch.setattr(ngrok, "connect", lambda *args, **kwargs: Tunnel())
    monkeypatch.setattr(ngrok, "kill", lambda config: happened.append("closed"))
    monkeypatch.setattr("config.management.commands.tunnel.run", run)

    call_command("tunnel", port=8033)

    assert happened == [("run", "https://some-name.ngrok.app", "some-name.ngrok.app"), "closed"]
