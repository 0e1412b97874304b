// The card's own processor at its two mailboxes: management registers, exception packets.
#pragma once
#include <cstdint>
#include <deque>
#include <unordered_map>
#include <vector>

namespace mailbox {

// A packet with its `meta`, as raw bits; the layout is the business of Python.
struct Packet {
    uint64_t time_ps = 0;
    std::vector<uint8_t> meta, octets;
    bool error = false;
};
struct Access {
    uint32_t ticket, address;
    bool write;
    uint64_t data;
    bool follows;  // may leave before what is in front of it was answered
};
struct Reply {
    uint64_t data;
    bool error, done;
};

constexpr uint32_t BURST = 32;  // MANAGEMENT_BURST of the card's ports

extern std::deque<Packet> exceptions, injected;
extern std::deque<Access> accesses;
extern uint32_t outstanding;  // of the accesses in front

void reset();
uint32_t access(uint32_t address, bool write, uint64_t data, bool follows);
bool may_leave();
void replied(uint64_t data, bool error);
Reply *reply_of(uint32_t ticket);
void forget(uint32_t ticket);
void excepted(Packet &&packet);

}  // namespace mailbox
