"""Act 3: two guests of one network on one card meet without the wire."""

from ipaddress import ip_address

from sim.models.flow import Rewrite, transpose
from sim.models.packet import Udp, dissect

from .arrival import NEIGHBOUR


async def play(stage):
    act = stage.open("neighbours", "Neighbours on one card never touch the wire")
    red, _, neighbour = stage.guests
    there = Rewrite(destination_mac=bytes.fromhex(NEIGHBOUR[0]),
                    destination=ip_address(stage.neighbour).packed)
    frames = [transpose(s.octets, there) for s in stage.steps
              if s.fate == "passes" and s.sender == 0 and s.octets[12:14] == b"\x08\x00"
              and isinstance(dissect(s.octets, tunnel=False).headers[-1], Udp)][:12]
    act.check("the capture has UDP over IPv4 of red", frames, len(frames))
    before = len(stage.rig.env.wire_received())
    await red.send(frames)
    start = stage.rig.env.now_ns
    # Different flows are decided by different cores of the slow path: only each keeps its order.
    act.equal("the neighbour receives red's frames, octet for octet",
              sorted(await neighbour.receive_frames(len(frames))), sorted(frames))
    act.fact("until all had arrived, the first by the slow path",
             (stage.rig.env.now_ns - start) / 1000, "µs")
    act.equal("frames on the wire meanwhile", len(stage.rig.env.wire_received()) - before, 0)
    act.say(f"{len(frames)} of red's DNS frames, addressed to a neighbour in the same virtual "
            "network: the flow table sends them straight to the other guest's function.")
