"""
The CORS configuration of the function URL: what a browser's question is answered with, and what answers carry.
"""

from __future__ import annotations

import httpx
import pytest

from lambda_ric.emulator import Cors, in_thread
from lambda_ric.errors import ConfigurationError
from tests.emulator.conftest import StandIn

PAGE = "http://localhost:3000"
QUESTION = {"Origin": PAGE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-token"}
# Says what it was called by, and has an opinion of its own about who may.
ECHO = """
import json
while True:
    request_id, event = next_event()
    method = json.loads(event.content)["requestContext"]["http"]["method"]
    headers = {"Access-Control-Allow-Origin": "https://own.example", "X-Own": "1"}
    respond(request_id, json.dumps({"statusCode": 200, "headers": headers, "body": method}).encode())
"""


def asked(stand_in: StandIn, cors: Cors | None, method: str, headers: dict[str, str]) -> httpx.Response:
    with in_thread(stand_in(ECHO)) as emulator, emulator.serve(cors=cors) as endpoint:
        return httpx.request(method, f"{endpoint.url}/orders", headers=headers)


def of_cors(response: httpx.Response) -> dict[str, str]:
    return {name[15:]: value for name, value in response.headers.items() if name.startswith("access-control-")}


def test_question_is_answered_without_the_function(stand_in: StandIn) -> None:
    """With the methods and headers that are allowed."""
    text = f'{{"AllowOrigins": ["{PAGE}"], "AllowMethods": ["POST"], "AllowHeaders": ["x-token"], "MaxAge": 60}}'
    response = asked(stand_in, Cors.read(text), "OPTIONS", QUESTION)

    assert (response.status_code, response.text) == (200, "")
    assert of_cors(response) == {
        "allow-origin": PAGE,
        "allow-methods": "POST",
        "allow-headers": "x-token",
        "max-age": "60",
    }


def test_answer_has_the_headers_of_the_configuration_instead_of_the_functions(stand_in: StandIn) -> None:
    """The others stay."""
    text = '{"AllowOrigins": ["*"], "AllowCredentials": true, "ExposeHeaders": ["x-own"]}'
    response = asked(stand_in, Cors.read(text), "GET", {"Origin": PAGE})

    assert (response.text, response.headers["x-own"]) == ("GET", "1")
    assert of_cors(response) == {"allow-origin": PAGE, "allow-credentials": "true", "expose-headers": "x-own"}


@pytest.mark.parametrize("headers", [{"Origin": "https://other.example"}, {}])
def test_page_that_is_not_allowed_gets_no_headers(headers: dict[str, str], stand_in: StandIn) -> None:
    """The browser keeps the answer from it."""
    assert of_cors(asked(stand_in, Cors.read(f"{PAGE},https://shop.example"), "GET", headers)) == {}


def test_without_a_configuration_everything_is_the_functions(stand_in: StandIn) -> None:
    """Its own headers, and the browser's question."""
    response = asked(stand_in, None, "OPTIONS", QUESTION)

    assert (response.text, of_cors(response)) == ("OPTIONS", {"allow-origin": "https://own.example"})


@pytest.mark.parametrize("text", ['{"AllowOrigin": ["*"]}', '{"MaxAge": 86401}', '{"AllowMethods": "GET"}', "{"])
def test_configuration_that_cannot_be_understood_is_refused(text: str) -> None:
    """With what there is."""
    with pytest.raises(ConfigurationError, match="CORS configuration cannot be understood"):
        Cors.read(text)
