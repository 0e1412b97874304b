// The card's own memory: latency and bandwidth; its octets are a mapping that Python can reach.
#pragma once
#include <cstdint>
#include <deque>
#include <vector>

namespace dram {

struct Read {
    double ready_ps;
    uint64_t address;
    unsigned length, lane, function, tag, done = 0;
    bool error = false;
};
struct Write {
    double ready_ps;
    unsigned function, tag;
    bool error;
};

extern std::deque<Read> reads;
extern std::deque<Write> writes;

void reset();
uint8_t *map(uint64_t size, const char *path);
const uint8_t *at(uint64_t address, uint64_t length);
void read(const Read &request);
void write(uint64_t address, const std::vector<uint8_t> &octets, unsigned function, unsigned tag);

}  // namespace dram
