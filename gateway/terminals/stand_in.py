"""What a profile says of stand-in: `[link.stand_in]`, off where it is not there. docs/iso8583.md, "Profiles", is the table."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from gateway.rules.purse import Channel
from gateway.rules.stand_in import StandInPolicy


class StandIn(BaseModel):
    """What is approved while the books are away, at the bank's own risk. Rupiah and seconds. Rules: gateway.rules.stand_in."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    cash: tuple[Channel, ...] = ()
    purchases: bool = False
    most_idr: int = Field(gt=0, le=10_000_000)
    most_card_idr: int = Field(gt=0, le=100_000_000)
    list_age_s: int = Field(default=3_600, ge=60, le=86_400)
    outage_s: int = Field(default=14_400, ge=60, le=172_800)

    @property
    def policy(self) -> StandInPolicy:
        """As the rules take it."""
        return StandInPolicy(
            frozenset(self.cash), self.purchases, self.most_idr, self.most_card_idr, self.list_age_s, self.outage_s
        )
