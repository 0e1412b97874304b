// Holds the card to legal TLPs; what it finds is recorded, and the test fails on it.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "tlp.hpp"

namespace monitor {

extern std::vector<std::string> violations;

void reset();
void violation(const char *format, ...) __attribute__((format(printf, 1, 2)));

// What the card sent, in the order of its handshakes, before it is put on the wire.
void check(const tlp::Tlp &t);
// A configuration write that the card has seen whole: from here on it may be so.
void asked(unsigned tag, unsigned bdf, unsigned offset, unsigned size, uint32_t value);
void answered(unsigned tag);
// One that it has answered: it is so. Bus mastering, messages and sizes follow from it.
void configured(unsigned bdf, unsigned offset, unsigned size, uint32_t value);
void set_capability(unsigned offset);  // of the PCI Express capability, in every function
void link_down();
// Tags of the card's reads in flight.
void read_sent(const tlp::Tlp &t);
void read_ended(unsigned requester, unsigned tag);
uint64_t reads_in_flight();
uint64_t reads_in_flight_of(unsigned requester);

}  // namespace monitor
