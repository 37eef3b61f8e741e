"""What the tests ask of the election on downstream interfaces."""

from mcastd.igmp.agent import IgmpAgent


def queriers(agent: IgmpAgent) -> dict[str, bool]:
    """By name the interfaces that are there, and whether no other router is the querier."""
    return {name: one.is_querier for name, one in agent.elections().items()}
