#include "tlp.hpp"

namespace tlp {

Tlp memory_request(bool write, uint64_t address, unsigned length, unsigned requester,
                   unsigned tag) {
    Tlp t;
    unsigned skip = address & 3;
    unsigned length_dw = length ? (skip + length + 3) / 4 : 1;
    unsigned first = 0, last = 0;
    if (length) {
        unsigned tail = (skip + length - 1) % 4;  // lane of the last octet
        first = 15u << skip & 15;
        if (length_dw == 1) first &= 15u >> (3 - tail);
        else last = 15u >> (3 - tail);
    }
    bool four = address >> 32;
    t.dw[0] = (write ? MWR_3 : MRD_3) << 24 | (four ? 1u << 29 : 0) | (length_dw & 0x3ff);
    t.dw[1] = requester << 16 | tag << 8 | last << 4 | first;
    t.dw[2] = four ? uint32_t(address >> 32) : uint32_t(address) & ~3u;
    t.dw[3] = four ? uint32_t(address) & ~3u : 0;
    return t;
}

Tlp config_request(bool write, bool type1, unsigned bdf, unsigned offset, unsigned size,
                   unsigned requester, unsigned tag) {
    Tlp t;
    unsigned first = ((1u << size) - 1) << (offset & 3) & 15;
    t.dw[0] = ((write ? CFG_WR_0 : CFG_RD_0) + type1) << 24 | 1;
    t.dw[1] = requester << 16 | tag << 8 | first;
    t.dw[2] = bdf << 16 | (offset & 0xffc);
    return t;
}

Tlp completion(unsigned status, unsigned completer, unsigned requester, unsigned tag,
               unsigned byte_count, unsigned lower_address, unsigned length_dw) {
    Tlp t;
    t.dw[0] = (length_dw ? CPL_D : CPL) << 24 | (length_dw & 0x3ff);
    t.dw[1] = completer << 16 | status << 13 | (byte_count & 0xfff);
    t.dw[2] = requester << 16 | tag << 8 | (lower_address & 0x7f);
    return t;
}

}  // namespace tlp
