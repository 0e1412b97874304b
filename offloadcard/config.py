"""The card's parameters, checked once, and its presets."""

from dataclasses import dataclass, replace

__all__ = ["CardConfig", "PRESETS"]

KIND_VIRTIO_NET, KIND_NVME = 0, 1


@dataclass(frozen=True)
class CardConfig:
    """Everything that can be chosen about a card; leaves take plain integers from here.

    Function ids are dense: 0 is PF0 (virtio-net), 1 is PF1 (NVMe), then the VFs of PF0, then the
    VFs of PF1. ``ValueError`` says which parameter is wrong.
    """
    name: str = "model"
    data_width: int = 512            # bits of every payload path
    clock_mhz: int = 250             # stated, not measured
    virtio_net_vfs: int = 126
    nvme_vfs: int = 126
    function_id_width: int = 8       # up to 12
    pcie_tags: int = 256             # DMA reads in flight; each owns READ_MAX octets of buffer
    read_window_octets: int = 16 * 1024  # asked for at once, of a prompt host
    completion_timeout_us: int = 50_000
    virtio_queue_size: int = 1024
    virtio_queue_pairs: int = 8      # contexts are sized by it
    nvme_io_queues: int = 16         # I/O submission queues a function
    nvme_queue_size: int = 1024
    nvme_mdts_octets: int = 128 * 1024
    gft_flows: int = 4096
    gft_packet_buffer_octets: int = 128 * 1024
    gft_exception_octets: int = 128 * 1024  # of packets on their way to the slow path
    gft_order_budget: int = 64       # of one order slot: a segment of 64 KiB in frames, and more
    max_frame_octets: int = 9216
    port_gbps: int = 100
    dma_tag_width: int = 16          # of each house's DMA ports

    def __post_init__(self):
        def check(name, ok, must):
            if not ok:
                raise ValueError(f"`{name}` must be {must}, not {getattr(self, name)!r}")

        def power_of_two(n):
            return n > 0 and n & (n - 1) == 0

        check("data_width", self.data_width in (64, 128, 256, 512), "64, 128, 256 or 512")
        check("clock_mhz", self.clock_mhz > 0, "positive")
        check("function_id_width", 2 <= self.function_id_width <= 12, "2 to 12")
        check("virtio_net_vfs", self.virtio_net_vfs >= 1, "at least 1")
        check("nvme_vfs", self.nvme_vfs >= 1 and self.functions <= 2 ** self.function_id_width,
              "at least 1 and leave room for all functions in `function_id_width`")
        check("pcie_tags", power_of_two(self.pcie_tags) and self.pcie_tags <= 256,
              "a power of two up to 256")
        check("read_window_octets", self.read_window_octets >= 512
              and self.read_window_octets % 4 == 0, "at least 512 and a multiple of 4")
        for name in ("virtio_queue_size", "nvme_queue_size"):
            size = getattr(self, name)
            check(name, power_of_two(size) and 4 <= size <= 4096, "a power of two, 4 to 4096")
        check("virtio_queue_pairs", 1 <= self.virtio_queue_pairs <= 16, "1 to 16")
        check("nvme_io_queues", 1 <= self.nvme_io_queues <= 63, "1 to 63")
        check("gft_exception_octets", self.gft_exception_octets >= 2 * (self.max_frame_octets + 64),
              "room for two of the longest frames and their descriptors")
        check("gft_order_budget", 1 <= self.gft_order_budget < 1 << 15, "1 to 32767")
        check("gft_flows", power_of_two(self.gft_flows) and self.gft_flows >= 16,
              "a power of two, 16 or more")

    @property
    def functions(self):
        """Number of functions, physical and virtual."""
        return 2 + self.virtio_net_vfs + self.nvme_vfs

    @property
    def first_net_vf(self):
        """``function_id`` of the first VF of PF0."""
        return 2

    @property
    def first_nvme_vf(self):
        """``function_id`` of the first VF of PF1."""
        return 2 + self.virtio_net_vfs

    @property
    def ns_per_cycle(self):
        """Period of the clock in nanoseconds."""
        return 1000 / self.clock_mhz

    @property
    def quiet_clocks(self):
        """After so many cycles with no beat on any port and ``busy`` low, the card does nothing:
        longer than a frame stays in any part outside of the switch."""
        return max(1024, 512 + self.max_frame_octets * 8 // self.data_width)

    def with_functions(self, functions):
        """The same card with another number of functions, half of the VFs of each kind."""
        vfs = functions - 2
        return replace(self, virtio_net_vfs=vfs - vfs // 2, nvme_vfs=vfs // 2,
                       function_id_width=max(2, (functions - 1).bit_length()))


MODEL = CardConfig()
SMALL = replace(MODEL, name="small", data_width=128, virtio_net_vfs=7, nvme_vfs=7,
                function_id_width=4, pcie_tags=64, read_window_octets=4 * 1024,
                virtio_queue_size=256, virtio_queue_pairs=2, nvme_io_queues=4,
                nvme_queue_size=256, gft_flows=1024,
                gft_packet_buffer_octets=32 * 1024, gft_exception_octets=32 * 1024,
                gft_order_budget=32)
ECP5 = replace(SMALL, name="ecp5", data_width=64, clock_mhz=100, virtio_net_vfs=1, nvme_vfs=1,
               function_id_width=2, pcie_tags=16, virtio_queue_size=64, virtio_queue_pairs=1,
               nvme_io_queues=1,
               nvme_queue_size=64, gft_flows=256, gft_packet_buffer_octets=16 * 1024,
               gft_exception_octets=8 * 1024, max_frame_octets=2048, port_gbps=1)
TINY = replace(SMALL, name="tiny", data_width=64, virtio_net_vfs=2, nvme_vfs=2,
               function_id_width=3, pcie_tags=8, virtio_queue_size=8, nvme_io_queues=2,
               nvme_queue_size=8, gft_flows=16, gft_packet_buffer_octets=8 * 1024,
               gft_exception_octets=8 * 1024, max_frame_octets=2048, completion_timeout_us=4)

PRESETS = {config.name: config for config in (MODEL, SMALL, ECP5, TINY)}
