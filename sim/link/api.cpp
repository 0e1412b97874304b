// What Python calls, by ctypes, in the simulator's own process.
#include <algorithm>
#include <cstring>

#include "dram.hpp"
#include "events.hpp"
#include "ledger.hpp"
#include "link.hpp"
#include "mailbox.hpp"
#include "memory.hpp"
#include "monitor.hpp"
#include "root.hpp"
#include "settings.hpp"
#include "shim.hpp"
#include "wire.hpp"

namespace {

std::vector<ledger::Entry> ledger_copy;

uint32_t copy_out(const std::vector<uint8_t> &from, uint8_t *to, uint32_t most) {
    uint32_t count = uint32_t(std::min<size_t>(from.size(), most));
    if (count) memcpy(to, from.data(), count);
    return count;
}

}  // namespace

#define API extern "C" __attribute__((visibility("default")))

API int oc_set(const char *name, double value) { return settings::set(name, value); }
API double oc_get(const char *name) { return settings::get(name); }

API void oc_reset() {
    events::reset();
    ledger::reset();
    monitor::reset();
    memory::reset();
    root::reset();
    link::reset();
    wire::reset();
    dram::reset();
    mailbox::reset();
    shim::reset();
    link::trace = 0;
}

API void oc_link(int up) {
    shim::reset();
    link::set_up(up);
}
API uint64_t oc_now_ps() { return events::now_ps; }
API uint64_t oc_cycle() { return events::cycle; }
// Time that passes without clocks: the card, all queues and both lanes rest.
API void oc_skip(int64_t time_ps) {
    events::skipped_ps += time_ps;
    events::now_ps += time_ps;
}
API uint64_t oc_skipped_ps() { return events::skipped_ps; }
API int oc_busy() { return shim::busy(); }
API uint64_t oc_trace() { return link::trace; }

// --- memory ---

API uint8_t *oc_memory_map(uint64_t base, uint64_t size, uint32_t guest, uint32_t kind,
                           const char *path) {
    return memory::map(base, size, guest, memory::Kind(kind), path);
}
API uint8_t *oc_memory_map_file(uint64_t base, uint64_t size, uint32_t guest, int file,
                                uint64_t offset) {
    return memory::map_file(base, size, guest, file, offset);
}
API void oc_memory_unmap(uint32_t guest) { memory::unmap(guest); }
API void oc_assign(uint32_t requester, uint32_t guest) { memory::assign(requester, guest); }
API void oc_tolerate(uint32_t requester, int faults) { memory::tolerate(requester, faults); }
API void oc_range(uint64_t base, uint64_t size, uint32_t purpose, uint32_t requester, int32_t watch,
                  int poisoned) {
    memory::set_range(base, size, {0, purpose, requester, watch, bool(poisoned)});
}
API void oc_fault(uint64_t base, uint64_t size, int fault, int64_t skip, int64_t count,
                  uint64_t delay_ps) {
    memory::add_trap({base, base + size, memory::Fault(fault), skip, count, delay_ps});
}
API uint8_t *oc_dram_map(uint64_t size, const char *path) { return dram::map(size, path); }

// --- the host's requests ---

API uint32_t oc_memory_read(uint64_t address, uint32_t length) {
    return root::memory_read(address, length);
}
API void oc_memory_write(uint64_t address, const uint8_t *octets, uint32_t length) {
    root::memory_write(address, octets, length);
}
API uint32_t oc_config(int write, int type1, uint32_t bdf, uint32_t offset, uint32_t size,
                       uint32_t value) {
    return root::config(write, type1, bdf, offset, size, value);
}
API uint32_t oc_raw(const uint32_t *dw, const uint8_t *octets, uint32_t length, int answered) {
    return root::raw(dw, octets, length, answered);
}
// The header of the answer's last completion, before the answer is taken.
API int oc_answer_header(uint32_t ticket, uint32_t *dw) {
    root::Answer *answer = root::answer_of(ticket);
    if (!answer || !answer->done) return -1;
    std::copy(answer->dw, answer->dw + 4, dw);
    return 0;
}
// The status (or -1 while it is open), and the octets of the answer.
API int oc_answer(uint32_t ticket, uint8_t *octets, uint32_t most, uint32_t *count) {
    root::Answer *answer = root::answer_of(ticket);
    if (!answer || !answer->done) return -1;
    *count = copy_out(answer->octets, octets, most);
    int status = int(answer->status);
    root::forget(ticket);
    return status;
}

