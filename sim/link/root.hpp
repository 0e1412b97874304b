// The root complex: applies the card's writes, answers its reads, remembers the host's requests.
#pragma once
#include <cstdint>
#include <vector>

#include "tlp.hpp"

namespace root {

struct Answer {
    unsigned status = 0;
    bool done = false;
    uint32_t dw[4] = {};  // header of its last completion, as the card made it
    std::vector<uint8_t> octets;
};

void reset();
void link_down();
void arrived(tlp::Tlp &&t, uint32_t purpose);
void tick();
bool next_completion(tlp::Tlp &t, uint32_t &purpose, uint32_t &function);
uint32_t purpose_of_completion(const tlp::Tlp &t);
void request_reached_card(const tlp::Tlp &t);
void completion_left_card(const tlp::Tlp &t);

// The host's own requests. A ticket names a non-posted one until it is taken back.
uint32_t memory_read(uint64_t address, unsigned length);
void memory_write(uint64_t address, const uint8_t *octets, unsigned length);
uint32_t config(bool write, bool type1, unsigned bdf, unsigned offset, unsigned size,
                uint32_t value);
// Any TLP, as it is: for malformed requests. Its tag is replaced where an answer is due.
uint32_t raw(const uint32_t *dw, const uint8_t *octets, unsigned length, bool answered);
Answer *answer_of(uint32_t ticket);
void forget(uint32_t ticket);
uint64_t reads_waiting();
bool busy();  // a request of either side is not yet answered

}  // namespace root
