"""The lottery ticket: iterative magnitude pruning with rewinding."""

from keras_initprune.research.lottery.tickets import (
    LotteryTickets,
    Round,
    lottery_ticket,
)

__all__ = ["LotteryTickets", "Round", "lottery_ticket"]
