#include "memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <unordered_map>

#include "events.hpp"
#include "monitor.hpp"

namespace memory {

static std::vector<Region> regions;
static std::map<uint64_t, Range> ranges;  // by base; they do not overlap
static std::vector<Trap> traps;
static std::unordered_map<uint32_t, uint32_t> guests, tolerated;

void reset() {
    for (Region &region : regions)
        if (region.octets) munmap(region.octets, region.size);
    regions.clear();
    ranges.clear();
    traps.clear();
    guests.clear();
    tolerated.clear();
}

// Guests have address spaces of their own; what is everybody's overlaps nobody's.
static bool taken(uint64_t base, uint64_t size, uint32_t guest) {
    for (const Region &other : regions)
        if (base < other.base + other.size && other.base < base + size &&
            (other.guest == guest || other.guest == ANY || guest == ANY))
            return true;
    return false;
}

uint8_t *map(uint64_t base, uint64_t size, uint32_t guest, Kind kind, const char *path) {
    if (taken(base, size, guest)) return nullptr;
    uint8_t *octets = nullptr;
    if (kind == OCTETS) {
        int file = -1, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        if (path && *path) {
            file = open(path, O_RDWR | O_CREAT, 0644);
            struct stat known;
            if (file < 0 || fstat(file, &known)) return nullptr;
            if (uint64_t(known.st_size) < size && ftruncate(file, size)) return nullptr;
            flags = MAP_SHARED | MAP_NORESERVE;
        }
        void *at = mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, file, 0);
        if (file >= 0) close(file);
        if (at == MAP_FAILED) return nullptr;
        octets = static_cast<uint8_t *>(at);
    }
    regions.push_back({base, size, octets, guest, kind});
    return octets;
}

uint8_t *map_file(uint64_t base, uint64_t size, uint32_t guest, int file, uint64_t offset) {
    if (taken(base, size, guest)) return nullptr;
    void *at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, off_t(offset));
    if (at == MAP_FAILED) return nullptr;
    regions.push_back({base, size, static_cast<uint8_t *>(at), guest, OCTETS});
    return regions.back().octets;
}

void unmap(uint32_t guest) {
    for (Region &region : regions)
        if (region.guest == guest && region.octets) munmap(region.octets, region.size);
    std::erase_if(regions, [&](const Region &region) { return region.guest == guest; });
}

void assign(uint32_t requester, uint32_t guest) { guests[requester] = guest; }
void tolerate(uint32_t requester, bool faults) { tolerated[requester] = faults; }

// Cuts the range that holds `at`, so that one begins there.
static void cut(uint64_t at) {
    auto next = ranges.upper_bound(at);
    if (next == ranges.begin()) return;
    auto here = std::prev(next);
    if (here->first == at || here->second.end <= at) return;
    Range tail = here->second;
    here->second.end = at;
    ranges[at] = tail;
}

void set_range(uint64_t base, uint64_t size, const Range &range) {
    cut(base);
    cut(base + size);
    ranges.erase(ranges.lower_bound(base), ranges.lower_bound(base + size));
    Range entry = range;
    entry.end = base + size;
    ranges[base] = entry;
}

void add_trap(const Trap &trap) {
    // Of a range with count 0 all older traps are taken away.
    if (trap.count == 0)
        std::erase_if(traps, [&](const Trap &old) {
            return old.base < trap.end && trap.base < old.end;
        });
    else
        traps.push_back(trap);
}

static const Range *range_of(uint64_t address) {
    auto next = ranges.upper_bound(address);
    if (next == ranges.begin()) return nullptr;
    auto here = std::prev(next);
    return address < here->second.end ? &here->second : nullptr;
}

uint32_t purpose_of(uint64_t address) {
    const Range *range = range_of(address);
    return range ? range->purpose : 0;
}

uint32_t requester_of(uint64_t address) {
    const Range *range = range_of(address);
    return range ? range->requester : ANY;
}

// Of the guest's own regions and everybody's first; then of others, to be refused by name.
static Region *region_of(uint64_t address, uint64_t length, uint32_t guest) {
    Region *other = nullptr;
    for (Region &region : regions)
        if (address >= region.base && address - region.base < region.size &&
            length <= region.size - (address - region.base)) {
            if (region.guest == ANY || region.guest == guest) return &region;
            other = &region;
        }
    return other;
}

static void refuse(uint32_t requester, uint64_t address, bool write, const char *why) {
    events::record(events::FAULT, requester, address, write);
    auto found = tolerated.find(requester);
    if (found == tolerated.end() || !found->second)
        monitor::violation("isolation: requester %04x %s %016llx: %s", requester,
                           write ? "writes" : "reads", (unsigned long long)address, why);
}

Verdict judge(uint32_t requester, uint64_t address, uint64_t length, bool write) {
    Verdict verdict;
    verdict.purpose = purpose_of(address);
    auto owner = guests.find(requester);
    Region *region = region_of(address, length ? length : 1,
                               owner == guests.end() ? ANY : owner->second);
    if (!region || region->kind == DEVICE || (region->kind == MSIX && !write)) {
        refuse(requester, address, write, "no memory there");
        return verdict;
    }
    if (owner == guests.end()) {
        refuse(requester, address, write, "the function belongs to no guest");
        return verdict;
    }
    if (region->guest != ANY && region->guest != owner->second) {
        refuse(requester, address, write, "memory of another guest");
        return verdict;
    }
    if (region->kind == OCTETS && length) {
        for (uint64_t at = address; at < address + length;) {
            auto next = ranges.upper_bound(at);
            const Range *range = range_of(at);
            uint64_t end = range ? range->end : next == ranges.end() ? ~0ull : next->first;
            if (range && range->poisoned)
                monitor::violation("poisoned memory: requester %04x %s %016llx", requester,
                                   write ? "writes" : "reads", (unsigned long long)at);
            if (range && range->requester != ANY && range->requester != requester) {
                refuse(requester, at, write, "memory of another function");
                return verdict;
            }
            if (range && write && range->watch >= 0) verdict.watch = range->watch;
            at = end;
        }
    }
    verdict.region = region;
    return verdict;
}

Trap *trap_of(uint64_t address, uint64_t length) {
    for (Trap &trap : traps) {
        if (address >= trap.end || address + (length ? length : 1) <= trap.base) continue;
        if (trap.skip > 0) {
            trap.skip--;
            continue;
        }
        if (trap.count == 0) continue;
        if (trap.count > 0) trap.count--;
        return &trap;
    }
    return nullptr;
}

}  // namespace memory
