// XDP: what a flow entry does, but for encapsulation. One lookup, meter, counters, NAT, TTL, send.
// The kernel's test run repeats one packet, so the flow is drawn by lot among FLOWS.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>

#define SECTION(name) __attribute__((section(name), used))
#define FIELD(name, value) int(*name)[value]

static void *(*lookup)(void *, const void *) = (void *)BPF_FUNC_map_lookup_elem;
static __u32 (*lot)(void) = (void *)BPF_FUNC_get_prandom_u32;
static __u64 (*clock_ns)(void) = (void *)BPF_FUNC_ktime_get_ns;

struct key {
    __u32 source, destination;
    __u16 source_port, destination_port;
    __u32 protocol;
};

struct flow {
    __u64 packets, octets, tokens, last_ns;
    __u32 new_source, spare;
};

struct {
    FIELD(type, BPF_MAP_TYPE_HASH);
    FIELD(max_entries, 262144);
    struct key *key;
    struct flow *value;
} flows SECTION(".maps");

static __attribute__((always_inline)) __u16 fold(__u32 sum) {
    sum = (sum & 0xffff) + (sum >> 16);
    return (sum & 0xffff) + (sum >> 16);
}

SECTION("xdp") int flow_entry(struct xdp_md *packet) {
    void *data = (void *)(long)packet->data, *end = (void *)(long)packet->data_end;
    struct ethhdr *ethernet = data;
    struct iphdr *ip = (void *)(ethernet + 1);
    struct udphdr *udp = (void *)(ip + 1);
    if ((void *)(udp + 1) > end || ethernet->h_proto != 0x0008) return XDP_PASS;
    struct key key = {0, FLOWS > 1 ? lot() % FLOWS : 0, udp->source, udp->dest, ip->protocol};
    struct flow *flow = lookup(&flows, &key);
    if (!flow) return XDP_PASS;
    __u64 now = clock_ns(), tokens = flow->tokens + (now - flow->last_ns) * 64;
    flow->last_ns = now;
    if (tokens > 100000000) tokens = 100000000;
    if (tokens < 1500) return XDP_DROP;
    flow->tokens = tokens - 64;
    flow->packets++;
    flow->octets += end - data;
    __u32 sum = (__u16)~ip->check + (__u16)~(ip->saddr & 0xffff) + (__u16)~(ip->saddr >> 16)
              + (flow->new_source & 0xffff) + (flow->new_source >> 16);
    ip->saddr = flow->new_source;
    sum += (__u16)~ip->ttl + 64;
    ip->ttl = 64;
    ip->check = ~fold(sum);
    __builtin_memcpy(ethernet->h_dest, "\2\0\0\0\0\x11", 6);
    __builtin_memcpy(ethernet->h_source, "\2\0\0\0\0\x22", 6);
    return XDP_TX;
}

char terms[] SECTION("license") = "Dual BSD/GPL";
