"""Powertools' `@idempotent`, over a table of moto's, in an environment that freezes."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest

from tests.proofs.observability.conftest import Deploy, Function
from tests.support.callers import sqs_server

FUNCTION = """
import asyncio
from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent
from lambda_ric import blocking, wait_until

config = IdempotencyConfig(event_key_jmespath="order")

def mail(order):
    print("mailed", order, flush=True)

@idempotent(persistence_store=DynamoDBPersistenceLayer(table_name="orders"), config=config)
@blocking
async def handler(event, context):
    await asyncio.sleep(0)
    if event.get("fail"):
        raise ValueError("out of stock")
    wait_until(mail, event["order"])
    return {"accepted": event["order"], "by": context.aws_request_id}
"""
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@pytest.fixture(scope="module")
def function(deploy: Deploy) -> Iterator[Function]:
    with sqs_server() as url:  # which has all of AWS
        client = boto3.client(
            "dynamodb",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        client.create_table(
            TableName="orders",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield deploy(FUNCTION, environment={**KEYS, "AWS_ENDPOINT_URL": url})


def test_event_that_comes_again_gets_the_stored_answer_and_hands_nothing_over(function: Function) -> None:
    """The handler is not called; its work after the response is not repeated."""
    first, again = function.invoke({"order": "o-1"}), function.invoke({"order": "o-1"})

    assert first.answer is not None
    assert again.answer is not None
    assert again.answer.payload == first.answer.payload
    assert function.log.count("mailed o-1") == 1


def test_event_whose_handler_failed_is_handled_when_it_comes_again(function: Function) -> None:
    """`@blocking` shows the decorator the error: the record is deleted."""
    failed, again = function.invoke({"order": "o-2", "fail": True}), function.invoke({"order": "o-2"})

    assert failed.failure is not None
    assert again.failure is None
    assert function.log.count("mailed o-2") == 1
