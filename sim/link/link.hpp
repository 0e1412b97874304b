// The PCIe link: one lane of octets each way, credits, ACK and UpdateFC DLLPs.
// Ref: pcie-5.0, 2.6 (Ordering and Receive Buffer Flow Control), 3.5, 3.6 (data link layer)
#pragma once
#include <cstdint>
#include <deque>

#include "tlp.hpp"

namespace link {

struct Arrival {
    double time_ps;
    uint32_t purpose;
    tlp::Tlp t;
};

// Cumulative counters, as UpdateFC carries them.
struct Credits {
    uint32_t count[6] = {0, 0, 0, 0, 0, 0};  // PH, PD, NPH, NPD, CPLH, CPLD
    bool infinite[6] = {false, false, false, false, true, true};
};

extern std::deque<Arrival> rx_requests, rx_completions;  // on their way to the card
extern Credits limit_of_card;                            // what the card may send, as it knows it
extern bool limit_changed, is_up;
extern uint64_t octets[2];  // sent by each direction's lane since reset: the ledger's witness

void reset();
void set_up(bool up);
// From the card.
bool room();
void accept(tlp::Tlp &&t);
void card_allocated(const Credits &credits);
// From the host.
void send_request(tlp::Tlp &&t, uint32_t purpose, uint32_t function);
void release(tlp::Class kind, unsigned data_credits);
void tick();
bool busy();  // a TLP or a DLLP is under way, or due
// Grows by every TLP of either direction, its time, header and payload: two runs compare it.
extern uint64_t trace;

}  // namespace link
