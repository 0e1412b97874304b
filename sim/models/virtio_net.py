"""A virtio-net device, untimed: the oracle that a driver is tried on before there is RTL."""

# Ref: virtio-1.2, 4.1.4 (Virtio Structure PCI Capabilities)
# Ref: virtio-1.2, 5.1 (Network Device)

from offloadcard.pcie.spec_config import VirtioPciCap
from offloadcard.virtio_net_emul import spec
from sim.host.structure import Structure

from .pci import DmaError
from .virtio_offloads import answer, completed
from .virtqueue import BadChain, DeviceQueue

__all__ = ["VirtioNetModel"]

CAP, HDR = Structure(VirtioPciCap), Structure(spec.VirtioNetHdr)
COMMON, ISR, DEVICE, NOTIFY, MULTIPLIER = 0x0000, 0x0100, 0x0200, 0x1000, 4
NO_VECTOR = 0xFFFF
QUEUE_REGISTERS = ("queue_size", "queue_msix_vector", "queue_enable", "queue_desc",
                   "queue_driver", "queue_device", "queue_reset")
FEATURES = sum(1 << bit for bit in (
    spec.VIRTIO_F_VERSION_1, spec.VIRTIO_F_ACCESS_PLATFORM, spec.VIRTIO_F_ORDER_PLATFORM,
    spec.VIRTIO_NET_F_MAC, spec.VIRTIO_NET_F_STATUS, spec.VIRTIO_NET_F_MTU,
    spec.VIRTIO_NET_F_CSUM, spec.VIRTIO_NET_F_GUEST_CSUM, spec.VIRTIO_NET_F_CTRL_VQ,
    spec.VIRTIO_NET_F_CTRL_RX, spec.VIRTIO_NET_F_CTRL_VLAN, spec.VIRTIO_NET_F_MQ,
    spec.VIRTIO_NET_F_CTRL_MAC_ADDR, spec.VIRTIO_F_RING_RESET))
PAIRS = 2
CONTROL = 2 * PAIRS


def _capability(kind, offset, length, extra=b""):
    body = CAP.pack(cap_len=CAP.size + len(extra), cfg_type=kind, bar=0, offset=offset,
                    length=length)
    return body[2:] + extra


