"""What the parts of the house tell one another; shapes only.

A queue is known by ``queue_id``: ``qid`` in the low bits, ``function_id`` above. Qid 0 is the admin
queue; the highest number that ``qid_width`` holds is the *event queue*, which no guest can name:
a visit to it posts an asynchronous event. A command in flight is known by its ``slot``.
"""

from amaranth.lib import data

__all__ = ["STATUS_WIDTH", "PIECE_OCTETS", "PIECES_WIDTH", "OFFSET_WIDTH", "OCTETS_WIDTH",
           "doorbell_write", "queue_update", "fetched_sqe", "command", "admin_command", "result",
           "release", "volume_row", "volume_update", "segment", "piece", "final", "piece_done",
           "posted_row", "released_queue", "taken_places", "fetch",
           "admin_row", "queue_record", "function_record", "ended_command", "journal_row",
           "error_row", "named_command", "abort_row", "allowance"]

STATUS_WIDTH = 11   # SCT and SC
PIECE_OCTETS = 512  # a transfer is moved in pieces of this size
PIECES_WIDTH = 20   # pieces of one command: 65,536 blocks of 4,096 octets
OFFSET_WIDTH = 52   # octets into a volume: 40 bits of blocks of 4,096 octets
OCTETS_WIDTH = 29   # octets of one command


def doorbell_write(*, function_id_width):
    """Both doorbells of one qid lie in one group of 8 octets; ``tail_valid``, ``head_valid`` say
    which were written."""
    return data.StructLayout({
        "function_id": function_id_width,
        "qid":         13,
        "tail_valid":  1,
        "head_valid":  1,
        "tail":        32,
        "head":        32,
    })


def queue_update(*, function_id_width, qid_width):
    """A queue comes into being (``valid``) or ends. ``size`` is 0's based."""
    return data.StructLayout({
        "function_id": function_id_width,
        "qid":         qid_width,
        "completion":  1,
        "valid":       1,
        "size":        16,
        "base":        64,
        "cqid":        qid_width,
        "vector":      11,
        "interrupts":  1,
    })


def fetched_sqe(*, function_id_width, qid_width):
    """An entry as it lay in the guest's memory, and whence it came."""
    return data.StructLayout({
        "function_id": function_id_width,
        "qid":         qid_width,
        "cqid":        qid_width,
        "sqe":         512,
    })


def command(*, function_id_width, qid_width, slot_width):
    """A command as dispatch understood it; each part keeps in memory what it needs."""
    return data.StructLayout({
        "slot":        slot_width,
        "function_id": function_id_width,
        "qid":         qid_width,
        "cqid":        qid_width,
        "cid":         16,
        "opcode":      8,
        "bad":         1,   # fused, or not by PRP
        "nsid":        32,
        "prp1":        64,
        "prp2":        64,
        "cdw10":       32,
        "cdw11":       32,
        "cdw12":       32,
        "cdw13":       32,
        "volume":      2,
        "blocks_4096": 1,   # of its volume
        "blocks":      40,
        "zeroes":      1,
        "compare":     1,
        "offset":      OFFSET_WIDTH,
        "octets":      OCTETS_WIDTH,
    })


def admin_command(*, slot_width):
    """A place in the admin engine's queue; ``again`` if it was there and has to wait."""
    return data.StructLayout({"slot": slot_width, "again": 1})


def result(*, slot_width):
    """The last word about a command; ``silent`` ends it without a CQE. An ``event`` is posted for
    the command of the admin queue whose ``cid`` it carries."""
    return data.StructLayout({
        "slot":   slot_width,
        "status": STATUS_WIDTH,
        "dw0":    32,
        "silent": 1,
        "event":  1,
        "cid":    16,
    })


def release(*, function_id_width, qid_width, slot_width):
    """``count`` commands of a queue are over; ``slot`` counts if ``has_slot``."""
    return data.StructLayout({
        "function_id": function_id_width,
        "qid":         qid_width,
        "slot":        slot_width,
        "has_slot":    1,
        "count":       4,
    })


def released_queue(*, function_id_width, qid_width):
    """Whose command was released."""
    return data.StructLayout({"function_id": function_id_width, "qid": qid_width})


def taken_places(*, function_id_width):
    """``count`` places of a pool that a function takes, or gives back."""
    return data.StructLayout({"function_id": function_id_width, "count": 4})


def volume_row():
    """A volume: where it begins in DRAM, how long it is, what it permits."""
    return data.StructLayout({
        "valid":       1,
        "read_only":   1,
        "blocks_4096": 1,
        "base":        48,
        "blocks":      40,
    })


def volume_update(*, function_id_width):
    """A row of the volume table is written."""
    return data.StructLayout({
        "function_id": function_id_width,
        "volume":      2,
        "row":         volume_row(),
    })


