// A hostile driver inside a Linux: does to the functions that it is given what no driver would. It
// starts them with queues inside and outside of its memory, fills rings with octets, rings
// doorbells, writes any register and any MSI-X entry with anything, and begins again.
//
//     insmod hostile.ko functions=0000:00:00.0,0000:00:01.0
//     echo 500 > /sys/module/hostile/parameters/attack    # so many deeds; returns when done
//
// Ref: virtio-v1.2, 4.1.4.3 (common configuration); nvme-base-2.0c, 3.1.3 (controller properties)

#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/pci.h>

#define MOST 8
#define OCTETS (256 << 10)
#define PAGES (OCTETS >> 12)

struct victim {
	struct pci_dev *device;
	void __iomem *registers, *table;  // BAR 0 and BAR 2
	u32 span;                         // of either
	u8 *memory;
	dma_addr_t place;
	bool net;
};

static struct victim victims[MOST];
static unsigned int count;
static u64 state = 0x0ff10adca4d05eedULL;

static char *functions = "";
module_param(functions, charp, 0);

static u64 any(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

// An address: mostly of its own memory, sometimes nobody's.
static u64 address(struct victim *one)
{
	static const u64 outside[] = { 1ULL << 30, 0xFEE00000, 1ULL << 36, (1ULL << 52) - 4096,
				       -4096ULL };

	if (any() % 10 < 7)
		return one->place + (any() % PAGES << 12);
	return outside[any() % ARRAY_SIZE(outside)];
}

static void put_address(struct victim *one, u32 offset)
{
	u64 where = address(one);

	writel(where, one->registers + offset);
	writel(where >> 32, one->registers + offset + 4);
}

static void start(struct victim *one)
{
	static const u8 steps[] = { 0, 1, 3, 11 };
	static const u16 sizes[] = { 8, 16, 64, 3, 0 };
	void __iomem *at = one->registers;
	unsigned int n;

	if (!one->net) {
		writel(0, at + 0x14);
		writel(any() % 3 ? 0x001f001f : any(), at + 0x24);
		put_address(one, 0x28);
		put_address(one, 0x30);
		writel(0x00460001, at + 0x14);
		return;
	}
	for (n = 0; n < ARRAY_SIZE(steps); n++)
		writeb(steps[n], at + 0x14);
	for (n = 0; n < 2; n++) {
		writew(n, at + 0x16);
		writew(sizes[any() % ARRAY_SIZE(sizes)], at + 0x18);
		put_address(one, 0x20);
		put_address(one, 0x28);
		put_address(one, 0x30);
		writew(1, at + 0x1c);
	}
	writeb(15, at + 0x14);
}

// Descriptors, commands, indices: octets into some page; some of them are addresses.
static void spoil(struct victim *one)
{
	u64 *page = (u64 *)(one->memory + (any() % PAGES << 12));
	unsigned int n;

	for (n = 0; n < 64; n++)
		page[n] = n % 2 || any() % 2 ? any() : address(one);
}

static void deed(struct victim *one)
{
	unsigned int kind = any() % 100;
	u32 offset = any() % one->span;
	u64 value = any();

	if (kind < 3)
		start(one);
	else if (kind < 50)
		writel(value >> 40 & 1 ? value % 10 : value, one->registers + 0x1000 + 4 * (any() % 6));
	else if (kind < 70)
		spoil(one);
	else if (kind < 75)
		writel(value, one->table + (offset & ~3));
	else if (kind < 80)
		writeb(value, one->registers + offset);
	else if (kind < 85)
		writew(value, one->registers + (offset & ~1));
	else if (kind < 90)
		writel(value, one->registers + (offset & ~3));
	else
		readl(one->registers + (offset & ~3));
}

static int attack(const char *text, const struct kernel_param *parameter)
{
	unsigned int deeds, n;
	int error = kstrtouint(text, 0, &deeds);

	if (error)
		return error;
	for (n = 0; n < deeds && count; n++) {
		deed(&victims[any() % count]);
		ndelay(any() % 2000);
	}
	// The devices are let be.
	for (n = 0; n < count; n++)
		writel(0, victims[n].registers + 0x14);
	return 0;
}

static const struct kernel_param_ops attack_ops = { .set = attack };
module_param_cb(attack, &attack_ops, NULL, 0200);

static int take(struct victim *one, const char *name)
{
	unsigned int domain, bus, slot, function;
	u16 control;

	if (sscanf(name, "%x:%x:%x.%x", &domain, &bus, &slot, &function) != 4)
		return -EINVAL;
	one->device = pci_get_domain_bus_and_slot(domain, bus, PCI_DEVFN(slot, function));
	if (!one->device || pci_enable_device(one->device))
		return -ENODEV;
	pci_set_master(one->device);
	one->net = one->device->class >> 16 == PCI_BASE_CLASS_NETWORK;
	one->span = pci_resource_len(one->device, 0);
	one->registers = pci_iomap(one->device, 0, 0);
	one->table = pci_iomap(one->device, 2, 0);
	if (dma_set_mask_and_coherent(&one->device->dev, DMA_BIT_MASK(64)))
		return -EIO;
	one->memory = dma_alloc_coherent(&one->device->dev, OCTETS, &one->place, GFP_KERNEL);
	if (!one->registers || !one->table || !one->memory)
		return -ENOMEM;
	pci_read_config_word(one->device, one->device->msix_cap + PCI_MSIX_FLAGS, &control);
	pci_write_config_word(one->device, one->device->msix_cap + PCI_MSIX_FLAGS,
			      control | PCI_MSIX_FLAGS_ENABLE);
	return 0;
}

static int __init hostile(void)
{
	char *rest = functions, *name;
	int error;

	while ((name = strsep(&rest, ",")) && *name && count < MOST) {
		error = take(&victims[count], name);
		if (error)
			return error;
		count++;
	}
	return count ? 0 : -EINVAL;
}

module_init(hostile);
MODULE_LICENSE("Dual BSD/GPL");
MODULE_DESCRIPTION("Abuses the functions that it is given");
