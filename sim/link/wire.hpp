// The other end of the Ethernet line: frames at line rate to the card, frames from it with times.
// Ref: ieee-802.3-2022, 4.4.2 (MAC parameters): frames without FCS here; 24 octets of FCS, gap, preamble
#pragma once
#include <cstdint>
#include <deque>
#include <vector>

namespace wire {

struct Frame {
    uint64_t time_ps = 0;  // of its first beat
    std::vector<uint8_t> octets;
    bool error = false;
};

extern std::vector<Frame> from_card;
extern uint64_t octets_from_card, octets_to_card;

void reset();
void send(const uint8_t *octets, unsigned length, bool error, uint64_t not_before_ps);
uint64_t waiting();
bool busy();  // a frame is on its way, in either direction
// Is the next beat on the line by now?
bool beat_due();
// Takes at most `most` octets of the frame under way.
struct Beat {
    const uint8_t *octets;
    unsigned count;
    bool first, last, error;
};
Beat take(unsigned most);
void put(const uint8_t *octets, unsigned count, bool first, bool last, bool error);

}  // namespace wire
