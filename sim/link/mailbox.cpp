#include "mailbox.hpp"

#include "events.hpp"
#include "monitor.hpp"

namespace mailbox {

std::deque<Packet> exceptions, injected;
std::deque<Access> accesses;
uint32_t outstanding;

static std::unordered_map<uint32_t, Reply> replies;
static uint32_t next_ticket, current;

void reset() {
    exceptions.clear();
    injected.clear();
    accesses.clear();
    replies.clear();
    outstanding = 0;
    next_ticket = 1;
    current = 0;
}

uint32_t access(uint32_t address, bool write, uint64_t data, bool follows) {
    uint32_t ticket = next_ticket++;
    accesses.push_back({ticket, address, write, data, follows});
    replies[ticket] = {0, false, false};
    return ticket;
}

// The next access that was not offered to the card yet.
bool may_leave() {
    return outstanding < accesses.size() && outstanding < BURST &&
           (!outstanding || accesses[outstanding].follows);
}

void replied(uint64_t data, bool error) {
    if (!outstanding || accesses.empty()) {
        monitor::violation("management: a reply that nobody asked for");
        return;
    }
    current = accesses.front().ticket;
    accesses.pop_front();
    outstanding--;
    replies[current] = {data, error, true};
    events::record(events::MANAGEMENT, current, data, error);
}

Reply *reply_of(uint32_t ticket) {
    auto found = replies.find(ticket);
    return found == replies.end() ? nullptr : &found->second;
}

void forget(uint32_t ticket) { replies.erase(ticket); }

void excepted(Packet &&packet) {
    packet.time_ps = events::now_ps;
    events::record(events::EXCEPTION, exceptions.size(), packet.octets.size(), packet.error);
    exceptions.push_back(std::move(packet));
}

}  // namespace mailbox
