// What the shim calls: one tick a clock, and one call for each beat that moves.
#include <algorithm>

#include "bits.hpp"
#include "dram.hpp"
#include "events.hpp"
#include "layout.hpp"
#include "link.hpp"
#include "mailbox.hpp"
#include "monitor.hpp"
#include "root.hpp"
#include "settings.hpp"
#include "shim.hpp"
#include "wire.hpp"

namespace {

using tlp::Tlp;

// Bits of the tick's answer: streams to the card that have a beat, streams from it that have room.
enum Bit : unsigned {
    RX_REQUESTS = 0, RX_COMPLETIONS, WIRE_RX, INJECT, DRAM_BEATS, DRAM_ANSWERS, MANAGEMENT,
    TX_READS = 8, TX_WRITES, TX_COMPLETIONS, WIRE_TX, EXCEPTIONS, DRAM_READS, DRAM_WRITES,
    MANAGEMENT_REPLIES, CREDITS = 16, LINK_UP = 17, WAKE = 18, CARD_BUSY = 31,
};

// --- beats of TLPs ---

struct Assembly {
    Tlp t;
    bool open = false, lost = false;  // lost: the link went down inside a TLP
};
Assembly from_card[3];

template <class L>
void put_tlp(const svBitVecVal *beat, Assembly &a) {
    bool first = bits::get(beat, L::first, 1), last = bits::get(beat, L::last, 1);
    if (!link::is_up || (a.lost && !first)) {
        a.open = false;
        a.lost = !last;
        return;
    }
    a.lost = false;
    uint32_t dw[4];
    for (int n = 0; n < 4; n++) dw[n] = uint32_t(bits::get(beat, L::header + 32 * n, 32));
    if (first == a.open) monitor::violation("TLP stream: `first` is %d inside a TLP", first);
    if (first) {
        a.t = Tlp();
        std::copy(dw, dw + 4, a.t.dw);
        a.open = true;
    } else if (!std::equal(dw, dw + (a.t.four_dw() ? 4 : 3), a.t.dw)) {
        monitor::violation("TLP stream: the header changes inside a TLP");
    }
    if (a.t.has_data()) {
        size_t left = 4 * a.t.length_dw() - std::min<size_t>(a.t.data.size(), 4 * a.t.length_dw());
        unsigned count = unsigned(std::min<size_t>(left, L::data_width / 8));
        if (count == 0) monitor::violation("TLP stream: more beats than the length says");
        size_t old = a.t.data.size();
        a.t.data.resize(old + count);
        bits::get_octets(beat, L::data, a.t.data.data() + old, count);
    }
    if (!last) return;
    a.open = false;
    a.t.nullified = bits::get(beat, L::error, 1);
    link::accept(std::move(a.t));
}

unsigned sent_of_rx[2];

template <class L>
void get_tlp(svBitVecVal *beat, std::deque<link::Arrival> &queue, unsigned &sent) {
    link::Arrival &arrival = queue.front();
    const Tlp &t = arrival.t;
    bits::clear(beat, L::width);
    for (int n = 0; n < 4; n++) bits::set(beat, L::header + 32 * n, 32, t.dw[n]);
    unsigned count = unsigned(std::min<size_t>(L::data_width / 8, t.data.size() - sent));
    if (count) bits::set_octets(beat, L::data, t.data.data() + sent, count);
    bits::set(beat, L::first, 1, sent == 0);
    if (sent == 0 && t.is_memory_write()) {
        uint64_t value = 0;
        unsigned skip = t.first_skip();
        memcpy(&value, t.data.data() + skip, std::min<size_t>(8, t.data.size() - skip));
        events::record(events::DOORBELL, 0, t.address() + skip, value);
    }
    sent += count;
    if (sent < t.data.size()) return;
    bits::set(beat, L::last, 1, 1);
    bits::set(beat, L::error, 1, t.nullified);
    if (t.is_completion() &&
        (t.status() != tlp::SC ||
         4 * t.length_dw() - (t.lower_address() & 3) >= t.byte_count()))
        monitor::read_ended(t.completed_requester(), t.completed_tag());
    root::request_reached_card(t);
    sent = 0;
    queue.pop_front();
}

// --- packets of the card's processor ---

mailbox::Packet excepted;
unsigned injected_sent;

std::vector<uint8_t> dram_octets;

template <class L>
void set_credits(svBitVecVal *vector, const link::Credits &credits) {
    const unsigned counts[6] = {L::ph_count, L::pd_count, L::nph_count, L::npd_count,
                                L::cplh_count, L::cpld_count};
    const unsigned widths[6] = {L::ph_count_width, L::pd_count_width, L::nph_count_width,
                                L::npd_count_width, L::cplh_count_width, L::cpld_count_width};
    const unsigned infinite[6] = {L::ph_infinite, L::pd_infinite, L::nph_infinite, L::npd_infinite,
                                  L::cplh_infinite, L::cpld_infinite};
    bits::clear(vector, L::width);
    for (int n = 0; n < 6; n++) {
        bits::set(vector, counts[n], widths[n], credits.count[n]);
        bits::set(vector, infinite[n], 1, credits.infinite[n]);
    }
}

bool due(const std::deque<link::Arrival> &queue) {
    return !queue.empty() && queue.front().time_ps <= events::now_ps;
}

// When the last thing happened, and whether the silence since was told.
uint64_t active_cycle, happened;
bool told_quiet, card_busy;

uint64_t happenings() {
    using namespace events;
    return counts[TLP_UP] + counts[FRAME_OUT] + counts[EXCEPTION] + counts[DRAM] +
           counts[MANAGEMENT];
}

void listen(bool moved) {
    uint64_t count = happenings();
    if (moved || count != happened || shim::busy()) {
        active_cycle = events::cycle;
        told_quiet = false;
        happened = count;
        return;
    }
    uint64_t silence = events::cycle - active_cycle;
    if (told_quiet || silence < settings::chosen.quiet_clocks) return;
    told_quiet = true;
    events::record(events::QUIET, 0, silence, 0);
}

}  // namespace

