#include "wire.hpp"

#include <algorithm>

#include "events.hpp"
#include "monitor.hpp"
#include "settings.hpp"

namespace wire {

using settings::chosen;

constexpr unsigned OVERHEAD = 24;  // FCS 4, gap 12, preamble 8

struct Waiting {
    Frame frame;
    uint64_t not_before_ps;
};

std::vector<Frame> from_card;
uint64_t octets_from_card, octets_to_card;

static std::deque<Waiting> to_card;
static Frame sending, receiving;
static bool is_sending, is_receiving;
static unsigned sent, index_in;
static double line_in_ps, line_out_ps, started_ps;

void reset() {
    from_card.clear();
    to_card.clear();
    octets_from_card = octets_to_card = 0;
    is_sending = is_receiving = false;
    sent = index_in = 0;
    line_in_ps = line_out_ps = 0;
}

static double duration_ps(unsigned octets) { return octets * 8000.0 / chosen.port_gbps; }

void send(const uint8_t *octets, unsigned length, bool error, uint64_t not_before_ps) {
    Waiting w;
    w.frame.octets.assign(octets, octets + length);
    w.frame.error = error;
    w.not_before_ps = not_before_ps;
    to_card.push_back(std::move(w));
}

uint64_t waiting() { return to_card.size() + is_sending; }
bool busy() { return waiting() || is_receiving; }

bool beat_due() {
    double now = events::now_ps;
    if (!is_sending) {
        if (to_card.empty() || to_card.front().not_before_ps > events::now_ps) return false;
        started_ps = std::max(line_in_ps, double(to_card.front().not_before_ps));
        if (started_ps > now) return false;
        // A line that rested longer than a clock starts anew at this clock.
        if (started_ps < now - chosen.period_ps) started_ps = now;
        sending = std::move(to_card.front().frame);
        to_card.pop_front();
        is_sending = true;
        sent = 0;
        line_in_ps = started_ps + duration_ps(sending.octets.size() + OVERHEAD);
    }
    return started_ps + duration_ps(sent) <= now;
}

Beat take(unsigned most) {
    Beat beat;
    beat.octets = sending.octets.data() + sent;
    beat.count = std::min<unsigned>(most, sending.octets.size() - sent);
    beat.first = sent == 0;
    if (beat.first) events::record(events::FRAME_IN, index_in++, sending.octets.size(), 0);
    sent += beat.count;
    beat.last = sent == sending.octets.size();
    beat.error = beat.last && sending.error;
    octets_to_card += beat.count;
    if (beat.last) is_sending = false;
    return beat;
}

void put(const uint8_t *octets, unsigned count, bool first, bool last, bool error) {
    if (first == is_receiving) monitor::violation("wire: `first` is %d inside a frame", first);
    if (first) {
        receiving = Frame();
        receiving.time_ps = events::now_ps;
        is_receiving = true;
    }
    receiving.octets.insert(receiving.octets.end(), octets, octets + count);
    octets_from_card += count;
    if (!last) return;
    receiving.error = error;
    is_receiving = false;
    // The card's token bucket must keep the line's rate.
    double start = receiving.time_ps;
    if (line_out_ps > start + chosen.port_slack_ps)
        monitor::violation("wire: frames leave faster than the line: %.1f ns ahead",
                           (line_out_ps - start) / 1000);
    line_out_ps = std::max(line_out_ps, start) + duration_ps(receiving.octets.size() + OVERHEAD);
    events::record(events::FRAME_OUT, from_card.size(), receiving.octets.size(), error,
                   receiving.time_ps);
    from_card.push_back(std::move(receiving));
}

}  // namespace wire
