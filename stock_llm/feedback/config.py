"""The table `[feedback]` of stock-llm.toml: how much one person or one stock may teach."""

from pydantic import BaseModel, ConfigDict, Field, field_validator

from stock_llm.feedback.item import user_name

DAILY_LIMIT = 50


class FeedbackSettings(BaseModel):
    """Limits on what one person, or feedback on one stock, changes in the model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    daily_limit: int = Field(default=DAILY_LIMIT, ge=1)
    """Items of one user on one ticker in a day; further ones wait for `stock-llm feedback
    accept`."""

    user_share: float = Field(default=0.3, gt=0, le=1)
    """Share of the feedback's training weight that one user other than the owner has at most."""

    ticker_share: float = Field(default=0.3, gt=0, le=1)
    """Share of the feedback's training weight that feedback on one ticker has at most."""

    owner_names: tuple[str, ...] = ()
    """Your own names in other programs, such as your user id in Open WebUI: they count as you."""

    @field_validator("owner_names")
    @classmethod
    def _folded(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(user_name, names))
