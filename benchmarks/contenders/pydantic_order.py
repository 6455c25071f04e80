"""The work's input and output, as peers on pydantic declare them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field


class Order(BaseModel):
    """What is ordered."""

    item: str
    quantity: Annotated[int, Field(ge=1)]
    price: float
    tags: list[str]


class Invoice(BaseModel):
    """What is answered."""

    item: str
    total: float
    tags: list[str]


def invoice_for(order: Order) -> Invoice:
    """Answer an order."""
    return Invoice(item=order.item, total=order.quantity * order.price, tags=order.tags)
