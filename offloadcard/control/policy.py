"""Layers of rules whose actions compose into one transposition.

A packet passes the layers in order when it leaves a guest, and in the opposite order when it enters
one. In a layer it meets the groups in order; in each group the matching rule of highest priority
acts, and a rule that is terminating ends the layer. Deny ends everything. What later layers match
are the headers as earlier ones left them. The result is one :class:`~.flow.Decision`, which the
flow table then repeats for every packet of the flow.
"""

# Ref: vfp-nsdi-2017, 4 and 5 (layers, groups, rules; unified flows)

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NamedTuple

from .flow import Decision, Direction, Flow, Transposition, Verdict

__all__ = ["Match", "Allow", "Deny", "Rewrite", "ToWire", "ToFunction", "Meter", "Rule", "Group",
           "Layer", "evaluate"]


@dataclass(frozen=True)
class Match:
    """Conditions on a flow; ``None`` is no condition. Networks may be given as text."""
    direction:         Direction | None = None
    vni:               int | None = None
    source:            IPv4Network | IPv6Network | str | None = None
    destination:       IPv4Network | IPv6Network | str | None = None
    protocol:          int | None = None
    source_ports:      range | None = None
    destination_ports: range | None = None
    established:       bool | None = None

    def __post_init__(self):
        for name in ("source", "destination"):
            network = getattr(self, name)
            if isinstance(network, str):
                object.__setattr__(self, name, ip_network(network))
        for name in ("source_ports", "destination_ports"):
            ports = getattr(self, name)
            if ports is not None and not (len(ports) and 0 <= ports[0] <= ports[-1] < 1 << 16):
                raise ValueError(f"`{name}` must be a range within 0 to 65535, not {ports!r}")

    def __call__(self, flow, established):
        """Does ``flow`` meet every condition?"""
        return ((self.direction is None or self.direction == flow.direction)
                and (self.vni is None or self.vni == flow.vni)
                and (self.source is None or flow.source in self.source)
                and (self.destination is None or flow.destination in self.destination)
                and (self.protocol is None or self.protocol == flow.protocol)
                and (self.source_ports is None or flow.source_port in self.source_ports)
                and (self.destination_ports is None
                     or flow.destination_port in self.destination_ports)
                and (self.established is None or self.established == established(flow)))


class Allow(NamedTuple):
    """Nothing changes; the next group or layer decides. ``stateful``: replies may pass later."""
    stateful: bool = False


class Deny(NamedTuple):
    """The flow's packets are dropped."""


class Rewrite(NamedTuple):
    """Headers change."""
    transposition: Transposition


class ToWire(NamedTuple):
    """The packet leaves by the wire, perhaps in a tunnel."""
    transposition: Transposition = Transposition()


class ToFunction(NamedTuple):
    """The packet goes to a function of this card, whose own layers then see it inbound."""
    function_id:   int
    transposition: Transposition = Transposition()


class Meter(NamedTuple):
    """The packet counts against a token bucket."""
    meter: int


@dataclass
class Rule:
    """An action on what matches; ``hits`` counts evaluations, not packets."""
    name:        str
    priority:    int
    match:       Match
    action:      object
    terminating: bool = False
    hits:        int = field(default=0, compare=False)


class Group:
    """Rules of which one acts: the matching one of highest priority, the elder among equals."""

    def __init__(self, name, rules=()):
        self.name  = name
        self.rules = sorted(rules, key=lambda rule: -rule.priority)

    def find(self, flow, established):
        """The rule that acts on ``flow``, or ``None``."""
        for rule in self.rules:
            if rule.match(flow, established):
                rule.hits += 1
                return rule
        return None


class Layer:
    """Groups, met in order."""

    def __init__(self, name, groups):
        self.name   = name
        self.groups = tuple(groups)


class _State:
    """What has been decided so far."""

    def __init__(self, flow):
        self.flow          = flow
        self.transposition = Transposition()
        self.verdict       = None
        self.function_id   = 0
        self.meter         = None
        self.owners        = []
        self.connections   = []
        self.rules         = []

    def transpose(self, transposition):
        self.transposition = self.transposition.then(transposition)
        self.flow          = transposition.of(self.flow)

    def act(self, action):
        """Take one rule's action; ``False`` if everything ends here."""
        match action:
            case Deny():
                self.verdict = Verdict.DROP
                return False
            case Rewrite(transposition):
                self.transpose(transposition)
            case ToWire(transposition):
                self.transpose(transposition)
                self.verdict = Verdict.WIRE
            case ToFunction(function_id, transposition):
                self.transpose(transposition)
                self.verdict, self.function_id = Verdict.FUNCTION, function_id
            case Meter(meter):
                # The sender's bucket counts before the receiver's.
                self.meter = meter if self.meter is None else self.meter
            case Allow(stateful):
                if stateful:
                    self.connections.append((self.flow.function_id, self.flow.reverse_key()))
            case _:
                raise TypeError(f"`action` must be one of this module's, not {action!r}")
        return True

    def run(self, layers, established):
        """Pass ``layers``; ``False`` if everything ended in them."""
        for layer in layers:
            for group in layer.groups:
                rule = group.find(self.flow, established)
                if rule is None:
                    continue
                self.rules.append(f"{layer.name}/{group.name}/{rule.name}")
                if not self.act(rule.action):
                    return False
                if rule.terminating:
                    break
        return True

    def decision(self, verdict=None):
        verdict = verdict or self.verdict
        kept = verdict != Verdict.DROP
        return Decision(verdict=verdict, function_id=self.function_id if kept else 0,
                        transposition=self.transposition if kept else Transposition(),
                        meter=self.meter if kept else None, owners=tuple(self.owners),
                        connections=tuple(self.connections) if kept else (),
                        rules=tuple(self.rules))


def evaluate(flow: Flow, layers_of, *, receiver_of=None, established=lambda flow: False):
    """What shall happen to ``flow``.

    ``layers_of(function_id)`` gives a function's layers in outbound order, or ``None`` if there is
    no such port. ``receiver_of(flow)`` names the function that an inbound flow from the wire is
    for, or ``None``. ``established(flow)`` tells whether a flow's other direction was let through
    before. Whatever no rule decided is dropped.
    """
    state = _State(flow)

    def inbound(function_id):
        layers = layers_of(function_id)
        if layers is None:
            return state.decision(Verdict.DROP)
        state.owners.append(function_id)
        state.verdict = None
        state.flow = Flow(**{**vars(state.flow), "direction": Direction.INBOUND,
                             "function_id": function_id})
        if not state.run(reversed(layers), established):
            return state.decision()
        arrived = state.verdict == Verdict.FUNCTION and state.function_id == function_id
        return state.decision(None if arrived else Verdict.DROP)

    if flow.direction == Direction.INBOUND:
        receiver = receiver_of(flow) if receiver_of else None
        return state.decision(Verdict.DROP) if receiver is None else inbound(receiver)

    layers = layers_of(flow.function_id)
    if layers is None:
        return state.decision(Verdict.DROP)
    state.owners.append(flow.function_id)
    if not state.run(layers, established) or state.verdict is None:
        return state.decision(Verdict.DROP)
    return inbound(state.function_id) if state.verdict == Verdict.FUNCTION else state.decision()
