// What may be chosen about the compiled world, by name, from Python. Times in picoseconds.
#pragma once
#include <cstdint>
#include <string>

namespace settings {

// How a read is cut into completions.
enum Policy : int { MAXIMAL = 0, CUT_128 = 1, CUT_64 = 2, MIXED = 3 };
// When ACK and UpdateFC DLLPs are sent: at the latency limit, or one for every TLP.
enum Dllp : int { TIMER = 0, DENSE = 1 };

struct Settings {
    double period_ps = 4000;          // of the card's clock
    double octets_per_ns = 15.7538;   // of one direction of the PCIe link, after 128b/130b
    double wire_delay_ps = 10000;     // of the PCIe link, one way
    double ack_timer_ps = 168000, fc_timer_ps = 168000;
    double dllp = TIMER;
    double tx_buffer_octets = 512;    // accepted from the card ahead of the wire
    double host_latency_ps = 500000;  // a read's arrival to its first completion's departure
    double dequeue_ps = 50000;        // a read's arrival to the return of its credit
    double latency_spread_ps = 0;     // a seeded share of it is added to every read
    double policy = MAXIMAL;
    double interleave = 0;            // completions of several reads are mixed, by seed
    double mps = 128, mrrs = 512;       // of the card, as configured; the monitor keeps them
    double cpl_mps = 256, rcb = 64;   // of the root port's completions
    double extended_tags = 1;
    double nvme_mrrs = 512, nvme_extended_tags = 1;  // of the second physical function
    double first_nvme_vf = 65536;     // function number of its first VF
    double sriov = 0;                 // offset of the SR-IOV capability; 0: none
    double ph = 64, pd = 1024, nph = 64, npd = 64;
    double seed = 1;
    double port_gbps = 100;           // of the Ethernet port
    double port_slack_ps = 200000;    // how far a frame may run ahead of the line
    double dram_octets_per_ns = 64, dram_read_ps = 60000, dram_write_ps = 20000;
    double dram_octets = 0;           // size; set by `oc_dram_map`
    double quiet_clocks = 0;          // without a beat until `QUIET` is said; 0: never
};

extern Settings chosen;

// Sets one by name; false if there is none such.
bool set(const std::string &name, double value);
double get(const std::string &name);

}  // namespace settings
