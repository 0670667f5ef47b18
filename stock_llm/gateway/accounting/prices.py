"""Computes what a call at a usage-priced provider costs.

The prices are data (`prices.toml`, dated). A model without a price is an error, never $0.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_UP, Decimal
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stock_llm.errors import InputError
from stock_llm.gateway.chat import TokenUsage

FILE = Path(__file__).parent / "prices.toml"

MILLION = 1_000_000

SMALLEST = Decimal("0.000001")
"""Amounts are rounded up to a millionth of a dollar, so that a sum of records is never below the
bill."""

_DATED = re.compile(r"-20\d{6}$")


class ModelPrice(BaseModel):
    """One block of the file: dollars per million tokens of some models from a day on."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    models: tuple[str, ...] = Field(min_length=1)
    effective_from: date
    in_: Decimal = Field(alias="in", gt=0)
    out: Decimal = Field(gt=0)
    cache_read: Decimal = Field(gt=0)
    cache_write: Decimal = Field(gt=0)
    cache_write_hour: Decimal = Field(gt=0)
    over: int | None = None
    over_in: Decimal | None = None
    over_out: Decimal | None = None

    def dollars(self, usage: TokenUsage) -> Decimal:
        """The cost of these tokens; a prompt over the limit has the higher price on the whole
        request."""
        price_in, price_out = self.in_, self.out
        if self.over is not None and self.over_in and self.over_out and usage.prompt > self.over:
            price_in, price_out = self.over_in, self.over_out
        weighted = (
            usage.tokens_in
            + usage.cached_read * self.cache_read
            + usage.cached_write * self.cache_write
            + usage.cached_write_hour * self.cache_write_hour
        )
        return ((weighted * price_in + usage.tokens_out * price_out) / MILLION).quantize(
            SMALLEST, ROUND_UP
        )


@dataclass(frozen=True)
class PriceList:
    """All blocks, by model, the latest first."""

    by_model: Mapping[str, Sequence[ModelPrice]]
    file: Path

    def at(self, model: str, time: datetime) -> ModelPrice:
        """The price of a model at a time.

        Raises:
            InputError: the file has none; a model without a known price must not be called.
        """
        blocks = self.by_model.get(model) or self.by_model.get(_DATED.sub("", model)) or ()
        day = time.astimezone(UTC).date()
        for block in blocks:
            if block.effective_from <= day:
                return block
        raise InputError(
            f"there is no price for '{model}' on {day}",
            file=self.file,
            remedy="Add a [[price]] block with the provider's current prices",
        )

    def cost(self, model: str, usage: TokenUsage, time: datetime) -> Decimal:
        """Dollars of a call. Raises: as `at`."""
        return self.at(model, time).dollars(usage)

    def bound(self, model: str, size: int, tokens_out: int, time: datetime) -> Decimal:
        """An upper bound of a call's cost: a token for each byte of the prompt, at the highest
        cache price, and the longest answer.

        Args:
            size: bytes of the prompt in UTF-8, and what frames the messages; a byte-level tokenizer
                never makes more tokens.

        Raises: as `at`.
        """
        return self.cost(model, TokenUsage(cached_write_hour=size, tokens_out=tokens_out), time)


def load_prices(file: Path = FILE) -> PriceList:
    """The price file.

    Raises:
        InputError: missing, not TOML, or a block that does not fit or appears twice; names the
            block.
    """
    try:
        blocks = tomllib.loads(file.read_text(encoding="utf-8")).get("price", [])
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"cannot be read: {error}", file=file) from None
    by_model: dict[str, list[ModelPrice]] = {}
    for number, block in enumerate(blocks, start=1):
        try:
            price = ModelPrice.model_validate(block)
        except ValidationError as error:
            first = error.errors()[0]
            raise InputError(
                f"price {number}: {'.'.join(map(str, first['loc']))}: {first['msg']}", file=file
            ) from None
        if (price.over is None) != (price.over_in is None) or (price.over is None) != (
            price.over_out is None
        ):
            raise InputError(
                f"price {number}: over, over_in and over_out belong together", file=file
            )
        for model in price.models:
            if any(
                price.effective_from == other.effective_from for other in by_model.get(model, [])
            ):
                raise InputError(
                    f"price {number}: '{model}' has two prices from {price.effective_from} on",
                    file=file,
                )
            by_model.setdefault(model, []).append(price)
    for prices in by_model.values():
        prices.sort(key=lambda price: price.effective_from, reverse=True)
    return PriceList(by_model, file)
