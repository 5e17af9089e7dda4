"""SMS: sent through Africa's Talking, shown on the simulator's phone, or printed to the console."""

import logging
import sys

import requests
from django.conf import settings

from api import phones

logger = logging.getLogger(__name__)

# Seconds to connect and to read.
TIMEOUT = (3.05, 10)
AFRICASTALKING_URL = "https://api.africastalking.com/version1/messaging"
# Processed, sent, queued (Africa's Talking, SMS API, "Status codes"). Every other code is a refusal.
ACCEPTED = {100, 101, 102}


class SmsNotSent(Exception):
    """The gateway refused the message, or gave no answer."""


def send(*, phone: str, text: str) -> None:
    """Send one message through the backend that SMS_BACKEND names.

    :raises SmsNotSent: the gateway refused the message, or gave no answer
    """
    backends = {"console": to_console, "phone": to_phone, "africastalking": to_africastalking}
    try:
        backends[settings.SMS_BACKEND](phone, text)
    except SmsNotSent as error:
        logger.error("An SMS to %s was not sent: %s", phones.masked(phone), error)
        raise


def to_console(phone: str, text: str) -> None:
    """Print the message. For development only."""
    sys.stdout.write(f"SMS to {phones.masked(phone)}: {text}\n")


def to_phone(phone: str, text: str) -> None:
    """Show the message on the simulator's phone."""
    _post(f"{settings.DARAJA_SIMULATOR_URL}/control/sms/", json={"phone": phone, "text": text})


def to_africastalking(phone: str, text: str) -> None:
    """Send the message through Africa's Talking (their SMS API: bulk messaging, version 1).

    Their status 201 only means that the request is well formed. The recipient's own status code says whether the
    message is accepted. Without a recipient, for example for an unknown sender name, `Message` has the reason.
    """
    body = {"username": settings.AFRICASTALKING_USERNAME, "to": f"+{phone}", "message": text}
    if settings.AFRICASTALKING_SENDER:
        body["from"] = settings.AFRICASTALKING_SENDER
    answer = _post(
        AFRICASTALKING_URL,
        data=body,
        headers={"apiKey": settings.AFRICASTALKING_API_KEY, "Accept": "application/json"},
    )
    try:
        data = answer.json()["SMSMessageData"]
        if data["Recipients"] == []:
            raise SmsNotSent(f"Africa's Talking says {str(data['Message'])[:100]!r}")
        (recipient,) = data["Recipients"]
        code, status = recipient["statusCode"], str(recipient["status"])
    except (ValueError, KeyError, TypeError) as error:
        raise SmsNotSent("the answer has no recipient") from error
    if code not in ACCEPTED:
        raise SmsNotSent(status)


def _post(url: str, **kwargs) -> requests.Response:
    try:
        answer = requests.post(url, timeout=TIMEOUT, allow_redirects=False, **kwargs)
    except requests.RequestException as error:
        raise SmsNotSent(type(error).__name__) from error
    if answer.status_code not in (200, 201, 204):
        raise SmsNotSent(f"status {answer.status_code}")
    return answer
