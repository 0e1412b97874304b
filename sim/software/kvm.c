// One virtual processor of KVM that runs a few octets of 64-bit code until it halts (real mode may
// be emulated, octet by octet, which would be measured instead).
//   kvm CODE DOORBELL   CODE: hexadecimal, at 0x1000. DOORBELL: 1 binds an event to memory 0x8000.
// Prints: ns on a core, ns waiting for one, exits by port, exits by memory, events, rcx at the end.
// Memory is four pages at 0x1000, the last three map the first 2 MiB; a write beyond is an exit. Without /dev/kvm, or when the guest
// ends otherwise, it says why and returns 1.
#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { BASE = 0x1000, BELL = 0x8000, PAGE = 4096, MEMORY = 4 * PAGE };

static int call(int fd, unsigned long what, void *argument, const char *name)
{
    int result = ioctl(fd, what, argument);
    if (result < 0)
        err(1, "%s", name);
    return result;
}

// Of this thread, so far. schedstat's own time on a core is only as fine as the scheduler's tick.
static void busy(unsigned long long *run, unsigned long long *wait)
{
    struct timespec now;
    FILE *file = fopen("/proc/thread-self/schedstat", "r");
    if (!file || fscanf(file, "%*u %llu", wait) != 1)
        errx(1, "schedstat cannot be read");
    fclose(file);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    *run = now.tv_sec * 1000000000ull + now.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        errx(1, "usage: kvm CODE DOORBELL");
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0)
        err(1, "/dev/kvm");
    int vm = call(kvm, KVM_CREATE_VM, 0, "KVM_CREATE_VM");
    uint8_t *memory = mmap(0, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        err(1, "memory");
    unsigned octet;
    for (int i = 0; i < PAGE && sscanf(argv[1] + 2 * i, "%2x", &octet) == 1; i++)
        memory[i] = octet;
    for (int level = 1; level < 4; level++) {  // present, writable; the last: a page of 2 MiB
        uint64_t entry = level < 3 ? BASE + (level + 1) * PAGE + 3 : 0x83;
        memcpy(memory + level * PAGE, &entry, sizeof entry);
    }
    struct kvm_userspace_memory_region region = {
        .guest_phys_addr = BASE, .memory_size = MEMORY, .userspace_addr = (uintptr_t)memory};
    call(vm, KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION");
    int event = eventfd(0, EFD_NONBLOCK);
    struct kvm_ioeventfd bell = {.addr = BELL, .len = 1, .fd = event};
    if (atoi(argv[2]))
        call(vm, KVM_IOEVENTFD, &bell, "KVM_IOEVENTFD");

    int cpu = call(vm, KVM_CREATE_VCPU, 0, "KVM_CREATE_VCPU");
    int size = call(kvm, KVM_GET_VCPU_MMAP_SIZE, 0, "KVM_GET_VCPU_MMAP_SIZE");
    struct kvm_run *run = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
    if (run == MAP_FAILED)
        err(1, "the processor's page");
    struct kvm_sregs segments;
    call(cpu, KVM_GET_SREGS, &segments, "KVM_GET_SREGS");
    struct kvm_segment code = {.limit = ~0u, .selector = 8, .type = 11, .present = 1, .s = 1,
                               .l = 1, .g = 1};
    struct kvm_segment data = {.limit = ~0u, .selector = 16, .type = 3, .present = 1, .s = 1,
                               .db = 1, .g = 1};
    segments.cs = code;
    segments.ds = segments.es = segments.ss = data;
    segments.cr0 = 0x80000031;  // paging, protection
    segments.cr3 = BASE + PAGE;
    segments.cr4 = 0x20;  // physical address extension
    segments.efer = 0x500;  // long mode
    call(cpu, KVM_SET_SREGS, &segments, "KVM_SET_SREGS");
    struct kvm_regs regs = {.rip = BASE, .rflags = 2};
    call(cpu, KVM_SET_REGS, &regs, "KVM_SET_REGS");

    unsigned long long start, end, idle, idle_end, ports = 0, writes = 0;
    busy(&start, &idle);
    for (;;) {
        call(cpu, KVM_RUN, 0, "KVM_RUN");
        if (run->exit_reason == KVM_EXIT_IO)
            ports++;
        else if (run->exit_reason == KVM_EXIT_MMIO)
            writes++;
        else
            break;
    }
    busy(&end, &idle_end);
    if (run->exit_reason != KVM_EXIT_HLT)
        errx(1, "the guest ended by exit %u", run->exit_reason);
    uint64_t events = 0;
    if (read(event, &events, sizeof events) < 0)
        events = 0;
    call(cpu, KVM_GET_REGS, &regs, "KVM_GET_REGS");
    printf("%llu %llu %llu %llu %llu %llu\n", end - start, idle_end - idle, ports, writes,
           (unsigned long long)events, (unsigned long long)regs.rcx);
    return 0;
}
