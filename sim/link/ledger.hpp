// Every octet on the link, by direction, function and purpose.
#pragma once
#include <cstdint>
#include <vector>

namespace ledger {

enum Direction : uint32_t { UP = 0, DOWN = 1 };  // UP: from the card
// Purposes that the link itself knows; Python names the others from FIRST_NAMED on.
enum Purpose : uint32_t {
    UNKNOWN = 0, CONFIG = 1, MMIO = 2, ACK = 3, UPDATE_FC = 4, MSIX = 5, MESSAGE = 6, FIRST_NAMED = 8,
};
constexpr uint32_t NOBODY = 0xffff;  // the link itself

struct Entry {
    uint32_t direction, requester, purpose, fmt_type;
    uint64_t packets, octets, payload;
};

void reset();
void add(Direction direction, uint32_t requester, uint32_t purpose, uint32_t fmt_type,
         uint64_t octets, uint64_t payload);
std::vector<Entry> entries();

}  // namespace ledger
