"""Profile pictures: every upload is refused or stored as a small JPEG of our own encoder."""

import io
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.client import encode_multipart
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from accounts import pictures as picture_files
from accounts.models import CustomUser
from accounts.services import pictures
from accounts.tests.factories import UserFactory
from api.parsers import MAX_UPLOAD_BYTES
from api.tests.clients import browser, logged_in_as

pytestmark = [pytest.mark.django_db, pytest.mark.server]

PICTURE = "/api/v1/auth/me/picture/"


@pytest.fixture(autouse=True)
def media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


def image(kind="JPEG", size=(800, 600), mode="RGB", colour="red", **options) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, colour).save(out, kind, **options)
    return out.getvalue()


def put(client, content: bytes, name="me.jpg", kind="image/jpeg"):
    return client.put(PICTURE, {"picture": SimpleUploadedFile(name, content, kind)}, format="multipart")


def stored_files(media):
    """Return the stored files."""
    return [path for path in media.rglob("*") if path.is_file()]


def png(width: int, height: int, data: bytes = b"", chunks: bytes = b"") -> bytes:
    """Return a PNG that declares this size, with any data."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunks + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_picture_is_stored_as_a_small_jpeg_with_random_name(media, kind):
    user = UserFactory()

    answer = put(logged_in_as(user), image(kind), name="asha-at-home.jpg")

    (path,) = stored_files(media)
    with Image.open(path) as found:
        assert (found.format, found.size) == ("JPEG", (512, 384))
    assert answer.status_code == 200
    assert answer.json()["data"]["profile_picture"] == f"https://testserver/media/profile_pictures/{path.name}"
    assert "asha" not in path.name
    assert len(path.stem) == 32


def test_stored_picture_has_no_metadata(media):
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    exif[0x8825] = {1: "S", 2: (1.0, 17.0, 0.0)}

    put(logged_in_as(UserFactory()), image(exif=exif, comment=b"a secret place", icc_profile=b"x" * 200))

    (path,) = stored_files(media)
    with Image.open(path) as found:
        assert set(found.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert b"secret" not in path.read_bytes()


def test_rotated_photograph_is_stored_upright(media):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to see it upright

    put(logged_in_as(UserFactory()), image(size=(400, 200), exif=exif))

    (path,) = stored_files(media)
    with Image.open(path) as found:
        assert found.size == (200, 400)


def test_transparent_background_becomes_white(media):
    put(logged_in_as(UserFactory()), image("PNG", size=(10, 10), mode="RGBA", colour=(0, 0, 0, 0)))

    (path,) = stored_files(media)
    with Image.open(path) as found:
        assert found.getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.django_db(transaction=True)
def test_new_picture_replaces_the_old_file(media):
    client = logged_in_as(UserFactory())
    put(client, image())
    (first,) = stored_files(media)

    put(client, image(colour="blue"))

    (second,) = stored_files(media)
    assert first.name != second.name


@pytest.mark.django_db(transaction=True)
def test_concurrent_uploads_leave_one_file(media):
    user = UserFactory()
    barrier = Barrier(6)

    def upload(colour):
        barrier.wait()
        try:
            pictures.set_picture(user=user, file=io.BytesIO(image(size=(20, 20), colour=colour)), now=user.date_joined)
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(upload, ["red", "blue", "green", "black", "white", "grey"]))

    user.refresh_from_db()
    assert [path.name for path in stored_files(media)] == [user.profile_picture.name.rsplit("/")[-1]]


@pytest.mark.django_db(transaction=True)
def test_repeated_removal_of_a_picture_succeeds(media):
    client = logged_in_as(UserFactory())
    put(client, image())

    answers = [client.delete(PICTURE), client.delete(PICTURE)]

    assert [answer.status_code for answer in answers] == [204, 204]
    assert client.get("/api/v1/auth/me/").json()["data"]["profile_picture"] is None
    assert stored_files(media) == []


def test_old_file_stays_after_a_rollback(media, monkeypatch):
    user = UserFactory()
    put(logged_in_as(user), image())
    before = stored_files(media)
    monkeypatch.setattr(CustomUser, "save", lambda *args, **kwargs: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        pictures.set_picture(user=user, file=io.BytesIO(image()), now=user.date_joined)

    assert stored_files(media) == before


def animated(kind):
    out = io.BytesIO()
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    frames[0].save(out, kind, save_all=True, append_images=frames[1:])
    return out.getvalue()


def png_with_swollen_text():
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 70_000_000, zip=True)
    out = io.BytesIO()
    Image.new("RGB", (10, 10)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


HOSTILE = {
    "a page named .jpg": lambda: b"<html><script>alert(1)</script></html>",
    "a script within a drawing": lambda: b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
    "another kind of image": lambda: image("GIF", mode="P", colour=0),
    "a program that draws": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "a photograph cut short": lambda: image()[:2000],
    "a picture cut short": lambda: image("PNG")[:200],
    "a header and nothing else": lambda: image("WEBP")[:20],
    "moving PNG": lambda: animated("PNG"),
    "moving WebP": lambda: animated("WEBP"),
    "fifty thousand pixels each way": lambda: png(50_000, 50_000, zlib.compress(b"\0" * 1000)),
    "ten thousand pixels each way": lambda: png(10_000, 10_000, zlib.compress(b"\0" * 1000)),
    "no pixels": lambda: png(0, 0),
    "text that swells": png_with_swollen_text,
    "damaged data": lambda: png(100, 100, b"\x78\x9c" + b"\xff" * 100),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_refused_without_a_stored_file(media, name):
    answer = put(logged_in_as(UserFactory()), HOSTILE[name]())

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unusable_picture")
    assert stored_files(media) == []


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@given(st.data())
def test_damaged_file_never_causes_a_server_error(kind, data):
    content = bytearray(image(kind, size=(40, 30)))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))

    try:
        drawn = picture_files.reencode(io.BytesIO(bytes(content)))
    except picture_files.UnusablePicture:
        return
    with Image.open(io.BytesIO(drawn)) as found:
        assert found.format == "JPEG"
        assert max(found.size) <= 512


def test_process_decodes_one_picture_at_a_time(monkeypatch):
    at_once, most = [], []

    def slow(file):
        at_once.append(file)
        most.append(len(at_once))
        time.sleep(0.01)
        at_once.pop()

    monkeypatch.setattr(picture_files, "_reencode", slow)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(picture_files.reencode, range(8)))

    assert max(most) == 1


def test_pixels_beyond_the_declared_size_are_ignored(media):
    swollen = png(100, 100, zlib.compress(b"\0" * 50_000_000))

    answer = put(logged_in_as(UserFactory()), swollen)

    assert answer.status_code in (200, 400)
    for path in stored_files(media):
        with Image.open(path) as found:
            assert found.size == (100, 100)


def test_upload_over_six_megabytes_is_not_read(media):
    answer = put(logged_in_as(UserFactory()), b"x" * (MAX_UPLOAD_BYTES + 1))

    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_file_over_five_megabytes_is_refused():
    answer = put(logged_in_as(UserFactory()), image() + b"x" * (5 * 1024 * 1024))

    assert answer.json()["error"]["details"] == [
        {"field": "picture", "code": "too_large", "message": "This picture is larger than 5 MB. Choose a smaller one."}
    ]


@pytest.mark.parametrize("body", [{}, {"picture": ""}, {"picture": "text"}])
def test_form_without_a_file_is_refused(body):
    answer = logged_in_as(UserFactory()).put(PICTURE, body, format="multipart")

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "validation_error")


def test_upload_must_be_a_multipart_form():
    answer = logged_in_as(UserFactory()).put(PICTURE, {"picture": "x"}, format="json")

    assert answer.status_code == 415


@pytest.mark.parametrize(
    "kind",
    ["multipart/form-data", "multipart/form-data; boundary=x; charset=zlib", "multipart/form-data; boundary=\xe9"],
)
def test_malformed_form_is_refused(kind):
    answer = logged_in_as(UserFactory()).generic("PUT", PICTURE, b"--x\r\n\r\n", content_type=kind)

    assert (answer.status_code, answer.json()["status"]) == (400, "error")


def test_form_in_another_encoding_is_refused(media):
    form = encode_multipart("x", {"picture": SimpleUploadedFile("me.jpg", image(), "image/jpeg")})
    kind = "multipart/form-data; boundary=x; charset=latin-1"

    answer = logged_in_as(UserFactory()).generic("PUT", PICTURE, form, content_type=kind)

    assert (answer.status_code, answer.json()["error"]["code"], stored_files(media)) == (400, "parse_error", [])


def test_upload_needs_the_csrf_token():
    client = logged_in_as(UserFactory())
    client.csrf_token = None

    answer = put(client, image())

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "csrf_failed")


def test_upload_requires_a_login():
    assert put(browser(), image()).status_code == 401


def test_uploads_are_limited_per_user(monkeypatch):
    monkeypatch.setattr(pictures, "UPLOADS_PER_PERSON", 1)
    client = logged_in_as(UserFactory())

    answers = [put(client, image()), put(client, image())]

    assert [answer.status_code for answer in answers] == [200, 429]


def test_stored_picture_is_served_as_an_image_with_strict_headers():
    client = logged_in_as(UserFactory())
    shown = put(client, image()).json()["data"]["profile_picture"]

    answer = browser().get(shown.removeprefix("https://testserver"))
    answer.close()

    assert (answer.status_code, answer["Content-Type"]) == (200, "image/jpeg")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
