"""Provisioning: whole or refused."""

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address as A4

import pytest

from offloadcard.config import MODEL, TINY
from offloadcard.control.controller import Limit, NetworkFunction
from offloadcard.control.network import Nat, Remote, VirtualNetwork
from offloadcard.control.topology import ProvisioningError
from offloadcard.control.volumes import Volume
from offloadcard.gft.spec import MeterKind
from offloadcard.virtio_net_emul import spec as virtio
from tests.control.support import GATEWAY_MAC, attach, mac, network, port
from tests.support.model_card import ModelCard

CSUM, MRG_RXBUF = 1 << virtio.VIRTIO_NET_F_CSUM, 1 << virtio.VIRTIO_NET_F_MRG_RXBUF


def story(told, config=MODEL):
    async def run():
        card = ModelCard(config)
        await told(card, await attach(card))
    asyncio.run(run())


NVME = MODEL.first_nvme_vf


def test_a_tenant_is_made_and_released():
    async def told(card, controller):
        net = network()
        await controller.provision(
            NetworkFunction(port(2, net, mtu=9000), Limit(bits_per_second=10**9)),
            Volume(NVME, 1, 2048), Volume(NVME, 2, 16, block_octets=4096, read_only=True),
            networks=[net])
        assert card.functions[2] == {"MAC": int.from_bytes(mac(2), "little"), "MTU": 9000,
                                     "LINK": 1, "FEATURES": virtio.FEATURES}
        octets, packets = card.meters[2]
        # 1 Gb/s at 250 MHz: 2 cycles an octet.
        assert (octets.cycles, packets.cycles) == (2 << 16, 0) and octets.burst == 2 * 16_384
        assert card.volumes == {(NVME, 1): (0, 2048, 1), (NVME, 2): (1 << 20, 16, 1)}
        template = card.switch.templates[0]
        assert template.destination_address == int(A4("192.0.2.2")) and template.udp_port == 4789
        await controller.set_link(2, False)
        assert card.functions[2]["LINK"] == 0
        await controller.release(2)
        await controller.release(NVME)
        assert card.meters[2][0].cycles == 0 and card.functions[2]["MAC"] == 0
        assert all(valid == 0 for _, _, valid in card.volumes.values())
        # All of it can be given to somebody else.
        await controller.provision(NetworkFunction(port(2, net, function_id=3), checksums=False),
                                   Volume(NVME, 1, 4096))
        assert card.functions[3]["FEATURES"] == virtio.FEATURES & ~CSUM
        await controller.release(3)
        await controller.provision(NetworkFunction(port(2, net, function_id=3), merged=False))
        assert card.functions[3]["FEATURES"] == virtio.FEATURES & ~MRG_RXBUF
    story(told)


def bad_requests(net):
    """Requests that cannot be met, with what is said of them."""
    other = VirtualNetwork(999, ("10.1.0.0/24",), GATEWAY_MAC)
    good = port(5, net)
    yield "must be a virtio-net function", NetworkFunction(port(5, net, function_id=NVME))
    yield "must be a virtio-net function", NetworkFunction(port(5, net, function_id=4000))
    yield "must be an NVMe function", Volume(2, 1, 8)
    yield "must fit the card's", Volume(NVME, 1, 1 << 30)
    yield "must not have volume 1 already", Volume(NVME + 1, 1, 8)
    yield "must not overlap another volume", Volume(NVME, 1, 8, base=0)
    yield "virtual network 999 must be one of this card", NetworkFunction(port(5, other))
    yield "`mac` must be a unicast address", NetworkFunction(replace(good, mac=b"\1" * 6))
    yield "`mac` must be a unicast address", NetworkFunction(replace(good, mac=bytes(6)))
    yield "`addresses` must name one", NetworkFunction(replace(good, addresses=()))
    yield "must lie in a prefix", NetworkFunction(replace(good, addresses=(A4("9.9.9.9"),)))
    yield "must be free in virtual network", NetworkFunction(
        replace(good, addresses=(A4("10.1.0.2"),)))
    yield "must be free in virtual network", NetworkFunction(
        replace(good, addresses=(A4("10.1.0.9"),)))
    yield "must be an address of the port", NetworkFunction(
        replace(good, nats=(Nat(A4("198.51.100.1"), A4("10.1.0.77")),)))
    yield "must not be public for function 2", NetworkFunction(
        replace(good, nats=(Nat(A4("198.51.100.7"), A4("10.1.0.5")),)))
    yield "`mtu` must be 68 to 9202", NetworkFunction(replace(good, mtu=9203))
    yield "`rate` must be one that the meter can count", NetworkFunction(
        good, Limit(bits_per_second=1))


@pytest.mark.parametrize("number", range(len(list(bad_requests(network())))))
def test_what_cannot_be_met_is_refused_whole(number):
    """A good request beside a bad one is not done either: not one register is written."""
    async def told(card, controller):
        net = network()
        await controller.provision(
            NetworkFunction(port(2, net, nats=(Nat(A4("198.51.100.7"), A4("10.1.0.2")),))),
            Volume(NVME + 1, 1, 64), networks=[net])
        before = list(card.writes)
        message, request = list(bad_requests(net))[number]
        with pytest.raises(ProvisioningError) as refused:
            await controller.provision(NetworkFunction(port(6, net)), Volume(NVME + 2, 1, 8),
                                       request)
        assert message in str(refused.value)
        assert card.writes == before
        assert 6 not in controller.topology.ports and (NVME + 2, 1) not in controller.store.taken
        # What was refused can be asked for again without the bad one.
        await controller.provision(NetworkFunction(port(6, net)), Volume(NVME + 2, 1, 8))
    story(told)


