"""Sizes of the queue engines, and the rows and jobs that pass between them."""

from amaranth.lib import data
from amaranth.utils import ceil_log2

from .spec import VirtqDesc

__all__ = ["PAGE_OCTETS", "Geometry"]

PAGE_OCTETS = 512  # of a packet buffer: what one DMA read fetches at most


def _power_of_two(n):
    return 1 << ceil_log2(n)


class Geometry:
    """Everything that the engines of one direction derive from the card's configuration.

    A *queue* is ``function_id`` and pair, of one direction. A *batch* is up to ``batch`` entries
    of one queue's available ring that travel together; a *slot* is a batch and an entry of it. A
    function's rows are indexed by its ``function_id``, which for virtio-net lies below
    ``config.first_nvme_vf``.
    """

    per_queue  = 8   # batches of one queue in flight
    crowd      = 64  # batches in flight, from which on a queue that sends gets one at a time
    used_slots = 16  # used-ring updates in flight

    def __init__(self, config):
        self.config      = config
        self.data_width  = config.data_width
        self.id_width    = config.function_id_width
        self.functions   = config.first_nvme_vf
        self.row_bits    = ceil_log2(self.functions)
        self.pairs       = config.virtio_queue_pairs
        self.pair_bits   = ceil_log2(self.pairs)
        self.queue_bits  = self.row_bits + self.pair_bits
        self.queues      = 1 << self.queue_bits
        self.size_max    = config.virtio_queue_size
        self.batch       = 16 if config.data_width > 128 else 8
        self.batch_bits  = ceil_log2(self.batch)
        self.batches     = max(8, 2 * _power_of_two(self.functions * min(self.pairs, 4)))
        self.frame_pages = -(-config.max_frame_octets // PAGE_OCTETS)
        self.pages       = max(32, _power_of_two(self.batch * self.frame_pages))
        self.page_bits   = ceil_log2(self.pages)
        self.octets      = config.data_width // 8
        self.lines       = PAGE_OCTETS // self.octets      # of a page
        self.waiting     = 128 if config.data_width > 128 else 16  # received packets of a queue
        self.gather_tags = 192 if config.data_width > 128 else 16
        self.desc_tags   = 128 if config.data_width > 128 else 16  # first descriptors
        self.next_tags   = 64 if config.data_width > 128 else 16   # chained descriptors
        self.flush_cycles = config.clock_mhz               # one microsecond

    @property
    def batch_id(self):
        """A batch and the generation of its use; the generation changes with each use."""
        return data.StructLayout({"batch": range(self.batches), "generation": 1})

    @property
    def ring_features(self):
        """What the driver negotiated, as far as the engines of the rings must know."""
        return data.StructLayout({
            "event_idx": 1, "indirect": 1, "mrg_rxbuf": 1, "csum": 1, "guest_csum": 1})

    @property
    def setup(self):
        """What the driver wrote about a queue. Vector and size are kept inverted or relative so
        that an empty row is a queue after reset."""
        return data.StructLayout({
            "desc": 64, "driver": 64, "device": 64, "size": 16, "vector": 16, "enable": 1,
            "features": self.ring_features})

    @property
    def batch_row(self):
        """A batch, from its issue to its last used element."""
        return data.StructLayout({
            "queue": self.queue_bits, "position": 16, "count": range(self.batch + 1),
            "generation": 1, "desc": 64, "driver": 64, "device": 64, "size": 16, "vector": 16,
            "features": self.ring_features, "frame_pages": range(self.frame_pages + 1)})

    @property
    def order_entry(self):
        """Place of a batch in its queue's order; ``lap`` tells a new entry from an old one."""
        return data.StructLayout({"batch": range(self.batches), "lap": 1})

    @property
    def slot(self):
        """An entry of a batch."""
        return data.StructLayout({"index": range(self.batch), "batch": range(self.batches)})

    @property
    def packet(self):
        """A received packet in the buffer; ``checked`` says that its checksums are right."""
        return data.StructLayout({
            "page": range(self.pages), "length": 14, "drop": 1, "checked": 1})

    @property
    def head(self):
        """The first descriptor of a chain; ``marker`` is no descriptor but the word that entries
        up to ``slot.index`` of the batch were handed out, ``final`` that no more will be. A packet
        may lie in several buffers: this one holds its octets from ``start`` on, ``more`` follow."""
        return data.StructLayout({
            "slot": self.slot, "desc": VirtqDesc, "bad": 1, "packet": self.packet,
            "start": 14, "more": 1, "buffers": 4,
            "marker": 1, "upto": range(self.batch + 1), "final": 1, "skip": 1, "holds": 1,
            "before": 4})

    @property
    def segment(self):
        """A piece of guest memory: octets ``offset`` and on of a header and its frame."""
        return data.StructLayout({
            "slot": self.slot, "function_id": self.id_width, "address": 64,
            "length": 14, "offset": 14, "last": 1, "error": 1, "short": 1, "packet": self.packet,
            "start": 14, "more": 1, "buffers": 4, "csum": 1, "holds": 1,
            "before": 4,
            "frame_pages": range(self.frame_pages + 1), "count": range(self.batch + 1),
            "marker": 1, "upto": range(self.batch + 1), "final": 1, "skip": 1})

    @property
    def used_job(self):
        """Entries ``start`` … of a batch are to be used; with ``final`` the batch ends. With
        ``holds`` the index waits for the next entries, which belong to the same packet; ``before``
        entries waited so for this one."""
        return data.StructLayout({
            "batch": range(self.batches), "start": range(self.batch + 1),
            "count": range(self.batch + 1), "final": 1, "skip": 1, "holds": 1, "before": 4})

    def row_of(self, function_id):
        """Row of a function."""
        return function_id[:self.row_bits]

    def function_of(self, queue):
        """``function_id`` of a queue."""
        return queue[self.pair_bits:]
