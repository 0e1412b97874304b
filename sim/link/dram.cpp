#include "dram.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "events.hpp"
#include "monitor.hpp"
#include "settings.hpp"

namespace dram {

using settings::chosen;

std::deque<Read> reads;
std::deque<Write> writes;

static uint8_t *base;
static uint64_t size;
static double busy_until;

void reset() {
    if (base) munmap(base, size);
    base = nullptr;
    size = 0;
    busy_until = 0;
    reads.clear();
    writes.clear();
}

uint8_t *map(uint64_t octets, const char *path) {
    if (base) munmap(base, size);
    base = nullptr;
    int file = -1, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (path && *path) {
        file = open(path, O_RDWR | O_CREAT, 0644);
        struct stat known;
        if (file < 0 || fstat(file, &known)) return nullptr;
        if (uint64_t(known.st_size) < octets && ftruncate(file, octets)) return nullptr;
        flags = MAP_SHARED | MAP_NORESERVE;
    }
    void *where = mmap(nullptr, octets, PROT_READ | PROT_WRITE, flags, file, 0);
    if (file >= 0) close(file);
    if (where == MAP_FAILED) return nullptr;
    base = static_cast<uint8_t *>(where);
    size = octets;
    chosen.dram_octets = double(octets);
    return base;
}

const uint8_t *at(uint64_t address, uint64_t length) {
    return address <= size && length <= size - address ? base + address : nullptr;
}

static double transfer(unsigned octets) {
    double now = events::now_ps;
    busy_until = std::max(busy_until, now);
    if (chosen.dram_octets_per_ns > 0) busy_until += octets * 1000 / chosen.dram_octets_per_ns;
    return busy_until;
}

static bool inside(uint64_t address, unsigned length, const char *what) {
    if (length && at(address, length)) return true;
    monitor::violation("dram: %s of %u octets at %llx is outside", what, length,
                       (unsigned long long)address);
    return false;
}

void read(const Read &request) {
    Read entry = request;
    entry.error = !inside(entry.address, entry.length, "read");
    entry.ready_ps = transfer(entry.length) + chosen.dram_read_ps;
    events::record(events::DRAM, entry.function, entry.address, uint64_t(entry.length) << 1);
    reads.push_back(entry);
}

void write(uint64_t address, const std::vector<uint8_t> &octets, unsigned function, unsigned tag) {
    bool error = !inside(address, octets.size(), "write");
    if (!error) memcpy(base + address, octets.data(), octets.size());
    events::record(events::DRAM, function, address, uint64_t(octets.size()) << 1 | 1);
    writes.push_back({transfer(octets.size()) + chosen.dram_write_ps, function, tag, error});
}

}  // namespace dram
