#include "link.hpp"

#include <algorithm>
#include <cstring>

#include "events.hpp"
#include "ledger.hpp"
#include "memory.hpp"
#include "monitor.hpp"
#include "root.hpp"
#include "settings.hpp"

namespace link {

using settings::chosen;

std::deque<Arrival> rx_requests, rx_completions;
Credits limit_of_card;
bool limit_changed, is_up;
uint64_t octets[2], trace;

struct Waiting {
    tlp::Tlp t;
    uint32_t purpose, function;
};

// One direction: octets leave one after the other; DLLPs come between TLPs.
struct Lane {
    double busy_until = 0, ack_due = -1;
    double send(int direction, unsigned count) {
        busy_until = std::max(busy_until, double(events::now_ps)) + count * 1000 / chosen.octets_per_ns;
        octets[direction] += count;
        return busy_until;
    }
};

static void follow(uint64_t word) {
    trace = (trace ^ word) * 0x9e3779b97f4a7c15;
    trace ^= trace >> 32;
}

static void follow(const tlp::Tlp &t) {
    follow(events::cycle);
    follow(uint64_t(t.dw[0]) << 32 | t.dw[1]);
    follow(uint64_t(t.dw[2]) << 32 | (t.four_dw() ? t.dw[3] : 0));
    for (size_t at = 0; at < t.data.size(); at += 8) {
        uint64_t word = 0;
        memcpy(&word, t.data.data() + at, std::min<size_t>(8, t.data.size() - at));
        follow(word);
    }
}

constexpr unsigned DLLP_OCTETS = 8;  // SDP token 2, DLLP 4, CRC 2
static Lane lanes[2];
static std::deque<Arrival> to_host;
static std::deque<Waiting> posted, non_posted;
static bool completion_turn;

// Credits the card may use: ours as allocated, and as told; those it used. And its own towards us.
static Credits allocated, told, card_side;
static uint32_t used_by_card[6], used_by_host[6];
static double host_fc_due[2], card_fc_due[2];  // posted, non-posted
struct Update {
    double time_ps;
    Credits credits;
};
static std::deque<Update> updates_to_card, updates_to_host;
static Credits card_known, card_told;  // what the host knows of the card's credits, and will know
static bool card_known_valid;

constexpr uint32_t MASK[6] = {0xff, 0xfff, 0xff, 0xfff, 0xff, 0xfff};

void reset() {
    rx_requests.clear();
    rx_completions.clear();
    to_host.clear();
    posted.clear();
    non_posted.clear();
    updates_to_card.clear();
    updates_to_host.clear();
    for (Lane &lane : lanes) lane = Lane();
    octets[0] = octets[1] = 0;
    allocated = Credits();
    const double initial[4] = {chosen.ph, chosen.pd, chosen.nph, chosen.npd};
    for (int n = 0; n < 4; n++) {
        allocated.count[n] = uint32_t(initial[n]) & MASK[n];
        allocated.infinite[n] = initial[n] == 0;
    }
    told = limit_of_card = allocated;
    card_side = card_known = card_told = Credits();
    card_known_valid = false;
    std::fill(used_by_card, used_by_card + 6, 0);
    std::fill(used_by_host, used_by_host + 6, 0);
    for (int n = 0; n < 2; n++) host_fc_due[n] = card_fc_due[n] = -1;
    limit_changed = true;
    completion_turn = is_up = false;
}

void set_up(bool up) {
    if (up == is_up) return;
    const uint64_t before[2] = {octets[0], octets[1]};
    reset();
    std::copy(before, before + 2, octets);  // the account goes on
    root::link_down();
    is_up = up;
}

static void dllp(ledger::Direction direction, ledger::Purpose purpose) {
    lanes[direction].send(direction, DLLP_OCTETS);
    ledger::add(direction, ledger::NOBODY, purpose, 0, DLLP_OCTETS, 0);
}

static void acknowledge(ledger::Direction from) {
    if (chosen.dllp == settings::DENSE) dllp(from, ledger::ACK);
    else if (lanes[from].ack_due < 0) lanes[from].ack_due = events::now_ps + chosen.ack_timer_ps;
}

bool room() {
    if (!is_up) return true;  // what is sent is lost
    return lanes[ledger::UP].busy_until - events::now_ps <
           chosen.tx_buffer_octets * 1000 / chosen.octets_per_ns;
}

// A request of `header` credit and `data` credits against `limit`.
static bool allowed(const Credits &limit, const uint32_t *used, int header, unsigned data) {
    auto enough = [&](int n, unsigned want) {
        return limit.infinite[n] ||
               ((limit.count[n] - used[n] - want) & MASK[n]) <= MASK[n] / 2;
    };
    return enough(header, 1) && (data == 0 || enough(header + 1, data));
}

static void consume(uint32_t *used, int header, unsigned data) {
    used[header] = (used[header] + 1) & MASK[header];
    used[header + 1] = (used[header + 1] + data) & MASK[header + 1];
}

void accept(tlp::Tlp &&t) {
    if (!is_up) return;
    monitor::check(t);
    follow(t);
    int header = 2 * t.credit_class();
    if (!allowed(limit_of_card, used_by_card, header, t.data_credits()))
        monitor::violation("the card sent %02x without credit", t.fmt_type());
    consume(used_by_card, header, t.data_credits());
    unsigned count = t.wire_octets();
    double arrival = lanes[ledger::UP].send(ledger::UP, count) + chosen.wire_delay_ps;
    uint32_t requester = t.is_completion() ? t.completer() : t.requester();
    uint32_t purpose = t.is_completion() ? root::purpose_of_completion(t)
                       : t.is_message() ? uint32_t(ledger::MESSAGE)
                                        : memory::purpose_of(t.address() + t.first_skip());
    ledger::add(ledger::UP, requester, purpose, t.fmt_type(), count, t.data.size());
    if (t.is_memory_read()) monitor::read_sent(t);
    if (t.is_completion()) root::completion_left_card(t);
    events::record(events::TLP_UP, requester, t.is_completion() ? t.dw[2] : t.address(),
                   uint64_t(4 * t.length_dw()) << 16 | t.fmt_type() << 8 |
                       (t.is_completion() ? t.completed_tag() : t.tag()));
    to_host.push_back({arrival, purpose, std::move(t)});
}

void card_allocated(const Credits &credits) {
    card_side = credits;
    if (!card_known_valid) {  // InitFC
        card_known = card_told = credits;
        card_known_valid = true;
        return;
    }
    for (int n = 0; n < 2; n++) {
        bool news = card_side.count[2 * n] != card_told.count[2 * n] ||
                    card_side.count[2 * n + 1] != card_told.count[2 * n + 1];
        if (news && card_fc_due[n] < 0)
            card_fc_due[n] = events::now_ps +
                             (chosen.dllp == settings::DENSE ? 0 : chosen.fc_timer_ps);
    }
}

void send_request(tlp::Tlp &&t, uint32_t purpose, uint32_t function) {
    auto &queue = t.credit_class() == tlp::POSTED ? posted : non_posted;
    queue.push_back({std::move(t), purpose, function});
}

void release(tlp::Class kind, unsigned data_credits) {
    int header = 2 * kind;
    allocated.count[header] = (allocated.count[header] + 1) & MASK[header];
    allocated.count[header + 1] = (allocated.count[header + 1] + data_credits) & MASK[header + 1];
    if (kind == tlp::COMPLETION || host_fc_due[kind] >= 0) return;
    host_fc_due[kind] = events::now_ps + (chosen.dllp == settings::DENSE ? 0 : chosen.fc_timer_ps);
}

static void send_down(tlp::Tlp &&t, uint32_t purpose, uint32_t function) {
    follow(t);
    unsigned count = t.wire_octets();
    double arrival = lanes[ledger::DOWN].send(ledger::DOWN, count) + chosen.wire_delay_ps;
    ledger::add(ledger::DOWN, function, purpose, t.fmt_type(), count, t.data.size());
    bool completion = t.is_completion();
    events::record(events::TLP_DOWN, function, completion ? t.dw[2] : t.address(),
                   uint64_t(4 * t.length_dw()) << 16 | t.fmt_type() << 8 |
                       (completion ? t.completed_tag() : t.tag()));
    (completion ? rx_completions : rx_requests).push_back({arrival, purpose, std::move(t)});
}

// The next TLP towards the card. [pcie-5.0: 2.4.1] Nothing passes posted requests; completions and
// non-posted requests pass one another, in turns.
static bool send_next() {
    auto fits = [](const Waiting &w) {
        return allowed(card_known, used_by_host, 2 * w.t.credit_class(), w.t.data_credits());
    };
    auto take = [](std::deque<Waiting> &queue) {
        Waiting w = std::move(queue.front());
        queue.pop_front();
        consume(used_by_host, 2 * w.t.credit_class(), w.t.data_credits());
        send_down(std::move(w.t), w.purpose, w.function);
    };
    if (!posted.empty()) {
        if (!fits(posted.front())) return false;
        take(posted);
        return true;
    }
    bool request = !non_posted.empty() && fits(non_posted.front());
    if (request && !completion_turn) {
        completion_turn = true;
        take(non_posted);
        return true;
    }
    completion_turn = false;
    tlp::Tlp t;
    uint32_t purpose, function;
    if (root::next_completion(t, purpose, function)) {
        send_down(std::move(t), purpose, function);
        return true;
    }
    if (!request) return false;
    take(non_posted);
    return true;
}

static void tick_dllps() {
    double now = events::now_ps;
    for (auto from : {ledger::UP, ledger::DOWN})
        if (lanes[from].ack_due >= 0 && lanes[from].ack_due <= now) {
            dllp(from, ledger::ACK);
            lanes[from].ack_due = -1;
        }
    for (int n = 0; n < 2; n++) {
        if (host_fc_due[n] >= 0 && host_fc_due[n] <= now) {
            host_fc_due[n] = -1;
            dllp(ledger::DOWN, ledger::UPDATE_FC);
            for (int k = 2 * n; k < 2 * n + 2; k++) told.count[k] = allocated.count[k];
            updates_to_card.push_back({lanes[ledger::DOWN].busy_until + chosen.wire_delay_ps, told});
        }
        if (card_fc_due[n] >= 0 && card_fc_due[n] <= now) {
            card_fc_due[n] = -1;
            dllp(ledger::UP, ledger::UPDATE_FC);
            for (int k = 2 * n; k < 2 * n + 2; k++) card_told.count[k] = card_side.count[k];
            updates_to_host.push_back(
                {lanes[ledger::UP].busy_until + chosen.wire_delay_ps, card_told});
        }
    }
    for (; !updates_to_card.empty() && updates_to_card.front().time_ps <= now; limit_changed = true) {
        limit_of_card = updates_to_card.front().credits;
        updates_to_card.pop_front();
    }
    for (; !updates_to_host.empty() && updates_to_host.front().time_ps <= now;
         updates_to_host.pop_front())
        card_known = updates_to_host.front().credits;
}

bool busy() {
    if (!is_up) return false;
    for (auto from : {ledger::UP, ledger::DOWN})
        if (lanes[from].ack_due >= 0) return true;
    for (int n = 0; n < 2; n++)
        if (host_fc_due[n] >= 0 || card_fc_due[n] >= 0) return true;
    return !rx_requests.empty() || !rx_completions.empty() || !to_host.empty() ||
           !posted.empty() || !non_posted.empty() || !updates_to_card.empty() ||
           !updates_to_host.empty();
}

void tick() {
    if (!is_up) return;
    double now = events::now_ps;
    while (!to_host.empty() && to_host.front().time_ps <= now) {
        Arrival arrival = std::move(to_host.front());
        to_host.pop_front();
        acknowledge(ledger::DOWN);
        root::arrived(std::move(arrival.t), arrival.purpose);
    }
    root::tick();
    tick_dllps();
    if (!card_known_valid) return;
    while (lanes[ledger::DOWN].busy_until < now + chosen.period_ps && send_next())
        acknowledge(ledger::UP);
}

}  // namespace link
