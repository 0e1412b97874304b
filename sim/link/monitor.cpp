#include "monitor.hpp"

#include <cstdarg>
#include <cstdio>
#include <unordered_map>
#include <unordered_set>

#include "events.hpp"
#include "settings.hpp"

namespace monitor {

std::vector<std::string> violations;

static std::unordered_set<uint32_t> tags;  // requester id << 8 | tag
static std::unordered_map<unsigned, unsigned> in_flight;
// What a function may do: Device Control's four reports, SERR# Enable, Bus Master Enable.
enum : unsigned { REPORTS = 15, SERR = 16, MASTER = 32 };
static std::unordered_map<unsigned, unsigned> rights;
struct Write {
    unsigned bdf, given;
};
static std::unordered_map<unsigned, Write> writes;  // by tag: at the card, not completed
static unsigned physical[2];  // ids of the two
static bool vf_enable[2];
static unsigned capability;  // offset of the PCI Express capability, the same in all functions
constexpr size_t KEPT = 1000;  // more than that helps nobody

void reset() {
    violations.clear();
    link_down();
}

void violation(const char *format, ...) {
    char text[400];
    int head = snprintf(text, sizeof text, "%.3f ns: ", events::now_ps / 1000.0);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + head, sizeof text - head, format, arguments);
    va_end(arguments);
    events::record(events::VIOLATION, violations.size(), 0, 0);
    if (violations.size() < KEPT) violations.emplace_back(text);
}

void set_capability(unsigned offset) { capability = offset; }

void link_down() {
    rights.clear();
    writes.clear();
    tags.clear();
    in_flight.clear();
    vf_enable[0] = vf_enable[1] = false;
}

// Which physical function a function is or belongs to.
static unsigned family(unsigned bdf) {
    unsigned number = bdf & 0xff;
    return number < 2 ? number : number >= settings::chosen.first_nvme_vf;
}

// [sriov-1.1: 3.3.3.1] VFs begin anew with VF Enable, none of them bus master.
static void vfs_enabled(unsigned pf, bool enable) {
    if (enable && !vf_enable[pf])
        for (auto &[bdf, right] : rights)
            if ((bdf & 0xff) >= 2 && family(bdf) == pf) right &= ~MASTER;
    vf_enable[pf] = enable;
}

// The rights that a write decides on; those that it gives.
static unsigned decided(unsigned offset, unsigned size, uint32_t value, unsigned &given) {
    given = 0;
    // [pcie-5.0: 7.5.1.1.3] Command: bit 2, Bus Master Enable; bit 8, SERR# Enable.
    if (offset == 4) {
        given = (value & 4 ? MASTER : 0) | (size >= 2 && value & 0x100 ? SERR : 0);
        return MASTER | (size >= 2 ? SERR : 0);
    }
    if (!capability || offset != capability + 8) return 0;
    if (size >= 2 && value >> 15 & 1) return REPORTS | SERR | MASTER;  // FLR
    given = value & REPORTS;
    return REPORTS;
}

void asked(unsigned tag, unsigned bdf, unsigned offset, unsigned size, uint32_t value) {
    unsigned given;
    decided(offset, size, value, given);
    writes[tag] = {bdf, given};
}

void answered(unsigned tag) { writes.erase(tag); }

// What a function may do by one of the writes that it has seen, or that it may have seen.
static unsigned rights_of(unsigned bdf) {
    auto found = rights.find(bdf);
    unsigned may = found == rights.end() ? 0 : found->second;
    for (auto &[tag, write] : writes)
        if (write.bdf == bdf) may |= write.given;
    return may;
}

void configured(unsigned bdf, unsigned offset, unsigned size, uint32_t value) {
    unsigned given, mask = decided(offset, size, value, given);
    rights[bdf] = (rights[bdf] & ~mask) | given;
    if ((bdf & 0xff) <= 1) physical[bdf & 1] = bdf;
    // [pcie-5.0: 7.5.3.4] Device Control: function 0's sizes hold for the device.
    if (capability && offset == capability + 8 && size >= 2) {
        if ((bdf & 0xff) == 0) settings::chosen.mps = 128 << (value >> 5 & 7);
        if ((bdf & 0xff) == 0) {  // VFs follow their PF
            settings::chosen.mrrs = 128 << (value >> 12 & 7);
            settings::chosen.extended_tags = value >> 8 & 1;
        } else if ((bdf & 0xff) == 1) {
            settings::chosen.nvme_mrrs = 128 << (value >> 12 & 7);
            settings::chosen.nvme_extended_tags = value >> 8 & 1;
        }
        if ((bdf & 0xff) <= 1 && value >> 15 & 1) vf_enable[bdf & 1] = false;
    }
    if (settings::chosen.sriov && offset == settings::chosen.sriov + 8 && (bdf & 0xff) <= 1)
        vfs_enabled(bdf & 1, value & 1);
}