// --- the wire, the processor's mailboxes ---

API void oc_wire_send(const uint8_t *octets, uint32_t length, int error, uint64_t not_before_ps) {
    wire::send(octets, length, error, not_before_ps);
}
API uint64_t oc_wire_waiting() { return wire::waiting(); }
API uint64_t oc_wire_count() { return wire::from_card.size(); }
API uint32_t oc_wire_frame(uint64_t index, uint8_t *octets, uint32_t most, uint64_t *time_ps,
                           int *error) {
    if (index >= wire::from_card.size()) return 0;
    const wire::Frame &frame = wire::from_card[index];
    *time_ps = frame.time_ps;
    *error = frame.error;
    return copy_out(frame.octets, octets, most);
}
API uint32_t oc_management(uint32_t address, int write, uint64_t data, int follows) {
    return mailbox::access(address, write, data, follows);
}
API int oc_management_reply(uint32_t ticket, uint64_t *data) {
    mailbox::Reply *reply = mailbox::reply_of(ticket);
    if (!reply || !reply->done) return -1;
    *data = reply->data;
    int error = reply->error;
    mailbox::forget(ticket);
    return error;
}
API uint64_t oc_exceptions() { return mailbox::exceptions.size(); }
API int oc_exception(uint8_t *meta, uint32_t meta_most, uint8_t *octets, uint32_t most,
                     uint64_t *time_ps) {
    if (mailbox::exceptions.empty()) return -1;
    mailbox::Packet &packet = mailbox::exceptions.front();
    copy_out(packet.meta, meta, meta_most);
    int count = int(copy_out(packet.octets, octets, most));
    *time_ps = packet.time_ps;
    mailbox::exceptions.pop_front();
    return count;
}
API void oc_inject(const uint8_t *meta, uint32_t meta_count, const uint8_t *octets,
                   uint32_t count) {
    mailbox::Packet packet;
    packet.meta.assign(meta, meta + meta_count);
    packet.octets.assign(octets, octets + count);
    if (count) mailbox::injected.push_back(std::move(packet));
}

// --- events, verdicts, the ledger ---

API void oc_masks(uint32_t log, uint32_t wake) {
    events::log_mask = log;
    events::wake_mask = wake;
}
API uint32_t oc_drain(events::Record *records, uint32_t most) {
    uint32_t count = uint32_t(std::min<size_t>(events::queue.size(), most));
    std::copy(events::queue.begin(), events::queue.begin() + count, records);
    events::queue.erase(events::queue.begin(), events::queue.begin() + count);
    return count;
}
API void oc_wake_at(uint32_t kind, uint64_t count) { events::wake_at(events::Kind(kind), count); }
API void oc_wake_at_time(uint64_t time_ps) { events::wake_at_time(time_ps); }
API uint64_t oc_count(uint32_t kind) { return events::counts[kind]; }
API const events::Record *oc_log(uint64_t *count) {
    *count = events::log.size();
    return events::log.data();
}
API void oc_log_clear() { events::log.clear(); }

API uint64_t oc_violations() { return monitor::violations.size(); }
API const char *oc_violation(uint64_t index) {
    return index < monitor::violations.size() ? monitor::violations[index].c_str() : "";
}
API void oc_violations_clear() { monitor::violations.clear(); }
API void oc_report(const char *text) { monitor::violation("%s", text); }
API void oc_capability(uint32_t offset) { monitor::set_capability(offset); }
API uint64_t oc_reads_in_flight(uint32_t requester) {
    return requester == memory::ANY ? monitor::reads_in_flight()
                                    : monitor::reads_in_flight_of(requester);
}
API uint32_t oc_ledger(ledger::Entry *entries, uint32_t most) {
    if (!entries) {
        ledger_copy = ledger::entries();
        return uint32_t(ledger_copy.size());
    }
    uint32_t count = uint32_t(std::min<size_t>(ledger_copy.size(), most));
    std::copy(ledger_copy.begin(), ledger_copy.begin() + count, entries);
    return count;
}
API void oc_ledger_clear() {
    ledger::reset();
    link::octets[0] = link::octets[1] = 0;
}
API uint64_t oc_link_octets(int direction) { return link::octets[direction & 1]; }
