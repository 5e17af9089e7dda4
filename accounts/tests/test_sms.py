"""SMS: each backend that SMS_BACKEND can name."""

import pytest
import responses

from accounts import sms

GATEWAY = "https://api.africastalking.com/version1/messaging"


def answer_for(*recipients):
    """Return the answer of Africa's Talking for these recipients."""
    return {"SMSMessageData": {"Message": "Sent to 1/1", "Recipients": list(recipients)}}


@responses.activate
def test_phone_backend_shows_the_sms_on_the_simulator(settings):
    settings.SMS_BACKEND = "phone"
    answer = responses.post(f"{settings.DARAJA_SIMULATOR_URL}/control/sms/", json={"status": "ok"})

    sms.send(phone="254712345678", text="Karibu")

    assert answer.calls[0].request.body == b'{"phone": "254712345678", "text": "Karibu"}'


@responses.activate
def test_africastalking_gets_the_number_with_plus_and_the_api_key(settings):
    settings.SMS_BACKEND, settings.AFRICASTALKING_USERNAME = "africastalking", "club"
    settings.AFRICASTALKING_API_KEY = "the-key"
    answer = responses.post(GATEWAY, json=answer_for({"statusCode": 101, "status": "Success"}), status=201)

    sms.send(phone="254712345678", text="Karibu")

    request = answer.calls[0].request
    assert request.body == "username=club&to=%2B254712345678&message=Karibu"
    assert request.headers["apiKey"] == "the-key"


@responses.activate
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"json": answer_for({"statusCode": 405, "status": "InsufficientBalance"})}, "InsufficientBalance"),
        ({"json": answer_for({"statusCode": 403, "status": "InvalidPhoneNumber"})}, "InvalidPhoneNumber"),
        ({"json": {"SMSMessageData": {"Message": "InvalidSenderId", "Recipients": []}}}, "InvalidSenderId"),
        ({"json": {"SMSMessageData": {"Recipients": []}}}, "the answer has no recipient"),
        ({"json": {}}, "the answer has no recipient"),
        ({"json": ["Recipients"]}, "the answer has no recipient"),
        ({"body": "<html>"}, "the answer has no recipient"),
    ],
)
def test_refused_sms_raises_and_logs_its_reason(settings, caplog, body, reason):
    settings.SMS_BACKEND = "africastalking"
    responses.post(GATEWAY, status=201, **body)

    with pytest.raises(sms.SmsNotSent, match=reason):
        sms.send(phone="254712345678", text="Karibu")

    [line] = [each.message for each in caplog.records if each.name == "accounts.sms"]
    assert line.startswith("An SMS to 2547****678 was not sent: ")
    assert reason in line


@responses.activate
def test_gateway_error_raises_sms_not_sent(settings):
    settings.SMS_BACKEND = "africastalking"
    responses.post(GATEWAY, status=503)

    with pytest.raises(sms.SmsNotSent, match="status 503"):
        sms.send(phone="254712345678", text="Karibu")


def test_console_shows_a_masked_number(settings, capsys):
    settings.SMS_BACKEND = "console"

    sms.send(phone="254712345678", text="Karibu")

    assert capsys.readouterr().out == "SMS to 2547****678: Karibu\n"