def test_what_the_card_refuses_is_undone():
    async def told(card, controller):
        net = network()
        card.broken.add("VOLUME_BASE")
        with pytest.raises(ProvisioningError, match="the card refused: write to management"):
            await controller.provision(NetworkFunction(port(2, net), Limit(10**9)),
                                       Volume(NVME, 1, 8), networks=[net])
        assert card.functions[2]["LINK"] == 0 and card.meters[2][0].cycles == 0
        assert controller.topology.ports == {} and controller.store.taken == {}
        card.broken.clear()
        await controller.provision(NetworkFunction(port(2, net)), networks=[net])
    story(told)


def test_limits_bite_at_once():
    """Each limit is a row of the card's meters, or rows of the flow table; no flow is decided
    again for it."""
    async def told(card, controller):
        net = network()
        await controller.provision(NetworkFunction(port(2, net)), networks=[net])
        generation = card.switch.generations[2, 0]
        await controller.set_limit(2, Limit(
            packets_per_second=1_000_000, bits_per_second_in=10**9,
            packets_per_second_in=500_000, new_flows_per_second=10_000, flows=7))
        cycles = {kind: tuple(rate.cycles >> 16 for rate in card.meters[2 | kind << 16])
                  for kind in MeterKind}
        assert cycles == {MeterKind.OUT: (0, 250), MeterKind.IN: (2, 500),
                          MeterKind.NEW_FLOWS: (0, 25_000)}
        assert (await controller.allowances(2))["conntrack_allowance_available"] == 7
        assert card.switch.generations[2, 0] == generation
        await controller.set_wire_limit(new_flows_per_second=100_000)
        assert card.meters[1 << 12 | MeterKind.NEW_FLOWS << 16][1].cycles == 2500 << 16
        with pytest.raises(ProvisioningError, match="`rate` must be"):
            await controller.set_limit(2, Limit(packets_per_second=1))
        with pytest.raises(ProvisioningError, match="`flows` must be 0 to 4096, not 5000"):
            await controller.set_limit(2, Limit(flows=5000))
        with pytest.raises(ProvisioningError, match="function 9 must be provisioned first"):
            await controller.set_limit(9, Limit())
        with pytest.raises(ValueError, match="`flows` must be 0 or more, not -1"):
            Limit(flows=-1)
        await controller.release(2)
        assert all(card.meters[2 | kind << 16][n].cycles == 0 for kind in MeterKind for n in (0, 1))
    story(told)


def test_members_elsewhere():
    async def told(card, controller):
        net = network()
        await controller.provision(NetworkFunction(port(2, net)), networks=[net])
        await controller.add_remote(100, A4("10.1.0.20"), Remote(mac(20), A4("192.0.2.3")))
        assert card.switch.templates[1].destination_address == int(A4("192.0.2.3"))
        for address, vni, message in ((A4("10.1.0.2"), 100, "must not be an address of a port"),
                                      (A4("9.9.9.9"), 100, "must lie in a prefix"),
                                      (A4("10.1.0.3"), 5, "virtual network 5 must be one")):
            with pytest.raises(ProvisioningError, match=message):
                await controller.add_remote(vni, address, Remote(mac(1), A4("192.0.2.3")))
        with pytest.raises(ProvisioningError, match="`vni` must be new"):
            await controller.provision(networks=[network()])
        for number in range(62):
            await controller.add_remote(100, A4(f"10.1.0.{100 + number}"),
                                        Remote(mac(1), A4(f"192.0.3.{number}")))
        with pytest.raises(ProvisioningError, match="tunnel end points must be 64 at most"):
            await controller.add_remote(100, A4("10.1.0.250"), Remote(mac(1), A4("192.0.9.9")))
    story(told)


def test_functions_are_reset_and_hidden():
    async def told(card, controller):
        await controller.reset_function(5)
        await controller.set_present(5, False)
        assert card.resets == [(5, 3), (5, 0)]
        assert (await controller.port_counters())["rx_frames"] == 0
        assert (await controller.network_counters(2))["rx_drops"] == 0
    story(told)


def test_the_card_must_be_ours():
    async def run(name, value, message):
        card = ModelCard(TINY)
        card._values[0, name] = value
        with pytest.raises(ProvisioningError, match=message):
            await attach(card)
    asyncio.run(run("ID", 0, "must be an OffloadCard"))
    asyncio.run(run("VERSION", 0x0002_0000, "must be of version 1, not 2"))


@pytest.mark.parametrize("change", [{"nsid": 0}, {"nsid": 5}, {"blocks": 0},
                                    {"block_octets": 520}, {"base": 100}])
def test_bad_volumes(change):
    with pytest.raises(ProvisioningError, match=f"`{next(iter(change))}` must be"):
        Volume(**{"function_id": NVME, "nsid": 1, "blocks": 8, **change})
