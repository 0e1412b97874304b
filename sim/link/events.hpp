// What happened, with the time: a log that Python reads as an array, and a queue that wakes it.
#pragma once
#include <cstdint>
#include <vector>

namespace events {

enum Kind : uint32_t {
    COMPLETION = 0,  // a = ticket, b = status, c = octets
    INTERRUPT = 1,   // a = requester id, b = address, c = data
    FRAME_OUT = 2,   // a = index, b = octets, c = 1 if in error
    FRAME_IN = 3,    // a = index, b = octets: its first octet enters the card's MAC
    EXCEPTION = 4,   // a = index, b = octets
    MANAGEMENT = 5,  // a = ticket, b = data, c = error
    WATCH = 6,       // a = watch, b = address, c = the first 8 octets written
    DOORBELL = 7,    // b = address, c = data: a posted write enters the card
    VIOLATION = 8,   // a = index
    FAULT = 9,       // a = requester id, b = address, c = 1 for a write: refused by the host
    TLP_UP = 10,     // a = requester id, b = address, c = octets << 16 | fmt_type << 8 | tag
    TLP_DOWN = 11,
    DRAM = 12,       // a = function id, b = address, c = octets << 1 | write
    TIMER = 13,
    QUIET = 14,      // b = clocks since the last beat: nothing is under way
    MESSAGE = 15,    // a = requester id, b = message code: the root complex was told of an error
    KINDS = 16,
};

struct Record {
    uint64_t time_ps;
    uint32_t kind, a;
    uint64_t b, c;
};

extern uint64_t now_ps, cycle;
extern uint64_t skipped_ps;  // of `now_ps`: time that passed while the card's clock stood still
extern uint32_t log_mask, wake_mask;
extern std::vector<Record> log, queue;
extern uint64_t counts[KINDS];
extern bool wake;  // toggles

void reset();
void record(Kind kind, uint32_t a, uint64_t b, uint64_t c, uint64_t time_ps = now_ps);
// Wake once `kind` has happened `count` times in all (0: never).
void wake_at(Kind kind, uint64_t count);
void wake_at_time(uint64_t time_ps);
void tick();

}  // namespace events
