"""A GraphQL API of Strawberry's, in FastAPI."""

from __future__ import annotations

from typing import Annotated

import strawberry
from fastapi import FastAPI
from strawberry.fastapi import GraphQLRouter


@strawberry.type
class Order:
    id: strawberry.ID
    customer: str

    @strawberry.field
    def lines(self, first: int = 2) -> list[str]:
        return [f"{self.customer} {number}" for number in range(first)]


ORDERS = {"o-17": Order(id=strawberry.ID("o-17"), customer="Zoë")}


@strawberry.type
class Query:
    @strawberry.field
    async def order(self, id: strawberry.ID) -> Order | None:
        return ORDERS.get(id)

    @strawberry.field
    def broken(self) -> str:
        raise ValueError("as ordered")


@strawberry.type
class Mutation:
    @strawberry.mutation
    def place(self, id: strawberry.ID, customer: Annotated[str, strawberry.argument(description="who")]) -> Order:
        ORDERS[id] = Order(id=id, customer=customer)
        return ORDERS[id]


app = FastAPI()
app.include_router(GraphQLRouter(strawberry.Schema(Query, Mutation)), prefix="/graphql")
