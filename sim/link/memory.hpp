// The memory of the host: regions of octets, each of one guest; ranges with a purpose; traps.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace memory {

constexpr uint32_t ANY = 0xffffffff;

// `MSIX` ranges hold no octets: a write there is an interrupt.
enum Kind : uint32_t { OCTETS = 0, MSIX = 1, DEVICE = 2 };

struct Region {
    uint64_t base, size;
    uint8_t *octets;
    uint32_t guest;  // ANY: everybody's
    Kind kind;
};

// What an address is for. `requester` ANY: any function of the region's guest may touch it.
struct Range {
    uint64_t end;
    uint32_t purpose, requester;
    int32_t watch;  // -1: no event when written
    bool poisoned;
};

// A fault that the next `count` accesses of the range meet, after `skip` that do not.
enum Fault : int { NONE = 0, UNSUPPORTED = 1, ABORT = 2, POISON = 3, DROP = 4, DELAY = 5 };
struct Trap {
    uint64_t base, end;
    Fault fault;
    int64_t skip, count;
    uint64_t delay_ps;
};

struct Verdict {
    Region *region = nullptr;  // null: refused
    uint32_t purpose = 0;
    int32_t watch = -1;
};

void reset();
uint8_t *map(uint64_t base, uint64_t size, uint32_t guest, Kind kind, const char *path);
// The same for a file that is open, from `offset`: a virtual machine's own memory.
uint8_t *map_file(uint64_t base, uint64_t size, uint32_t guest, int file, uint64_t offset);
void unmap(uint32_t guest);  // all regions of one guest
void assign(uint32_t requester, uint32_t guest);
void tolerate(uint32_t requester, bool faults);
void set_range(uint64_t base, uint64_t size, const Range &range);
void add_trap(const Trap &trap);
uint32_t purpose_of(uint64_t address);
uint32_t requester_of(uint64_t address);

// Judges an access and records what is forbidden; says where the octets are.
Verdict judge(uint32_t requester, uint64_t address, uint64_t length, bool write);
Trap *trap_of(uint64_t address, uint64_t length);

}  // namespace memory
