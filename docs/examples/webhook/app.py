"""A payment provider's webhook: accepted at once, and the receipt is sent when the provider has its answer."""

import json
import os
import urllib.request

from lambda_ric import wait_until


def handler(event, context):
    order = json.loads(event["body"])
    wait_until(send_receipt, order)
    return {"statusCode": 202, "body": json.dumps({"accepted": order["id"]})}


def send_receipt(order):
    receipt = {"order": order["id"], "to": order["email"], "total": order["total"]}
    request = urllib.request.Request(
        os.environ["RECEIPTS_URL"],
        data=json.dumps(receipt).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        print(f"receipt for {order['id']}: the mail service said {answer.status}")