class VirtioNetModel:
    """Answers BAR 0 of a function.

    Parameters
    ----------
    mac : bytes
        6 octets.
    transmitted : list
        Frames that the guest sends are appended here.
    """

    vendor_bodies = (
        _capability(spec.VIRTIO_PCI_CAP_COMMON_CFG, COMMON, 0x40),
        _capability(spec.VIRTIO_PCI_CAP_ISR_CFG, ISR, 1),
        _capability(spec.VIRTIO_PCI_CAP_DEVICE_CFG, DEVICE, 0x40),
        _capability(spec.VIRTIO_PCI_CAP_NOTIFY_CFG, NOTIFY, 0x1000,
                    MULTIPLIER.to_bytes(4, "little")),
    )

    def __init__(self, mac, *, mtu=1500, queue_size=1024, transmitted=None):
        self.config = (mac + (1).to_bytes(2, "little") + PAIRS.to_bytes(2, "little")
                       + mtu.to_bytes(2, "little"))
        self.queue_size = queue_size
        self.transmitted = [] if transmitted is None else transmitted
        self.dropped = 0
        self.function = None
        self.reset()

    def attach(self, function):
        """Learn whose device this is."""
        self.function = function

    def reset(self):
        """Everything as after power-up."""
        self.common = {register.name: 0 for register in spec.COMMON_CFG}
        self.common["config_msix_vector"] = NO_VECTOR
        self.selected = [self._empty() for _ in range(CONTROL + 1)]
        self.driver_features = [0, 0]
        self.in_use = 1
        self.rings, self.isr = {}, 0

    def _empty(self):
        return {"queue_size": self.queue_size, "queue_msix_vector": NO_VECTOR, "queue_enable": 0,
                "queue_desc": 0, "queue_driver": 0, "queue_device": 0, "queue_reset": 0}

    @property
    def accepted(self):
        """What the driver chose."""
        return self.driver_features[0] | self.driver_features[1] << 32

    def _place(self, select):
        """[virtio-1.2: 5.1.2] which of our queues a number means, or None."""
        behind = CONTROL if self.accepted >> spec.VIRTIO_NET_F_MQ & 1 else 2
        if select == behind and self.accepted >> spec.VIRTIO_NET_F_CTRL_VQ & 1:
            return CONTROL
        return select if select < behind else None

    def read(self, offset, size):
        """A register of BAR 0."""
        if offset == ISR:
            value, self.isr = self.isr, 0
            return value
        if DEVICE <= offset < DEVICE + 0x40:
            start = offset - DEVICE
            return int.from_bytes(self.config[start:start + size].ljust(size, b"\0"), "little")
        if offset >= 0x40:
            return 0
        return self._common_octets()[offset:offset + size] and int.from_bytes(
            self._common_octets()[offset:offset + size], "little")

    def _value(self, name):
        select = self.common["queue_select"]
        if name in QUEUE_REGISTERS:
            place = self._place(select)
            return 0 if place is None else self.selected[place][name]
        if name == "device_feature":
            half = self.common["device_feature_select"]
            return FEATURES >> 32 * half & 0xFFFF_FFFF if half < 2 else 0
        if name == "driver_feature":
            half = self.common["driver_feature_select"]
            return self.driver_features[half] if half < 2 else 0
        if name == "num_queues":
            return CONTROL + 1
        if name == "queue_notify_off":
            return 0 if self._place(select) is None else select
        return self.common[name]

    def _common_octets(self):
        image = bytearray(0x40)
        for register in spec.COMMON_CFG:
            image[register.offset:register.offset + register.octets] = \
                self._value(register.name).to_bytes(register.octets, "little")
        return image

    def write(self, offset, size, value):
        """Write a register of BAR 0, or notify a queue."""
        if offset >= NOTIFY:
            self.notify((offset - NOTIFY) // MULTIPLIER)
            return
        for register in spec.COMMON_CFG:
            shift = offset - register.offset
            if not 0 <= shift < register.octets or register.access == "ro":
                continue
            mask = (1 << 8 * size) - 1
            name, before = register.name, self._value(register.name)
            self._put(name, before & ~(mask << 8 * shift) | value << 8 * shift)

    def _put(self, name, value):
        select = self.common["queue_select"]
        if name in QUEUE_REGISTERS:
            place = self._place(select)
            if place is None:
                return
            if name == "queue_reset":
                if value == 1 and self.accepted >> spec.VIRTIO_F_RING_RESET & 1:
                    self.selected[place] = self._empty()
                    self.rings.pop(place, None)
                return
            self.selected[place][name] = self._vector(value) if "vector" in name else value
            if name == "queue_enable" and self.running:
                self._open(place)
        elif name == "driver_feature":
            half = self.common["driver_feature_select"]
            if half < 2 and not self.common["device_status"] & spec.VIRTIO_CONFIG_S_FEATURES_OK:
                self.driver_features[half] = value
        elif name == "device_status":
            self._status(value)
        else:
            self.common[name] = self._vector(value) if "vector" in name else value

    def _vector(self, value):
        return value if value < self.function.vectors else NO_VECTOR

    def _status(self, value):
        if not value:
            self.reset()
            return
        accepted = self.accepted
        if accepted & ~FEATURES or not accepted >> spec.VIRTIO_F_VERSION_1 & 1:
            value &= ~spec.VIRTIO_CONFIG_S_FEATURES_OK
        needs = self.common["device_status"] & spec.VIRTIO_CONFIG_S_NEEDS_RESET
        self.common["device_status"] = value | needs
        if value & spec.VIRTIO_CONFIG_S_DRIVER_OK:
            for n, queue in enumerate(self.selected):
                if queue["queue_enable"]:
                    self._open(n)

    def _open(self, place):
        queue = self.selected[place]
        self.rings[place] = DeviceQueue(self.function, queue["queue_size"], queue["queue_desc"],
                                        queue["queue_driver"], queue["queue_device"])
        self._serve(place)

    @property
    def running(self):
        """DRIVER_OK and no error."""
        status = self.common["device_status"]
        return bool(status & spec.VIRTIO_CONFIG_S_DRIVER_OK
                    and not status & spec.VIRTIO_CONFIG_S_NEEDS_RESET)

    def _guard(self, action):
        try:
            return action()
        except (BadChain, DmaError):
            self.common["device_status"] |= spec.VIRTIO_CONFIG_S_NEEDS_RESET
            self.isr |= 2
            self.function.interrupt(self.common["config_msix_vector"])
            return None

    def notify(self, index):
        """Serve the queue of that number: send all that waits, answer all commands."""
        place = self._place(index)
        if place is not None:
            self._serve(place)

    def _serve(self, place):
        if self.running and place in self.rings:
            if place == CONTROL:
                self._guard(self._answer)
            elif place % 2:
                self._guard(lambda: self._transmit(place))

    def _answer(self):
        ring, wanted = self.rings[CONTROL], False
        while (chain := ring.take()) is not None:
            head, readable, writable = chain
            octets = ring.gather(readable)
            if len(octets) < 2 or not sum(length for _, length in writable):
                raise BadChain("a command must have a header and room for its answer")
            status, pairs = answer(octets, accepted=self.accepted, mac=self.config[:6],
                                   pairs=PAIRS)
            self.in_use = pairs or self.in_use
            ring.scatter(writable, bytes([status]))
            wanted = ring.give(head, 1)
        self._tell(CONTROL, wanted)

    def _tell(self, place, wanted):
        if wanted:
            self.isr |= 1
            self.function.interrupt(self.selected[place]["queue_msix_vector"])

    def _transmit(self, place):
        ring, wanted = self.rings[place], False
        while (chain := ring.take()) is not None:
            head, readable, writable = chain
            octets = ring.gather(readable)
            if writable or len(octets) <= HDR.size:
                raise BadChain("a transmit chain must hold a header and a frame")
            header, frame = HDR.unpack(octets[:HDR.size]), octets[HDR.size:]
            if (self.accepted >> spec.VIRTIO_NET_F_CSUM & 1
                    and header["flags"] & spec.VIRTIO_NET_HDR_F_NEEDS_CSUM):
                frame = completed(frame, header["csum_start"], header["csum_offset"])
            if frame is not None:
                self.transmitted.append(frame)
            wanted = ring.give(head, 0)
        self._tell(place, wanted)

    def receive(self, frame, *, pair=0):
        """A frame for the guest, in a pair that it uses; False if it had no buffer for it."""
        place = 2 * (pair % self.in_use)
        if not self.running or place not in self.rings:
            return False
        taken = self._guard(lambda: self._receive(frame, place))
        self.dropped += not taken
        return bool(taken)

    def _receive(self, frame, place):
        ring = self.rings[place]
        chain = ring.take()
        if chain is None:
            return False
        head, readable, writable = chain
        octets = HDR.pack(num_buffers=1) + frame
        if readable or not ring.scatter(writable, octets):
            raise BadChain("a receive chain must be writable and large enough")
        self._tell(place, ring.give(head, len(octets)))
        return True
