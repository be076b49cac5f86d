"""One FastAPI application, behind Mangum and behind our own adapter."""

from __future__ import annotations

from fastapi import FastAPI
from mangum import Mangum

from lambda_ric.asgi import ASGIHandler

app = FastAPI()


@app.post("/orders/{order_id}")
async def accept(order_id: str, expand: str = "") -> dict[str, str]:
    return {"order": order_id, "expand": expand}


behind_mangum = Mangum(app, lifespan="off", api_gateway_base_path="/prod")
behind_asgi_handler = ASGIHandler(app, lifespan="off")
