// Drives QEMU's device models without a guest: rings lie in shared memory, only doorbells go
// through the qtest socket. Prints one line a batch size: operations, QEMU's CPU seconds, waiting.
//
//     qtest SOCKET MEMORY PID KIND SECONDS BATCH...
//
// KIND is nvme, virtio-blk or virtio-net; the device stands at 00:05.0 and is a legacy virtio one.
// Ref: nvme-base-1.4c, 3.1 (Register Definition); virtio-1.2, 4.1.4.8 (Legacy Interfaces)

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    BAR = 0xe0000000, IO = 0xc000, DEVFN = 5 << 3,
    ASQ = 0x100000, ACQ = 0x101000, ADMIN = 32,
    SQ = 0x200000, CQ = 0x300000, QUEUE = 2048,
    RING = 0x400000, HEADERS = 0x600000, DATA = 0x1000000,
    BLOCK = 512, BLOCKS = 8, VOLUME = 1 << 21, FRAME = 60,
};

static uint8_t *memory;
static int line = -1;

static void fail(const char *what) {
    fprintf(stderr, "qtest: %s\n", what);
    exit(1);
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static uint32_t ask(const char *format, unsigned long a, unsigned long b) {
    char text[128];
    int length = snprintf(text, sizeof text, format, a, b), have = 0;
    if (write(line, text, length) != length) fail("the socket must take a command");
    do {
        ssize_t got = read(line, text + have, sizeof text - 1 - have);
        if (got <= 0) fail("the socket must answer");
        have += got;
    } while (text[have - 1] != '\n');
    text[have] = 0;
    if (strncmp(text, "OK", 2)) fail(text);
    return have > 4 ? strtoul(text + 3, NULL, 0) : 0;
}

static void config(unsigned place, uint32_t value) {
    ask("outl 0x%lx 0x%lx\n", 0xcf8, 0x80000000u | DEVFN << 8 | place);
    ask("outl 0x%lx 0x%lx\n", 0xcfc, value);
}

static void put(unsigned place, uint32_t value) { ask("writel 0x%lx 0x%lx\n", BAR + place, value); }

// Seconds on a core, and waiting for one, of all threads of a process.
static void spent(int pid, double *run, double *wait) {
    char path[300];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    *run = *wait = 0;
    if (!tasks) fail("QEMU must be alive");
    for (struct dirent *task; (task = readdir(tasks));) {
        if (task->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/%d/task/%.200s/schedstat", pid, task->d_name);
        FILE *file = fopen(path, "r");
        unsigned long long a, b;
        if (file && fscanf(file, "%llu %llu", &a, &b) == 2) *run += a * 1e-9, *wait += b * 1e-9;
        if (file) fclose(file);
    }
    closedir(tasks);
}

static uint32_t lot(void) {
    static uint32_t state = 12345;
    state ^= state << 13, state ^= state >> 17, state ^= state << 5;
    return state;
}

static uint64_t some_block(void) { return lot() % (VOLUME / BLOCKS) * BLOCKS; }

// Wait until the 16 bits at `at`, masked, are `wanted`.
static void until(volatile uint16_t *at, uint16_t mask, uint16_t wanted) {
    double end = 0;
    for (unsigned long spins = 1; (*at & mask) != wanted; spins++) {
        if (spins & 0xfffff) continue;
        if (!end) end = seconds() + 10;
        if (seconds() > end) fail("the device must answer within 10 s");
    }
}

// --- NVMe ---

static unsigned admin_tail, admin_head, tail, head;
static uint16_t admin_phase = 1, phase = 1;

static void admin(uint32_t opcode, uint32_t address, uint32_t cdw10, uint32_t cdw11) {
    uint32_t command[16] = {opcode, [6] = address, [10] = cdw10, [11] = cdw11};
    memcpy(memory + ASQ + 64 * admin_tail, command, 64);
    admin_tail = (admin_tail + 1) % ADMIN;
    put(0x1000, admin_tail);
    volatile uint16_t *status = (uint16_t *)(memory + ACQ + 16 * admin_head + 14);
    until(status, 1, admin_phase);
    if (*status >> 1) fail("an admin command must succeed");
    if (++admin_head == ADMIN) admin_head = 0, admin_phase ^= 1;
    put(0x1004, admin_head);
}

static void nvme_start(void) {
    config(0x10, BAR), config(0x14, 0), config(0x04, 6);
    put(0x24, (ADMIN - 1) << 16 | (ADMIN - 1));
    put(0x28, ASQ), put(0x2c, 0), put(0x30, ACQ), put(0x34, 0);
    put(0x14, 4 << 20 | 6 << 16 | 1);
    for (double end = seconds() + 5; !(ask("readl 0x%lx\n", BAR + 0x1c, 0) & 1);)
        if (seconds() > end) fail("the controller must be ready within 5 s");
    admin(5, CQ, (QUEUE - 1) << 16 | 1, 1);
    admin(1, SQ, (QUEUE - 1) << 16 | 1, 1 << 16 | 1);
}

static void nvme_batch(unsigned count) {
    for (unsigned n = 0; n < count; n++) {
        uint32_t *command = (uint32_t *)(memory + SQ + 64 * tail);
        memset(command, 0, 64);
        command[0] = 2 | (n + 1) << 16, command[1] = 1;
        command[6] = DATA + n % 4096 * BLOCKS * BLOCK;
        command[10] = some_block(), command[12] = BLOCKS - 1;
        tail = (tail + 1) % QUEUE;
    }
    __sync_synchronize();
    put(0x1008, tail);
    for (unsigned n = 0; n < count; n++) {
        volatile uint16_t *status = (uint16_t *)(memory + CQ + 16 * head + 14);
        until(status, 1, phase);
        if (*status >> 1) fail("a read must succeed");
        if (++head == QUEUE) head = 0, phase ^= 1;
    }
    put(0x100c, head);
}

// --- legacy virtio ---

struct descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags, next;
};

static unsigned size, queue;
static struct descriptor *table;
static uint16_t *avail, offered;
static volatile uint16_t *used;

static void virtio_start(unsigned number) {
    queue = number;
    config(0x10, IO | 1), config(0x04, 7);
    for (unsigned status = 0; status < 4; status += status ? 2 : 1)
        ask("outb 0x%lx 0x%lx\n", IO + 0x12, status);
    uint32_t features = ask("inl 0x%lx\n", IO, 0);
    ask("outl 0x%lx 0x%lx\n", IO + 4, features & 1u << 27);  // ANY_LAYOUT
    ask("outw 0x%lx 0x%lx\n", IO + 0xe, queue);
    size = ask("inw 0x%lx\n", IO + 0xc, 0);
    ask("outl 0x%lx 0x%lx\n", IO + 8, RING >> 12);
    table = (struct descriptor *)(memory + RING);
    avail = (uint16_t *)(table + size);
    used = (uint16_t *)(memory + RING + ((16 * size + 2 * (3 + size) + 4095) & ~4095u));
    avail[0] = 1;  // no interrupts
    ask("outb 0x%lx 0x%lx\n", IO + 0x12, 7);
}

static void offer(unsigned n, unsigned head_of_chain) {
    avail[2 + (uint16_t)(offered + n) % size] = head_of_chain;
}

static void virtio_end(unsigned count) {
    __sync_synchronize();
    offered += count;
    avail[1] = offered;
    __sync_synchronize();
    ask("outw 0x%lx 0x%lx\n", IO + 0x10, queue);
    until(used + 1, 0xffff, offered);
}

static void blk_batch(unsigned count) {
    for (unsigned n = 0; n < count; n++) {
        uint8_t *header = memory + HEADERS + 64 * n;
        uint64_t sector = some_block();
        memset(header, 0, 8);
        memcpy(header + 8, &sector, 8);
        header[16] = 0xff;
        table[3 * n] = (struct descriptor){HEADERS + 64 * n, 16, 1, 3 * n + 1};
        table[3 * n + 1] = (struct descriptor){DATA + n * BLOCKS * BLOCK, BLOCKS * BLOCK, 3,
                                               3 * n + 2};
        table[3 * n + 2] = (struct descriptor){HEADERS + 64 * n + 16, 1, 2, 0};
        offer(n, 3 * n);
    }
    virtio_end(count);
}

static void net_batch(unsigned count) {
    for (unsigned n = 0; n < count; n++) {
        uint8_t *frame = memory + DATA + 2048 * n;
        memset(frame, 0, 10);
        memset(frame + 10, 0x11, 12);
        frame[22] = 8, frame[23] = 0;
        table[n] = (struct descriptor){DATA + 2048 * n, 10 + FRAME, 0, 0};
        offer(n, n);
    }
    virtio_end(count);
}

int main(int count, char **words) {
    if (count < 7) fail("usage: qtest SOCKET MEMORY PID KIND SECONDS BATCH...");
    struct sockaddr_un place = {.sun_family = AF_UNIX};
    strncpy(place.sun_path, words[1], sizeof place.sun_path - 1);
    line = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(line, (struct sockaddr *)&place, sizeof place)) fail("the socket must be there");
    int file = open(words[2], O_RDWR);
    struct stat about;
    if (file < 0 || fstat(file, &about)) fail("the memory must be there");
    memory = mmap(NULL, about.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED) fail("the memory must be mapped");
    int pid = atoi(words[3]);
    void (*batch)(unsigned);
    unsigned most;
    if (!strcmp(words[4], "nvme")) nvme_start(), batch = nvme_batch, most = QUEUE / 2;
    else if (!strcmp(words[4], "virtio-blk")) virtio_start(0), batch = blk_batch, most = size / 3;
    else if (!strcmp(words[4], "virtio-net")) virtio_start(1), batch = net_batch, most = size;
    else fail("KIND must be nvme, virtio-blk or virtio-net");
    for (int n = 6; n < count; n++) {
        unsigned each = atoi(words[n]), rounds = 0;
        if (each > most) each = most;
        for (int k = 0; k < 20; k++) batch(each);
        double run, wait, run_after, wait_after, start = seconds();
        for (spent(pid, &run, &wait); seconds() - start < atof(words[5]); rounds++) batch(each);
        spent(pid, &run_after, &wait_after);
        printf("%u %u %.9f %.9f\n", each, rounds, run_after - run, wait_after - wait);
        fflush(stdout);
    }
    return 0;
}
