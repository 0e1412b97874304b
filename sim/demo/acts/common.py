"""What several acts use: members of the tenants' networks."""

from sim.traffic import Member

__all__ = ["far_side"]


def far_side(stage, n):
    """(own, far): tenant ``n`` and its network's far member, by IPv4."""
    def member(station):
        return Member(station.mac.hex(), str(next(a for a in station.addresses
                                                  if a.version == 4)))
    return member(stage.stations[n]), member(stage.stations[1 - n])