namespace shim {

bool busy() {
    for (const Assembly &a : from_card)
        if (a.open) return true;
    return card_busy || link::busy() || root::busy() || wire::busy() || !dram::reads.empty() ||
           !dram::writes.empty() || !mailbox::injected.empty() || mailbox::outstanding ||
           !mailbox::accesses.empty();
}

void reset() {
    for (Assembly &a : from_card) {
        a.lost = a.lost || a.open;
        a.open = false;
    }
    sent_of_rx[0] = sent_of_rx[1] = injected_sent = 0;
    active_cycle = happened = 0;
    told_quiet = card_busy = false;
    excepted = mailbox::Packet();
    dram_octets.clear();
}

}  // namespace shim

extern "C" {

// `free` has a bit for each stream to the card that can take a beat in this clock, and one if the
// card says that it is busy.
unsigned oc_tick(unsigned free) {
    events::cycle++;
    events::now_ps = uint64_t(events::cycle * settings::chosen.period_ps) + events::skipped_ps;
    link::tick();
    events::tick();
    card_busy = free & 1u << CARD_BUSY;
    unsigned answer = 0;
    auto say = [&](Bit bit, bool condition) { answer |= unsigned(condition) << bit; };
    if (free & 1u << RX_REQUESTS) say(RX_REQUESTS, due(link::rx_requests));
    if (free & 1u << RX_COMPLETIONS) say(RX_COMPLETIONS, due(link::rx_completions));
    if (free & 1u << WIRE_RX) say(WIRE_RX, wire::beat_due());
    if (free & 1u << INJECT) say(INJECT, !mailbox::injected.empty());
    auto ripe = [](const auto &queue) {
        return !queue.empty() && queue.front().ready_ps <= events::now_ps;
    };
    if (free & 1u << DRAM_BEATS) say(DRAM_BEATS, ripe(dram::reads));
    if (free & 1u << DRAM_ANSWERS) say(DRAM_ANSWERS, ripe(dram::writes));
    if (free & 1u << MANAGEMENT)
        say(MANAGEMENT, mailbox::may_leave());
    if (settings::chosen.quiet_clocks > 0) listen(answer != 0);
    bool room = link::room();
    say(TX_READS, room);
    say(TX_WRITES, room);
    say(TX_COMPLETIONS, room);
    say(WIRE_TX, true);
    say(EXCEPTIONS, mailbox::exceptions.size() < 4096);
    say(DRAM_READS, dram::reads.size() < 64);
    say(DRAM_WRITES, dram::writes.size() < 64);
    say(MANAGEMENT_REPLIES, true);
    say(CREDITS, link::limit_changed);
    say(LINK_UP, link::is_up);
    say(WAKE, events::wake);
    return answer;
}

void oc_put_tx_reads(const svBitVecVal *beat) { put_tlp<layout::tx_reads>(beat, from_card[0]); }
void oc_put_tx_writes(const svBitVecVal *beat) { put_tlp<layout::tx_writes>(beat, from_card[1]); }
void oc_put_tx_completions(const svBitVecVal *beat) {
    put_tlp<layout::tx_completions>(beat, from_card[2]);
}

void oc_get_rx_requests(svBitVecVal *beat) {
    get_tlp<layout::rx_requests>(beat, link::rx_requests, sent_of_rx[0]);
}
void oc_get_rx_completions(svBitVecVal *beat) {
    get_tlp<layout::rx_completions>(beat, link::rx_completions, sent_of_rx[1]);
}

void oc_get_tx_credit_limit(svBitVecVal *credits) {
    set_credits<layout::tx_credit_limit>(credits, link::limit_of_card);
    link::limit_changed = false;
}

void oc_put_rx_credit_allocated(const svBitVecVal *vector) {
    using L = layout::rx_credit_allocated;
    if (!link::is_up) return;
    link::Credits c;
    const unsigned counts[6] = {L::ph_count, L::pd_count, L::nph_count, L::npd_count,
                                L::cplh_count, L::cpld_count};
    const unsigned widths[6] = {L::ph_count_width, L::pd_count_width, L::nph_count_width,
                                L::npd_count_width, L::cplh_count_width, L::cpld_count_width};
    const unsigned infinite[6] = {L::ph_infinite, L::pd_infinite, L::nph_infinite, L::npd_infinite,
                                  L::cplh_infinite, L::cpld_infinite};
    for (int n = 0; n < 6; n++) {
        c.count[n] = uint32_t(bits::get(vector, counts[n], widths[n]));
        c.infinite[n] = bits::get(vector, infinite[n], 1);
    }
    link::card_allocated(c);
}

void oc_get_wire_rx(svBitVecVal *beat) {
    using L = layout::wire_rx;
    bits::clear(beat, L::width);
    wire::Beat b = wire::take(L::data_width / 8);
    bits::set_octets(beat, L::data, b.octets, b.count);
    bits::set(beat, L::valid_bytes, L::valid_bytes_width, b.count);
    bits::set(beat, L::first, 1, b.first);
    bits::set(beat, L::last, 1, b.last);
    bits::set(beat, L::error, 1, b.error);
}

void oc_put_wire_tx(const svBitVecVal *beat) {
    using L = layout::wire_tx;
    uint8_t octets[L::data_width / 8 + 1];
    unsigned count = unsigned(bits::get(beat, L::valid_bytes, L::valid_bytes_width));
    bits::get_octets(beat, L::data, octets, L::data_width / 8);
    wire::put(octets, count, bits::get(beat, L::first, 1), bits::get(beat, L::last, 1),
              bits::get(beat, L::error, 1));
}

void oc_put_exceptions(const svBitVecVal *beat) {
    using L = layout::exceptions;
    bool first = bits::get(beat, L::first, 1), last = bits::get(beat, L::last, 1);
    unsigned length = unsigned(bits::get(beat, L::meta_length, L::meta_length_width));
    if (first) {
        excepted = mailbox::Packet();
        excepted.meta.resize((L::meta_width + 7) / 8);
        for (unsigned n = 0; n < L::meta_width; n += 8)
            excepted.meta[n / 8] =
                uint8_t(bits::get(beat, L::meta + n, std::min(8u, L::meta_width - n)));
    }
    size_t old = excepted.octets.size();
    size_t count = std::min<size_t>(L::data_width / 8, length > old ? length - old : 0);
    excepted.octets.resize(old + count);
    bits::get_octets(beat, L::data, excepted.octets.data() + old, unsigned(count));
    if (!last) return;
    excepted.error = bits::get(beat, L::error, 1);
    mailbox::excepted(std::move(excepted));
}

void oc_get_inject(svBitVecVal *beat) {
    using L = layout::inject;
    mailbox::Packet &packet = mailbox::injected.front();
    bits::clear(beat, L::width);
    for (unsigned n = 0; n < L::meta_width && n / 8 < packet.meta.size(); n += 8)
        bits::set(beat, L::meta + n, std::min(8u, L::meta_width - n), packet.meta[n / 8]);
    unsigned count =
        unsigned(std::min<size_t>(L::data_width / 8, packet.octets.size() - injected_sent));
    bits::set_octets(beat, L::data, packet.octets.data() + injected_sent, count);
    bits::set(beat, L::first, 1, injected_sent == 0);
    injected_sent += count;
    if (injected_sent < packet.octets.size()) return;
    bits::set(beat, L::last, 1, 1);
    injected_sent = 0;
    mailbox::injected.pop_front();
}

void oc_get_management_requests(svBitVecVal *request) {
    using L = layout::management_requests;
    const mailbox::Access &access = mailbox::accesses[mailbox::outstanding];
    bits::clear(request, L::width);
    bits::set(request, L::address, L::address_width, access.address);
    bits::set(request, L::write, 1, access.write);
    bits::set(request, L::data, 64, access.data);
    mailbox::outstanding++;
}

void oc_put_management_replies(const svBitVecVal *reply) {
    using L = layout::management_replies;
    mailbox::replied(bits::get(reply, L::data, 64), bits::get(reply, L::error, 1));
}

void oc_put_dram_reads(const svBitVecVal *request) {
    using L = layout::dram_reads;
    dram::Read read;
    read.address = bits::get(request, L::address, 64);
    read.length = unsigned(bits::get(request, L::length, L::length_width));
    read.lane = unsigned(bits::get(request, L::lane, L::lane_width));
    read.function = unsigned(bits::get(request, L::function_id, L::function_id_width));
    read.tag = unsigned(bits::get(request, L::tag, L::tag_width));
    dram::read(read);
}

void oc_get_dram_beats(svBitVecVal *beat) {
    using L = layout::dram_beats;
    constexpr unsigned LANES = L::data_width / 8;
    dram::Read &read = dram::reads.front();
    bits::clear(beat, L::width);
    bits::set(beat, L::function_id, L::function_id_width, read.function);
    bits::set(beat, L::tag, L::tag_width, read.tag);
    bits::set(beat, L::first, 1, read.done == 0);
    bool last = read.error;
    if (!read.error) {
        unsigned lane = read.done ? 0 : read.lane;
        unsigned count = std::min(LANES - lane, read.length - read.done);
        bits::set_octets(beat, L::data + 8 * lane, dram::at(read.address + read.done, count), count);
        for (unsigned n = 0; n < count; n++) bits::set(beat, L::strobe + lane + n, 1, 1);
        read.done += count;
        last = read.done == read.length;
    }
    bits::set(beat, L::last, 1, last);
    bits::set(beat, L::error, 1, read.error);
    if (last) dram::reads.pop_front();
}

void oc_put_dram_writes(const svBitVecVal *beat) {
    using L = layout::dram_writes;
    if (bits::get(beat, L::first, 1)) dram_octets.clear();
    unsigned length = unsigned(bits::get(beat, L::length, L::length_width));
    size_t old = dram_octets.size();
    size_t count = std::min<size_t>(L::data_width / 8, length > old ? length - old : 0);
    dram_octets.resize(old + count);
    bits::get_octets(beat, L::data, dram_octets.data() + old, unsigned(count));
    if (!bits::get(beat, L::last, 1)) return;
    if (dram_octets.size() != length)
        monitor::violation("dram: a write of %u octets has %zu", length, dram_octets.size());
    dram::write(bits::get(beat, L::address, 64), dram_octets,
                unsigned(bits::get(beat, L::function_id, L::function_id_width)),
                unsigned(bits::get(beat, L::tag, L::tag_width)));
}

void oc_get_dram_answers(svBitVecVal *answer) {
    using L = layout::dram_answers;
    const dram::Write &write = dram::writes.front();
    bits::clear(answer, L::width);
    bits::set(answer, L::function_id, L::function_id_width, write.function);
    bits::set(answer, L::tag, L::tag_width, write.tag);
    bits::set(answer, L::error, 1, write.error);
    dram::writes.pop_front();
}

}  // extern "C"
