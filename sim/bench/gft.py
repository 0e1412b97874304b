"""Measuring the flow table: frames of the wire are rewritten and go out again."""

from ipaddress import IPv4Address

from offloadcard.gft import spec

from ..link.world import Event
from .bound import bound_of
from .frames import udp_frame
from .net import PATIENCE_NS, flow_of, put_flow, start_flows
from .slope import percentiles, slope_ns

__all__ = ["gft"]


async def gft(env, scenario, packets, seed):
    """Line rate in; TTL, addresses and MACs rewritten, or a VXLAN header pushed; slope going out.

    With ``push`` the wire itself limits at 93.2 Mpps, as the bound says.
    """
    table = await start_flows(env, seed)
    if scenario.push:
        await table.set_template(0, source=IPv4Address("192.0.2.1"),
                                 destination=IPv4Address("192.0.2.2"),
                                 source_mac=bytes(5) + b"\1", destination_mac=bytes(5) + b"\2")
    edit = {"push": 1, "vni": 77, "template": 0} if scenario.push else {
        "set_ethernet": 1, "ethernet_destination": 0x0200_0000_0009,
        "ethernet_source": 0x0200_0000_0008, "decrement_ttl": 1}
    count = min(scenario.queues, env.config.gft_flows // 4)
    flows = [flow_of(n, direction=spec.Direction.WIRE) for n in range(count)]
    for n, flow in enumerate(flows):
        await put_flow(table, n, flow, destination=spec.DestinationKind.WIRE, **edit)
    env.begin()
    # What the card cannot send would be dropped, rightly: frames come 2 % faster than they go.
    gap_ps = 1e6 / bound_of(scenario, env.config, env.link).value / 1.02
    start_ps = env.world.now_ps
    for n in range(packets):
        env.world.wire_send(udp_frame(flows[n % len(flows)], scenario.octets),
                            not_before_ps=round(start_ps + n * gap_ps))
    await env.wait_count(Event.FRAME_OUT, packets, PATIENCE_NS)
    times = env.world.log(Event.FRAME_OUT)["time_ps"] / 1000
    sent = env.world.log(Event.FRAME_IN)["time_ps"] / 1000
    first = env.world.wire_frame(0)[1]
    assert len(first) == scenario.octets + (50 if scenario.push else 0), len(first)
    return {"operations": packets, "slope_ns": slope_ns(times),
            "latency_ns": percentiles(times - sent)}
