#include "ledger.hpp"

#include <unordered_map>

namespace ledger {

static std::unordered_map<uint64_t, Entry> table;

void reset() { table.clear(); }

void add(Direction direction, uint32_t requester, uint32_t purpose, uint32_t fmt_type,
         uint64_t octets, uint64_t payload) {
    uint64_t key = uint64_t(purpose) << 32 | fmt_type << 20 | requester << 1 | direction;
    Entry &entry = table[key];
    entry.direction = direction;
    entry.requester = requester;
    entry.purpose = purpose;
    entry.fmt_type = fmt_type;
    entry.packets += 1;
    entry.octets += octets;
    entry.payload += payload;
}

std::vector<Entry> entries() {
    std::vector<Entry> all;
    for (auto &item : table) all.push_back(item.second);
    return all;
}

}  // namespace ledger
