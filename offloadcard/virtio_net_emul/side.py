"""What both sides of the device share: members, and ways to wire tables and DMA clients."""

from amaranth import *
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from ..rtl.ports import DmaReadPort

__all__ = ["read_tag_width", "USED_TAG", "WRITE_TAG", "SMALL_TAG", "side_members", "connect_client",
           "connect_tables", "connect_write"]

USED_TAG  = 4  # of a client that writes the used ring
WRITE_TAG = 1 + USED_TAG
SMALL_TAG = 7  # of a client that reads descriptors or flags


def read_tag_width(geometry):
    """Tags of each of a side's read ports: a batch and one bit, or those of four clients."""
    return max(2 + SMALL_TAG, Shape.cast(geometry.batch_id).width)


def side_members(geometry, *, readers, failures):
    """What both sides have: queues in, DMA out, the questions of the lifecycle."""
    g = geometry
    queue = unsigned(g.queue_bits)
    return {
        "doorbells":   In(stream.Signature(queue, always_ready=True)),
        "starts":      In(stream.Signature(queue)),
        "queue":       Out(queue),
        "setup":       In(g.setup),
        "function":    Out(g.row_bits),
        "alive":       In(1),
        "slow":        In(1),
        "frame_pages": In(range(g.frame_pages + 1)),
        "reads":       Out(DmaReadPort(function_id_width=g.id_width,
                                       tag_width=read_tag_width(g),
                                       data_width=g.data_width)).array(readers),
        "checks":      In(stream.Signature(queue)),
        "checked":     Out(1),
        "idle":        Out(1),
        "failures":    Out(stream.Signature(g.id_width)).array(failures),
        "interrupted": In(1),
    }


def connect_client(m, mux_client, reads):
    """A client whose tags are narrower than the multiplexer's."""
    for name in reads.requests.payload.shape().members:
        m.d.comb += mux_client.requests.p[name].eq(reads.requests.p[name])
    m.d.comb += [mux_client.requests.valid.eq(reads.requests.valid),
                 reads.requests.ready.eq(mux_client.requests.ready),
                 reads.beats.valid.eq(mux_client.beats.valid)]
    for name in reads.beats.payload.shape().members:
        m.d.comb += reads.beats.p[name].eq(mux_client.beats.p[name])


def connect_tables(m, *links):
    """Each link is a table's read port and who reads: (table, number, address, row)."""
    for table, number, address, row in links:
        address = address.as_value() if hasattr(address, "as_value") else address
        m.d.comb += table.addresses[number].eq(address)
        if row is not None:
            m.d.comb += row.eq(table.rows[number])


def connect_write(m, table, write, address):
    """A table and its one writer."""
    m.d.comb += [table.address.eq(address), table.row.eq(write.row),
                 table.enable.eq(write.enable)]