// Enabled octets must be one run from the first to the last.
static bool contiguous(const tlp::Tlp &t) {
    unsigned first = t.first_be(), last = t.last_be();
    if (t.length_dw() == 1) {
        unsigned run = first ? first >> __builtin_ctz(first) : 0;
        return last == 0 && (run & (run + 1)) == 0;
    }
    bool to_the_top = first == 15 || first == 14 || first == 12 || first == 8;
    bool from_bottom = last == 15 || last == 7 || last == 3 || last == 1;
    return to_the_top && from_bottom;
}

static void check_memory(const tlp::Tlp &t) {
    const char *name = t.is_memory_read() ? "MRd" : "MWr";
    unsigned requester = t.requester(), octets = 4 * t.length_dw();
    uint64_t address = t.address();
    // [pcie-5.0: 2.2.7] and [pcie-5.0: 2.2.5]
    if (!contiguous(t))
        violation("%s of %04x: byte enables %x %x over %u DW", name, requester, t.first_be(),
                  t.last_be(), t.length_dw());
    if ((address & 0xfff) + octets > 4096)
        violation("%s of %04x crosses 4 KiB: %llx + %u", name, requester,
                  (unsigned long long)address, octets);
    if (t.four_dw() && address >> 32 == 0)
        violation("%s of %04x: 4 DW header for an address below 4 GiB", name, requester);
    if (t.is_memory_write() && octets > settings::chosen.mps)
        violation("MWr of %04x: %u octets exceed MPS", requester, octets);
    bool nvme = family(requester);
    if (t.is_memory_read()
        && octets > (nvme ? settings::chosen.nvme_mrrs : settings::chosen.mrrs))
        violation("MRd of %04x: %u octets exceed MRRS", requester, octets);
    if (t.is_memory_read() && t.tag() >= 32
        && !(nvme ? settings::chosen.nvme_extended_tags : settings::chosen.extended_tags))
        violation("MRd of %04x: tag %u while Extended Tag is off", requester, t.tag());
    if (t.is_memory_read() && tags.count(requester << 8 | t.tag()))
        violation("MRd of %04x: tag %u is in flight", requester, t.tag());
    if (!(rights_of(requester) & MASTER))
        violation("%s of %04x at %llx while it is not bus master", name, requester,
                  (unsigned long long)address);
}

// [pcie-5.0: 2.2.8.3, 6.2.5] error messages, of functions that may send them
static void check_message(const tlp::Tlp &t) {
    unsigned requester = t.requester(), code = t.message_code();
    if (t.fmt_type() != tlp::MSG || t.dw[0] & 0x3ff || t.tag() || t.dw[2] || t.dw[3])
        violation("Msg of %04x: not one to the root complex without data: %08x %08x %08x %08x",
                  requester, t.dw[0], t.dw[1], t.dw[2], t.dw[3]);
    // [sriov-1.1: 4.2.1.1] the physical function's bits hold for its virtual ones
    unsigned wanted = code == 0x30 ? 1 : code == 0x31 ? 2 | SERR : code == 0x33 ? 4 | SERR : 0;
    if (!wanted) violation("Msg of %04x: code %02x", requester, code);
    else if (!(rights_of(physical[family(requester)]) & wanted))
        violation("Msg %02x of %04x is not enabled there", code, requester);
}

void check(const tlp::Tlp &t) {
    if (t.nullified) violation("the card sent a nullified TLP");
    if (t.poisoned()) violation("the card sent a poisoned TLP");
    if (t.dw[0] >> 15 & 1) violation("the card sent a TLP with digest");
    if (t.dw[0] >> 20 & 7) violation("traffic class %u without a channel", t.dw[0] >> 20 & 7);
    if (t.has_data() && t.data.size() != 4 * t.length_dw())
        violation("TLP of %u DW has %zu octets", t.length_dw(), t.data.size());
    if (t.is_memory_read() || t.is_memory_write()) check_memory(t);
    else if (t.is_message()) check_message(t);
    else if (!t.is_completion()) violation("TLP of unknown kind %02x", t.fmt_type());
}

void read_sent(const tlp::Tlp &t) {
    if (tags.insert(t.requester() << 8 | t.tag()).second) in_flight[t.requester()]++;
}

void read_ended(unsigned requester, unsigned tag) {
    if (tags.erase(requester << 8 | tag)) in_flight[requester]--;
}

uint64_t reads_in_flight() { return tags.size(); }

uint64_t reads_in_flight_of(unsigned requester) {
    auto found = in_flight.find(requester);
    return found == in_flight.end() ? 0 : found->second;
}

}  // namespace monitor
