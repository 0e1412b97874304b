// A transaction layer packet: header as four double words, payload as octets.
// Ref: pcie-5.0, 2.2 (Transaction Layer Protocol - Packet Definition)
#pragma once
#include <cstdint>
#include <vector>

namespace tlp {

// Fmt and Type together, as they stand in the first octet.
enum FmtType : unsigned {
    MRD_3 = 0x00, MRD_4 = 0x20, MWR_3 = 0x40, MWR_4 = 0x60,
    CFG_RD_0 = 0x04, CFG_WR_0 = 0x44, CFG_RD_1 = 0x05, CFG_WR_1 = 0x45, CPL = 0x0A, CPL_D = 0x4A,
    MSG = 0x30,  // the lowest three bits are the routing: 0, to the root complex
};
enum Status : unsigned { SC = 0, UR = 1, CRS = 2, CA = 4 };
enum Class { POSTED = 0, NON_POSTED = 1, COMPLETION = 2 };

struct Tlp {
    uint32_t dw[4] = {0, 0, 0, 0};
    std::vector<uint8_t> data;
    bool nullified = false;

    unsigned fmt_type() const { return dw[0] >> 24; }
    bool has_data() const { return dw[0] >> 30 & 1; }
    bool four_dw() const { return dw[0] >> 29 & 1; }
    bool poisoned() const { return dw[0] >> 14 & 1; }
    unsigned length_dw() const { return (dw[0] & 0x3ff) ? (dw[0] & 0x3ff) : 1024; }
    unsigned requester() const { return dw[1] >> 16; }
    unsigned tag() const { return dw[1] >> 8 & 0xff; }
    unsigned first_be() const { return dw[1] & 15; }
    unsigned last_be() const { return dw[1] >> 4 & 15; }
    uint64_t address() const {  // of the first double word
        return four_dw() ? uint64_t(dw[2]) << 32 | (dw[3] & ~3u) : dw[2] & ~3u;
    }
    unsigned completer() const { return dw[1] >> 16; }
    unsigned status() const { return dw[1] >> 13 & 7; }
    unsigned byte_count() const { return (dw[1] & 0xfff) ? (dw[1] & 0xfff) : 4096; }
    unsigned completed_requester() const { return dw[2] >> 16; }
    unsigned completed_tag() const { return dw[2] >> 8 & 0xff; }
    unsigned lower_address() const { return dw[2] & 0x7f; }

    bool is_memory_read() const { return (fmt_type() & ~0x20u) == MRD_3; }
    bool is_memory_write() const { return (fmt_type() & ~0x20u) == MWR_3; }
    // CplLk and CplDLk, which answer a locked read, count as well.
    bool is_completion() const { return (fmt_type() & ~0x41u) == CPL; }
    bool is_config() const { return (fmt_type() & ~0x41u) == CFG_RD_0; }
    bool is_message() const { return (fmt_type() & ~0x47u) == MSG; }
    unsigned message_code() const { return dw[1] & 0xff; }
    Class credit_class() const {
        return is_completion() ? COMPLETION
                               : is_memory_write() || is_message() ? POSTED : NON_POSTED;
    }
    unsigned data_credits() const { return has_data() ? (length_dw() + 3) / 4 : 0; }
    // Octets on the wire: STP token with sequence number 4, header, payload, LCRC 4.
    unsigned wire_octets() const {
        return 8 + (four_dw() ? 16 : 12) + (has_data() ? 4 * length_dw() : 0);
    }
    unsigned first_skip() const { return first_be() ? __builtin_ctz(first_be()) : 0; }
    unsigned last_skip() const {  // octets not enabled at the end
        unsigned be = length_dw() == 1 ? first_be() : last_be();
        return be ? __builtin_clz(be) - 28 : 3;
    }
    // Octets enabled, from the first to the last.
    unsigned octets() const {
        if (first_be() == 0) return 0;
        return 4 * length_dw() - first_skip() - last_skip();
    }
};

// A request to `length` octets at `address`; the caller adds the payload to writes.
Tlp memory_request(bool write, uint64_t address, unsigned length, unsigned requester, unsigned tag);
Tlp config_request(bool write, bool type1, unsigned bdf, unsigned offset, unsigned size,
                   unsigned requester, unsigned tag);
Tlp completion(unsigned status, unsigned completer, unsigned requester, unsigned tag,
               unsigned byte_count, unsigned lower_address, unsigned length_dw);

}  // namespace tlp
