"""What speaks against an admin command."""

# Ref: nvme-base-1.4c, 5.3 and 5.4 (Create I/O queues), 5.5 and 5.6 (Delete I/O queues),
#      5.14 (Get Log Page), 5.15 (Identify)

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .layouts import admin_row, queue_record
from .pages import PageKind, page_request
from .spec import VOLUMES, AdminOpcode, IdentifyCns, LogPage, Status
from .spec_pages import ERROR_ENTRIES

__all__ = ["AdminChecks"]

_PAGE_WORDS = 1024


class AdminChecks(wiring.Component):
    """Judge a command by itself, and by the queues it names; say which page it asks for.

    Timing
    ------
    Outputs belong to the inputs of the cycle before.

    Parameters
    ----------
    function_id_width, qid_width : int
        Widths in bits.
    io_queues, queue_size : int
        I/O queues a function has, and entries of the largest.

    Members
    -------
    command : ``In(admin_row(...))``
        The command.
    queue, other : ``In(queue_record(...))``
        The queues of the qid it names, and those of the completion queue it names.
    general : ``Out(11)``
        Status of what is wrong whatever the queues are; 0 if nothing is.
    create_cq, create_sq, delete_cq : ``Out(11)``
        Status of each, by the queues.
    qid_ok : ``Out(1)``
        The qid can be one of an I/O queue.
    page : ``Out(page_request(...))``
        The page that Identify or Get Log Page asks for.
    """

    def __init__(self, *, function_id_width, qid_width, io_queues, queue_size):
        self.io_queues, self.queue_size = io_queues, queue_size
        super().__init__({
            "command":   In(admin_row(function_id_width=function_id_width, qid_width=qid_width)),
            "queue":     In(queue_record(qid_width=qid_width)),
            "other":     In(queue_record(qid_width=qid_width)),
            "general":   Out(11),
            "create_cq": Out(11),
            "create_sq": Out(11),
            "delete_cq": Out(11),
            "qid_ok":    Out(1),
            "page":      Out(page_request(function_id_width=function_id_width)),
        })

    def elaborate(self, platform):
        m = Module()

        c = self.command
        general, create_cq, create_sq, delete_cq = (Signal(11, name=name) for name in (
            "is_general", "is_create_cq", "is_create_sq", "is_delete_cq"))
        self._general, self._page = general, Signal.like(self.page)
        m.d.sync += [self.general.eq(general), self.create_cq.eq(create_cq),
                     self.create_sq.eq(create_sq), self.delete_cq.eq(delete_cq),
                     self.page.eq(self._page)]
        qid, cqid = c.cdw10[:16], c.cdw11[16:]
        qid_ok = Signal()
        m.d.sync += self.qid_ok.eq(qid_ok)
        cqid_ok, size_ok, contiguous, aligned = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            qid_ok.eq((qid != 0) & (qid <= self.io_queues)),
            cqid_ok.eq((cqid != 0) & (cqid <= self.io_queues)),
            size_ok.eq((c.cdw10[16:] != 0) & (c.cdw10[16:] < self.queue_size)),
            contiguous.eq(c.cdw11[0]),
            aligned.eq(c.prp1[:12] == 0),
        ]

        # The most general objection stands last and wins.
        with m.If((c.cdw11[16:] > self.io_queues) & c.cdw11[1]):
            m.d.comb += create_cq.eq(Status.INVALID_INTERRUPT_VECTOR)
        with m.If(~self.other.cq_valid):
            m.d.comb += create_sq.eq(Status.COMPLETION_QUEUE_INVALID)
        for status, taken in ((create_cq, self.queue.cq_valid),
                              (create_sq, self.queue.sq_valid | ~cqid_ok)):
            with m.If(~aligned):
                m.d.comb += status.eq(Status.INVALID_PRP_OFFSET)
            with m.If(~size_ok):
                m.d.comb += status.eq(Status.INVALID_QUEUE_SIZE)
            with m.If(~qid_ok | taken):
                m.d.comb += status.eq(Status.INVALID_QUEUE_ID)
            with m.If(~contiguous):
                m.d.comb += status.eq(Status.INVALID_FIELD)
        with m.If(self.queue.cq_users != 0):
            m.d.comb += delete_cq.eq(Status.INVALID_QUEUE_DELETION)
        with m.If(~qid_ok | ~self.queue.cq_valid):
            m.d.comb += delete_cq.eq(Status.INVALID_QUEUE_ID)

        self._pages(m, c)
        with m.If(c.bad):
            m.d.comb += self._general.eq(Status.INVALID_FIELD)
        with m.Switch(c.opcode):
            with m.Case(*AdminOpcode):
                pass
            with m.Default():
                m.d.comb += self._general.eq(Status.INVALID_OPCODE)

        return m

    def _pages(self, m, c):
        p = self._page
        log_id = c.cdw10[:8]
        words, at, end = Signal(32), Signal(64), Signal(11)
        m.d.comb += [
            words.eq(Cat(c.cdw10[16:], c.cdw11[:16]) + 1),
            at.eq(Cat(c.cdw12, c.cdw13)),
            end.eq(Mux(log_id == LogPage.ERROR, 64 * ERROR_ENTRIES, 512)),
            p.function_id.eq(c.function_id), p.nsid.eq(c.nsid),
            p.prp1.eq(c.prp1), p.prp2.eq(c.prp2),
        ]
        with m.If(c.opcode == AdminOpcode.IDENTIFY):
            m.d.comb += p.words.eq(_PAGE_WORDS)
            with m.Switch(c.cdw10[:8]):
                for cns, kind in ((IdentifyCns.NAMESPACE, PageKind.NAMESPACE),
                                  (IdentifyCns.CONTROLLER, PageKind.CONTROLLER),
                                  (IdentifyCns.ACTIVE_NAMESPACES, PageKind.LIST),
                                  (IdentifyCns.DESCRIPTORS, PageKind.DESCRIPTORS)):
                    with m.Case(cns):
                        m.d.comb += p.kind.eq(kind)
                        wrong = (c.nsid == 0) | (c.nsid > VOLUMES)
                        if cns == IdentifyCns.ACTIVE_NAMESPACES:
                            wrong = c.nsid >= 0xFFFF_FFFE  # a list begins above it
                        if cns != IdentifyCns.CONTROLLER:
                            m.d.comb += self._general.eq(Mux(wrong, Status.INVALID_NAMESPACE, 0))
                with m.Default():
                    m.d.comb += self._general.eq(Status.INVALID_FIELD)
        with m.Elif(c.opcode == AdminOpcode.GET_LOG_PAGE):
            m.d.comb += [p.words.eq(words), p.first.eq(at[2:32])]
            with m.If((words > _PAGE_WORDS) | (at[:2] != 0) | (at > end)):
                m.d.comb += self._general.eq(Status.INVALID_FIELD)
            with m.Switch(log_id):
                for log, kind in ((LogPage.ERROR, PageKind.ERROR), (LogPage.SMART, PageKind.SMART),
                                  (LogPage.FIRMWARE_SLOT, PageKind.FIRMWARE)):
                    with m.Case(log):
                        m.d.comb += p.kind.eq(kind)
                with m.Default():
                    m.d.comb += self._general.eq(Status.INVALID_LOG_PAGE)
