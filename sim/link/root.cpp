#include "root.hpp"

#include <algorithm>
#include <cstring>
#include <deque>
#include <random>
#include <unordered_map>

#include "events.hpp"
#include "ledger.hpp"
#include "link.hpp"
#include "memory.hpp"
#include "monitor.hpp"
#include "settings.hpp"

namespace root {

using settings::chosen;
using tlp::Tlp;

constexpr unsigned REQUESTER = 0;  // the root complex's own id

struct Read {
    Tlp request;
    uint32_t purpose;
    double dequeue_ps, ready_ps;
    std::vector<uint8_t> octets;  // whole double words
    unsigned status = tlp::SC, sent_dw = 0;
    bool poisoned = false;
};

struct Request {
    Tlp t;
    uint32_t purpose, function, ticket;
};

static std::deque<Read> waiting;  // until the root complex dequeues them
static std::deque<Read> ready;    // by `ready_ps`
static std::deque<Request> untagged;
static std::unordered_map<unsigned, Request> tagged;  // by tag
static std::unordered_map<uint32_t, Answer> answers;
static uint32_t next_ticket;
static unsigned next_tag;
static std::mt19937 dice;

void reset() {
    waiting.clear();
    ready.clear();
    untagged.clear();
    tagged.clear();
    answers.clear();
    next_ticket = 1;
    next_tag = 0;
    dice.seed(uint32_t(chosen.seed));
}

uint64_t reads_waiting() { return waiting.size() + ready.size(); }

bool busy() {
    return !waiting.empty() || !ready.empty() || !tagged.empty() || !untagged.empty();
}

static void end(uint32_t ticket, unsigned status, const std::vector<uint8_t> &octets) {
    Answer &answer = answers[ticket];
    answer.status = status;
    answer.octets = octets;
    answer.done = true;
    events::record(events::COMPLETION, ticket, status, octets.size());
}

// What the host had asked is answered with all ones by a root port without a link.
void link_down() {
    for (Read &read : waiting) monitor::read_ended(read.request.requester(), read.request.tag());
    for (Read &read : ready) monitor::read_ended(read.request.requester(), read.request.tag());
    waiting.clear();
    ready.clear();
    for (auto &item : tagged) end(item.second.ticket, tlp::UR, {});
    for (Request &request : untagged) end(request.ticket, tlp::UR, {});
    tagged.clear();
    untagged.clear();
    monitor::link_down();
}

// --- the card's requests ---

static void write(const Tlp &t, uint32_t) {
    unsigned skip = t.first_skip(), length = t.octets();
    uint64_t address = t.address() + skip;
    link::release(tlp::POSTED, t.data_credits());
    if (t.poisoned() || t.data.size() < skip + length) return;
    memory::Verdict verdict = memory::judge(t.requester(), address, length, true);
    if (!verdict.region || !length) return;
    uint64_t value = 0;
    memcpy(&value, t.data.data() + skip, length < 8 ? length : 8);
    if (verdict.region->kind == memory::MSIX) {
        events::record(events::INTERRUPT, t.requester(), address, value);
        return;
    }
    memcpy(verdict.region->octets + (address - verdict.region->base), t.data.data() + skip, length);
    if (verdict.watch >= 0) events::record(events::WATCH, verdict.watch, address, value);
}

static void completed(const Tlp &t) {
    auto found = tagged.find(t.completed_tag());
    if (t.completed_requester() != REQUESTER || found == tagged.end()) {
        monitor::violation("unexpected completion for %04x tag %u", t.completed_requester(),
                           t.completed_tag());
        return;
    }
    Request &request = found->second;
    Answer &answer = answers[request.ticket];
    memcpy(answer.dw, t.dw, sizeof answer.dw);
    bool read = t.status() == tlp::SC && !request.t.has_data();
    // What no function claims is refused in the name of any of them.
    if (request.function != ledger::NOBODY && t.completer() != request.function &&
        t.status() != tlp::UR)
        monitor::violation("completer id %04x, not %04x", t.completer(), request.function);
    bool memory_read = request.t.is_memory_read();
    unsigned expected = memory_read ? request.t.octets() : 4;
    unsigned remaining = expected - answer.octets.size();
    if (read != t.has_data())
        monitor::violation("completion of tag %u %s data", t.completed_tag(),
                           t.has_data() ? "has" : "lacks");
    if (read && t.byte_count() != (remaining ? remaining : 1))
        monitor::violation("byte count %u, not %u", t.byte_count(), remaining);
    unsigned skip = 0;
    if (memory_read && read) {
        skip = (request.t.address() + request.t.first_skip() + answer.octets.size()) & 0x7f;
        if (t.lower_address() != skip)
            monitor::violation("lower address %02x, not %02x", t.lower_address(), skip);
        skip &= 3;
    } else if (t.lower_address() != 0 && !(memory_read && !read)) {
        monitor::violation("lower address %02x, not 0", t.lower_address());
    }
    if (read && t.data.size() > skip) {
        unsigned here = std::min<unsigned>(t.data.size() - skip, remaining);
        answer.octets.insert(answer.octets.end(), t.data.begin() + skip,
                             t.data.begin() + skip + here);
        if (answer.octets.size() < expected) return;  // more to come
    }
    uint32_t ticket = request.ticket;
    tagged.erase(found);
    end(ticket, t.status(), std::vector<uint8_t>(answers[ticket].octets));
}

void arrived(Tlp &&t, uint32_t purpose) {
    if (t.is_completion()) {
        completed(t);
    } else if (t.is_memory_write()) {
        write(t, purpose);
    } else if (t.is_memory_read()) {
        Read read;
        double now = events::now_ps;
        read.dequeue_ps = now + chosen.dequeue_ps;
        read.ready_ps = now + chosen.host_latency_ps;
        if (chosen.latency_spread_ps > 0)
            read.ready_ps += chosen.latency_spread_ps * (dice() / 4294967296.0);
        read.purpose = purpose;
        read.request = std::move(t);
        waiting.push_back(std::move(read));
    } else {
        if (t.is_message()) events::record(events::MESSAGE, t.requester(), t.message_code(), 0);
        link::release(t.credit_class(), t.data_credits());
    }
}

// The root complex takes a read from its buffer and fetches the octets.
static void fetch(Read &&read) {
    const Tlp &t = read.request;
    link::release(tlp::NON_POSTED, 0);
    unsigned skip = t.first_skip(), length = t.octets();
    uint64_t address = t.address() + skip;
    read.octets.assign(4 * t.length_dw(), 0);
    memory::Verdict verdict = memory::judge(t.requester(), address, length, false);
    if (!verdict.region) read.status = tlp::UR;
    else if (length)
        memcpy(read.octets.data() + skip,
               verdict.region->octets + (address - verdict.region->base), length);
    if (memory::Trap *trap = memory::trap_of(address, length)) {
        if (trap->fault == memory::UNSUPPORTED) read.status = tlp::UR;
        if (trap->fault == memory::ABORT) read.status = tlp::CA;
        if (trap->fault == memory::POISON) read.poisoned = true;
        if (trap->fault == memory::DELAY) read.ready_ps += trap->delay_ps;
        if (trap->fault == memory::DROP) {
            monitor::read_ended(t.requester(), t.tag());
            return;
        }
    }
    auto place = ready.end();
    while (place != ready.begin() && std::prev(place)->ready_ps > read.ready_ps) --place;
    ready.insert(place, std::move(read));
}

void tick() {
    double now = events::now_ps;
    while (!waiting.empty() && waiting.front().dequeue_ps <= now) {
        Read read = std::move(waiting.front());
        waiting.pop_front();
        fetch(std::move(read));
    }
}

// Octets of the next completion of `read`, by the policy. [pcie-5.0: 2.3.1.1]
static unsigned piece(const Read &read) {
    uint64_t at = read.request.address() + 4 * read.sent_dw;
    unsigned left = read.octets.size() - 4 * read.sent_dw;
    unsigned rcb = unsigned(chosen.rcb);
    unsigned limit = unsigned(std::min(chosen.cpl_mps, chosen.mps)), most = limit;
    auto up_to = [&](unsigned boundary) { return boundary - unsigned(at % boundary); };
    switch (int(chosen.policy)) {
        case settings::CUT_64: most = up_to(64 < rcb ? rcb : 64); break;
        case settings::CUT_128: most = up_to(128); break;
        case settings::MIXED: most = up_to(rcb) + rcb * (dice() % std::max(1u, most / rcb)); break;
        default: break;
    }
    if (most > limit) most = limit;
    if (left <= most) return left;
    unsigned tail = (at + most) % rcb;
    return most - tail;
}

bool next_completion(Tlp &t, uint32_t &purpose, uint32_t &function) {
    double now = events::now_ps;
    if (ready.empty() || ready.front().ready_ps > now) return false;
    auto chosen_read = ready.begin();
    if (chosen.interleave) {
        unsigned count = 0;
        while (count < ready.size() && count < 16 && ready[count].ready_ps <= now) count++;
        chosen_read += dice() % count;
    }
    Read &read = *chosen_read;
    const Tlp &request = read.request;
    unsigned start = 4 * read.sent_dw, skip = start ? 0 : request.first_skip();
    unsigned total = request.octets() ? request.octets() : 1;
    unsigned done = start ? start - request.first_skip() : 0;
    unsigned size = read.status == tlp::SC ? piece(read) : 0;
    t = tlp::completion(read.status, REQUESTER, request.requester(), request.tag(), total - done,
                        unsigned(request.address() + start + skip), size / 4);
    t.data.assign(read.octets.begin() + start, read.octets.begin() + start + size);
    if (read.poisoned) t.dw[0] |= 1u << 14;
    t.dw[0] |= request.dw[0] & 0x00743000;  // TC and attributes come back
    purpose = read.purpose;
    function = request.requester();
    read.sent_dw += size / 4;
    if (read.status != tlp::SC || 4 * read.sent_dw == read.octets.size()) ready.erase(chosen_read);
    return true;
}

// --- the host's requests ---

static void send(Request &&request) {
    unsigned tries = 0;
    while (tries < 256 && tagged.count(next_tag)) next_tag = (next_tag + 1) & 0xff, tries++;
    if (tries == 256) {
        untagged.push_back(std::move(request));
        return;
    }
    request.t.dw[1] = (request.t.dw[1] & ~0xff00u) | next_tag << 8;
    link::send_request(Tlp(request.t), request.purpose, request.function);
    tagged[next_tag] = std::move(request);
    next_tag = (next_tag + 1) & 0xff;
}

static uint32_t ask(Tlp &&t, uint32_t purpose, uint32_t function) {
    uint32_t ticket = next_ticket++;
    answers[ticket] = Answer();
    if (!link::is_up) {
        end(ticket, tlp::UR, {});
        return ticket;
    }
    send({std::move(t), purpose, function, ticket});
    return ticket;
}

static uint32_t function_at(uint64_t address) {
    uint32_t function = memory::requester_of(address);
    return function == memory::ANY ? ledger::NOBODY : function;
}

uint32_t memory_read(uint64_t address, unsigned length) {
    return ask(tlp::memory_request(false, address, length, REQUESTER, 0), ledger::MMIO,
               function_at(address));
}

void memory_write(uint64_t address, const uint8_t *octets, unsigned length) {
    Tlp t = tlp::memory_request(true, address, length, REQUESTER, 0);
    t.data.assign(4 * t.length_dw(), 0);
    memcpy(t.data.data() + (address & 3), octets, length);
    if (link::is_up) link::send_request(std::move(t), ledger::MMIO, function_at(address));
}

uint32_t config(bool write, bool type1, unsigned bdf, unsigned offset, unsigned size,
                uint32_t value) {
    Tlp t = tlp::config_request(write, type1, bdf, offset, size, REQUESTER, 0);
    if (write) {
        t.data.assign(4, 0);
        memcpy(t.data.data() + (offset & 3), &value, size);
    }
    return ask(std::move(t), ledger::CONFIG, bdf);
}

uint32_t raw(const uint32_t *dw, const uint8_t *octets, unsigned length, bool answered) {
    Tlp t;
    memcpy(t.dw, dw, sizeof t.dw);
    t.data.assign(octets, octets + length);
    if (answered) return ask(std::move(t), ledger::UNKNOWN, ledger::NOBODY);
    if (link::is_up) link::send_request(std::move(t), ledger::UNKNOWN, ledger::NOBODY);
    return 0;
}

uint32_t purpose_of_completion(const Tlp &t) {
    auto found = tagged.find(t.completed_tag());
    return found == tagged.end() ? uint32_t(ledger::UNKNOWN) : found->second.purpose;
}

// The octets that a configuration write writes, lowest first, and where.
static uint32_t written(const Tlp &t, unsigned &offset) {
    unsigned skip = t.first_skip();
    uint32_t value = 0;
    memcpy(&value, t.data.data() + skip, t.octets());
    offset = (t.dw[2] & 0xffc) + skip;
    return value;
}

static bool is_config_write(const Tlp &t) {
    return t.is_config() && t.has_data() && t.data.size() == 4 && t.octets();
}

void request_reached_card(const Tlp &t) {
    if (!is_config_write(t)) return;
    unsigned offset;
    uint32_t value = written(t, offset);
    monitor::asked(t.tag(), t.dw[2] >> 16, offset, t.octets(), value);
}

void completion_left_card(const Tlp &t) {
    monitor::answered(t.completed_tag());
    auto found = tagged.find(t.completed_tag());
    if (found == tagged.end() || t.status() != tlp::SC) return;
    const Tlp &request = found->second.t;
    if (!is_config_write(request)) return;
    unsigned offset;
    uint32_t value = written(request, offset);
    monitor::configured(request.dw[2] >> 16, offset, request.octets(), value);
}

Answer *answer_of(uint32_t ticket) {
    auto found = answers.find(ticket);
    return found == answers.end() ? nullptr : &found->second;
}

void forget(uint32_t ticket) {
    answers.erase(ticket);
    if (untagged.empty()) return;
    Request request = std::move(untagged.front());
    untagged.pop_front();
    send(std::move(request));
}

}  // namespace root
