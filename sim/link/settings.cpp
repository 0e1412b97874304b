#include "settings.hpp"

#include <map>

namespace settings {

Settings chosen;

static const std::map<std::string, double Settings::*> &table() {
#define NAMED(field) {#field, &Settings::field}
    static const std::map<std::string, double Settings::*> names = {
        NAMED(period_ps), NAMED(octets_per_ns), NAMED(wire_delay_ps), NAMED(ack_timer_ps),
        NAMED(fc_timer_ps), NAMED(dllp), NAMED(tx_buffer_octets), NAMED(host_latency_ps),
        NAMED(dequeue_ps), NAMED(latency_spread_ps), NAMED(policy), NAMED(interleave), NAMED(mps),
        NAMED(mrrs), NAMED(cpl_mps), NAMED(rcb), NAMED(extended_tags), NAMED(nvme_mrrs),
        NAMED(nvme_extended_tags), NAMED(first_nvme_vf), NAMED(sriov),
        NAMED(ph), NAMED(pd), NAMED(nph), NAMED(npd),
        NAMED(seed), NAMED(port_gbps), NAMED(port_slack_ps), NAMED(dram_octets_per_ns),
        NAMED(dram_read_ps), NAMED(dram_write_ps), NAMED(dram_octets), NAMED(quiet_clocks),
    };
#undef NAMED
    return names;
}

bool set(const std::string &name, double value) {
    auto found = table().find(name);
    if (found == table().end()) return false;
    chosen.*(found->second) = value;
    return true;
}

double get(const std::string &name) {
    auto found = table().find(name);
    return found == table().end() ? -1.0 : chosen.*(found->second);
}

}  // namespace settings
