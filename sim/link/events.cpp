#include "events.hpp"

#include <algorithm>

namespace events {

uint64_t now_ps = 0, cycle = 0, skipped_ps = 0;
uint32_t log_mask = 0, wake_mask = 0;
std::vector<Record> log, queue;
uint64_t counts[KINDS];
bool wake = false;

static uint64_t targets[KINDS];
static std::vector<uint64_t> timers;  // a heap, the nearest on top
static bool pending = false;

void reset() {
    now_ps = cycle = skipped_ps = 0;
    log_mask = wake_mask = 0;
    log.clear();
    queue.clear();
    timers.clear();
    std::fill(counts, counts + KINDS, 0);
    std::fill(targets, targets + KINDS, 0);
    pending = false;
}

void record(Kind kind, uint32_t a, uint64_t b, uint64_t c, uint64_t time_ps) {
    Record entry = {time_ps, kind, a, b, c};
    uint32_t bit = 1u << kind;
    counts[kind]++;
    if (log_mask & bit) log.push_back(entry);
    if (wake_mask & bit) {
        queue.push_back(entry);
        pending = true;
    } else if (counts[kind] == targets[kind]) {
        queue.push_back(entry);
        pending = true;
    }
}

void wake_at(Kind kind, uint64_t count) {
    targets[kind] = count;
    if (count && counts[kind] >= count) {
        queue.push_back({now_ps, kind, 0, 0, 0});
        pending = true;
    }
}

void wake_at_time(uint64_t time_ps) {
    timers.push_back(time_ps);
    std::push_heap(timers.begin(), timers.end(), std::greater<>());
}

void tick() {
    while (!timers.empty() && timers.front() <= now_ps) {
        std::pop_heap(timers.begin(), timers.end(), std::greater<>());
        queue.push_back({timers.back(), TIMER, 0, timers.back(), 0});
        timers.pop_back();
        pending = true;
    }
    if (pending) {
        wake = !wake;
        pending = false;
    }
}

}  // namespace events