def segment(*, function_id_width, slot_width):
    """Up to a page of a transfer, contiguous on both sides; ``capped`` ones count against their
    function's cap, ``unproven`` ones against that of all functions whose memory is not known."""
    return data.StructLayout({
        "slot":        slot_width,
        "capped":      1,
        "unproven":    1,
        "function_id": function_id_width,
        "volume":      2,
        "zeroes":      1,
        "compare":     1,
        "address":     64,
        "offset":      OFFSET_WIDTH,
        "length":      range(4097),
    })


def piece(*, function_id_width, slot_width, tag_width):
    """Up to 512 octets of a segment, under a tag of its own."""
    return data.StructLayout({
        "slot":        slot_width,
        "capped":      1,
        "unproven":    1,
        "function_id": function_id_width,
        "volume":      2,
        "zeroes":      1,
        "compare":     1,
        "address":     64,
        "offset":      OFFSET_WIDTH,
        "length":      range(PIECE_OCTETS + 1),
        "tag":         tag_width,
        "refused":     1,   # not inside its volume
    })


def final(*, slot_width):
    """No more pieces of a command will be issued than ``count``; ``status`` unless 0."""
    return data.StructLayout({
        "slot": slot_width, "count": PIECES_WIDTH, "status": STATUS_WIDTH})


def piece_done(*, slot_width):
    """A piece is over."""
    return data.StructLayout({"slot": slot_width, "status": STATUS_WIDTH})


def posted_row():
    """A completion queue as the card fills it. ``finished`` counts reservations that were used or
    given back."""
    return data.StructLayout({"tail": 16, "phase": 1, "finished": 16})


def fetch(*, function_id_width, qid_width):
    """Up to 8 entries of a submission queue to be fetched; an ``event`` needs no fetch.

    By its ``own`` place a function fetches one entry.
    """
    return data.StructLayout({
        "function_id": function_id_width,
        "qid":         qid_width,
        "cqid":        qid_width,
        "address":     64,
        "count":       4,
        "event":       1,
        "own":         1,
    })


def admin_row(*, function_id_width, qid_width):
    """An admin command as it is kept by slot."""
    return data.StructLayout({
        "function_id": function_id_width, "qid": qid_width, "cid": 16, "opcode": 8, "bad": 1,
        "nsid": 32, "prp1": 64, "prp2": 64, "cdw10": 32, "cdw11": 32, "cdw12": 32, "cdw13": 32})


def queue_record(*, qid_width):
    """What the admin engine knows of the queues of one qid."""
    return data.StructLayout({
        "sq_valid": 1, "sq_ending": 1, "sq_cqid": qid_width, "cq_valid": 1,
        "cq_users": qid_width + 1})


def function_record(*, slot_width):
    """What the admin engine knows of a function."""
    return data.StructLayout({
        "io_queues": 8,    # that exist, both kinds
        "held":      3,    # Asynchronous Event Requests
        "awake":     1,    # it sent a command since its controller was reset
        "pending":   1,    # an event is due
        "masked":    1,    # until the log page is read
        "visiting":  1,    # the event queue will be visited
        "aborting":  1,    # the Abort in `abort_slot` waits for the end of its command
        "abort_slot":  slot_width,
        "abort_round": 1,  # of the function's abort row when it began to wait
    })


def ended_command(*, slot_width):
    """A command is over with ``status``; ``told`` if the guest sees a CQE of it."""
    return data.StructLayout({"slot": slot_width, "status": STATUS_WIDTH, "told": 1})


def journal_row():
    """What the commands of a function did. Data units are 1,000 blocks of 512 octets, the
    ``rest`` is less than one; ``entries`` of the error log are valid."""
    return data.StructLayout({
        "read_units": 32, "read_rest": 10, "written_units": 32, "written_rest": 10,
        "reads": 40, "writes": 40, "errors": 32, "entries": 3})


def error_row():
    """A command that failed."""
    return data.StructLayout({
        "error_count": 32, "qid": 16, "cid": 16, "status": STATUS_WIDTH, "lba": 64, "nsid": 32})


def named_command(*, function_id_width, qid_width):
    """A command as its guest knows it."""
    return data.StructLayout({"function_id": function_id_width, "qid": qid_width, "cid": 16})


def abort_row():
    """Of a function: ``round`` changes when a command to be aborted is over; whether it was."""
    return data.StructLayout({"round": 1, "aborted": 1})


def allowance():
    """What a function may ask for: credit per round (16 fraction bits) and at most, of commands
    and of blocks of 512 octets. A rate of 0 does not limit."""
    return data.StructLayout({
        "commands": 32, "commands_burst": 16, "blocks": 40, "blocks_burst": 24})
