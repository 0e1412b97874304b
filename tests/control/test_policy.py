"""Layers, groups and rules; what they compose to."""

from ipaddress import IPv4Address as A4
from ipaddress import IPv6Address as A6

import pytest

from offloadcard.control.flow import Direction, Flow, Transposition, Tunnel, Verdict
from offloadcard.control.policy import (
    Allow,
    Deny,
    Group,
    Layer,
    Match,
    Meter,
    Rewrite,
    Rule,
    ToFunction,
    ToWire,
    evaluate,
)

FLOW = Flow(Direction.OUTBOUND, 2, 0, A4("10.1.0.2"), A4("10.1.0.3"), 6, 4000, 80)
TUNNEL = Tunnel(7, A4("192.0.2.1"), A4("192.0.2.2"), bytes(6), bytes(6))


def decide(*layers, flow=FLOW, **options):
    return evaluate(flow, lambda function_id: layers, **options)


def layer(name, *rules):
    return Layer(name, [Group("all", rules)])


def test_priority_decides_and_the_elder_among_equals():
    decision = decide(layer("acl", Rule("low", 1, Match(), Deny()),
                            Rule("high", 9, Match(), ToWire()),
                            Rule("younger", 9, Match(), Deny())))
    assert decision.verdict == Verdict.WIRE and decision.rules == ("acl/all/high",)


def test_deny_ends_everything_and_nothing_is_dropped():
    assert decide(layer("acl", Rule("no", 0, Match(), Deny())),
                  layer("route", Rule("to", 0, Match(), ToWire()))).verdict == Verdict.DROP
    assert decide(layer("acl", Rule("yes", 0, Match(), Allow()))).verdict == Verdict.DROP
    assert evaluate(FLOW, lambda function_id: None).verdict == Verdict.DROP


def test_a_terminating_rule_ends_its_layer_only():
    groups = [Group("one", [Rule("end", 0, Match(), Allow(), terminating=True)]),
              Group("two", [Rule("never", 0, Match(), Deny())])]
    decision = decide(Layer("acl", groups), layer("route", Rule("to", 0, Match(), ToWire())))
    assert decision.verdict == Verdict.WIRE


def test_later_layers_see_what_earlier_ones_wrote():
    """NAT, then a route that knows only the public address; one transposition comes out."""
    decision = decide(
        layer("nat", Rule("snat", 0, Match(source="10.1.0.0/16"),
                          Rewrite(Transposition(source=A4("198.51.100.1"), source_port=1024)))),
        layer("route", Rule("public", 0, Match(source="198.51.100.0/24",
                                               source_ports=range(1024, 1025)),
                            ToWire(Transposition(push=TUNNEL, decrement_ttl=True)))))
    assert decision.transposition == Transposition(
        source=A4("198.51.100.1"), source_port=1024, push=TUNNEL, decrement_ttl=True)


def test_to_a_function_both_policies_are_asked():
    """The sender's layers in order, then the receiver's in the opposite order, seen inbound."""
    def layers(function_id):
        return {
            2: [layer("acl", Rule("out", 0, Match(Direction.OUTBOUND), Allow())),
                layer("route", Rule("local", 0, Match(Direction.OUTBOUND), ToFunction(3)))],
            3: [layer("acl", Rule("in", 0, Match(Direction.INBOUND), Allow())),
                layer("route", Rule("arrive", 0, Match(Direction.INBOUND), ToFunction(3)))],
        }.get(function_id)

    decision = evaluate(FLOW, layers)
    assert decision.verdict == Verdict.FUNCTION and decision.function_id == 3
    assert decision.owners == (2, 3)
    assert decision.rules == ("acl/all/out", "route/all/local", "route/all/arrive", "acl/all/in")
    denying = [layer("acl", Rule("no", 0, Match(Direction.INBOUND), Deny())), layers(3)[1]]
    assert evaluate(FLOW, lambda f: denying if f == 3 else layers(f)).verdict == Verdict.DROP
    # A receiver's rules cannot send the packet on to somebody else.
    elsewhere = [layer("route", Rule("away", 0, Match(Direction.INBOUND), ToFunction(4)))]
    assert evaluate(FLOW, lambda f: elsewhere if f == 3 else layers(f)).verdict == Verdict.DROP


def test_the_senders_meter_counts_before_the_receivers():
    decision = decide(layer("meter", Rule("one", 0, Match(), Meter(2))),
                      layer("more", Rule("two", 0, Match(), Meter(9))),
                      layer("route", Rule("to", 0, Match(), ToWire())))
    assert decision.meter == 2


def test_from_the_wire_the_receiver_is_asked_or_nobody():
    inbound = Flow(Direction.INBOUND, 0, 7, A4("10.1.0.9"), A4("10.1.0.2"), 17, 1, 2)
    layers = [layer("route", Rule("arrive", 0, Match(vni=7), ToFunction(
        2, Transposition(pop=True))))]
    decision = evaluate(inbound, lambda f: layers, receiver_of=lambda flow: 2)
    assert decision.verdict == Verdict.FUNCTION and decision.transposition.pop
    assert evaluate(inbound, lambda f: layers, receiver_of=lambda flow: None).owners == ()


@pytest.mark.parametrize("match,meets", [
    (Match(), True), (Match(direction=Direction.INBOUND), False), (Match(protocol=17), False),
    (Match(destination="10.1.0.0/24", destination_ports=range(80, 81)), True),
    (Match(destination_ports=range(81, 90)), False), (Match(source="fd00::/8"), False),
    (Match(established=True), False), (Match(established=False, vni=0), True),
])
def test_conditions(match, meets):
    assert match(FLOW, lambda flow: False) == meets


@pytest.mark.parametrize("ports", [range(0), range(70000, 70001), range(0, 65537)])
def test_bad_ports(ports):
    with pytest.raises(ValueError, match="must be a range within 0 to 65535"):
        Match(source_ports=ports)


def test_bad_action():
    with pytest.raises(TypeError, match="`action` must be one of this module's"):
        decide(layer("acl", Rule("odd", 0, Match(), "allow")))


def test_composition():
    """Push and then pop is nothing; the later write of a field wins; the TTL goes down once."""
    push, pop = Transposition(push=TUNNEL, decrement_ttl=True), Transposition(pop=True)
    assert push.then(pop) == Transposition(decrement_ttl=True)
    assert pop.then(push) == Transposition(pop=True, push=TUNNEL, decrement_ttl=True)
    one = Transposition(source_port=1, dscp=3)
    assert one.then(Transposition(source_port=2)) == Transposition(source_port=2, dscp=3)
    six = Flow(Direction.OUTBOUND, 1, 0, A6("fd00::1"), A6("fd00::2"), 6)
    assert six.version == 6 and six.reverse_key()[0] == A6("fd00::2")
