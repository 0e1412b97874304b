"""Who is where: the ports of this card, their networks, the tunnels, the public addresses."""

from ..gft.spec import TEMPLATES
from .network import Port, VirtualNetwork, layers_of_port

__all__ = ["ProvisioningError", "Topology"]


class ProvisioningError(ValueError):
    """The request cannot be met; nothing of it was done."""


class Topology:
    """What the slow path asks. Changes are made by the controller, on a copy first."""

    def __init__(self, fabric):
        self.fabric    = fabric
        self.networks  = {}   # vni -> VirtualNetwork
        self.ports     = {}   # function_id -> Port
        self.templates = {}   # tunnel without its vni -> row
        self._layers   = {}

    def copy(self):
        """Another topology with the same contents, to try a change on."""
        other = Topology(self.fabric)
        other.networks  = {vni: VirtualNetwork(n.vni, n.prefixes, n.gateway_mac, dict(n.remotes),
                                               n.gateways) for vni, n in self.networks.items()}
        other.ports     = {f: Port(**{**vars(p), "network": other.networks[p.network.vni]})
                           for f, p in self.ports.items()}
        other.templates = dict(self.templates)
        return other

    # --- changes --------------------------------------------------------------------------------

    def add_network(self, network):
        """A new virtual network, its members elsewhere included."""
        if network.vni in self.networks:
            raise ProvisioningError(f"`vni` must be new, not {network.vni}")
        self.networks[network.vni] = network
        for remote in network.remotes.values():
            self._reserve_template(remote.vtep)

    def add_remote(self, vni, address, remote):
        """A member of a virtual network behind another tunnel end point."""
        network = self._network(vni)
        if self.owner_of(vni, address) is not None:
            raise ProvisioningError(f"{address} must not be an address of a port of this card")
        if not any(address in prefix for prefix in network.prefixes):
            raise ProvisioningError(f"{address} must lie in a prefix of virtual network {vni}")
        network.remotes[address] = remote
        self._reserve_template(remote.vtep)
        self._layers.clear()

    def put_port(self, port):
        """A port as it shall be from now on, checked against all others."""
        network = port.network
        if self.networks.get(network.vni) is not network:
            raise ProvisioningError(f"virtual network {network.vni} must be one of this card")
        if len(port.mac) != 6 or port.mac[0] & 1 or not any(port.mac):
            raise ProvisioningError(f"`mac` must be a unicast address, not {port.mac.hex(':')}")
        if not port.addresses:
            raise ProvisioningError("`addresses` must name one at least")
        for address in port.addresses:
            if not any(address in prefix for prefix in network.prefixes):
                raise ProvisioningError(f"{address} must lie in a prefix of virtual network "
                                        f"{network.vni}")
            owner = self.owner_of(network.vni, address)
            if owner not in (None, port.function_id) or address in network.remotes \
                    or address in network.gateways:
                raise ProvisioningError(f"{address} must be free in virtual network "
                                        f"{network.vni}")
        for nat in port.nats:
            if nat.private not in port.addresses:
                raise ProvisioningError(f"{nat.private} must be an address of the port")
            if nat.public.version != 4:
                raise ProvisioningError(f"{nat.public} must be an IPv4 address")
            self._check_public(port, nat)
        self.ports[port.function_id] = port
        self._layers.clear()

    def _check_public(self, port, nat):
        for other in self.ports.values():
            for taken in other.nats if other.function_id != port.function_id else ():
                apart = (None not in (taken.public_port, nat.public_port)
                         and (taken.protocol, taken.public_port)
                         != (nat.protocol, nat.public_port))
                if taken.public == nat.public and not apart:
                    raise ProvisioningError(f"{nat.public} must not be public for function "
                                            f"{other.function_id} already")

    def drop_port(self, function_id):
        """The port is no more."""
        self.ports.pop(function_id, None)
        self._layers.clear()

    def _network(self, vni):
        if vni not in self.networks:
            raise ProvisioningError(f"virtual network {vni} must be one of this card")
        return self.networks[vni]

    def _reserve_template(self, vtep):
        if vtep not in self.templates:
            if len(self.templates) >= TEMPLATES:
                raise ProvisioningError(f"tunnel end points must be {TEMPLATES} at most")
            self.templates[vtep] = len(self.templates)

    # --- what the slow path asks ----------------------------------------------------------------

    def owner_of(self, vni, address):
        """The function here that has ``address`` in virtual network ``vni``, or ``None``."""
        for port in self.ports.values():
            if port.network.vni == vni and address in port.addresses:
                return port.function_id
        return None

    def layers_of(self, function_id):
        """Layers of a port, outbound order; ``None`` if there is no port."""
        port = self.ports.get(function_id)
        if port is None:
            return None
        if function_id not in self._layers:
            self._layers[function_id] = layers_of_port(port, self.ports.values(), self.fabric)
        return self._layers[function_id]

    def receiver_of(self, flow):
        """Whom a flow from the wire is for: by its tunnel, or by a public address; else nobody."""
        if flow.vni:
            return self.owner_of(flow.vni, flow.destination)
        found = None
        for port in self.ports.values():
            for nat in port.nats:
                if nat.public == flow.destination and nat.protocol in (None, flow.protocol):
                    if nat.public_port == flow.destination_port:
                        return port.function_id
                    if nat.public_port is None:
                        found = port.function_id
        return found

    def template_of(self, tunnel):
        """Row of the outer headers of ``tunnel``."""
        return self.templates[tunnel.destination]

    def mac_of(self, function_id, asker, target):
        """The MAC that ``target`` has for the port of ``function_id``, or ``None``.

        A port that asks for its own address, or asks as somebody else, gets no answer.
        """
        port = self.ports.get(function_id)
        if port is None or asker not in port.addresses or target in port.addresses:
            return None
        network = port.network
        if target in network.gateways:
            return network.gateway_mac
        owner = self.owner_of(network.vni, target)
        if owner is not None:
            return self.ports[owner].mac
        remote = network.remotes.get(target)
        return remote.mac if remote else None

    def lease_of(self, function_id, mac):
        """``(address, lease, router's MAC)`` for DHCP of the port of ``function_id``, or ``None``:
        it has no lease, or asks as somebody else."""
        port = self.ports.get(function_id)
        if port is None or port.lease is None or mac != port.mac:
            return None
        address = next((one for one in port.addresses if one.version == 4), None)
        return None if address is None else (address, port.lease, port.network.gateway_mac)

    def router_of(self, function_id, address):
        """Address and MAC of the router that the port of ``function_id`` has for its own
        ``address``, or ``None``."""
        port = self.ports.get(function_id)
        if port is None or address not in port.addresses:
            return None
        network = port.network
        for gateway in network.gateways:
            if gateway.version == address.version and network.same_prefix(gateway, address):
                return gateway, network.gateway_mac
        return None
