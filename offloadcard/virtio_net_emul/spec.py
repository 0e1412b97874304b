from amaranth.lib import data
from ..rtl.regmap import Register, RegisterMap
class VirtqDesc(data.Struct):
    addr: 64
    len: 32
    flags: 16
    next: 16
class VirtqUsedElem(data.Struct):
    id: 32
    len: 32
class VirtioNetHdr(data.Struct):
    flags: 8
    gso_type: 8
    hdr_len: 16
    gso_size: 16
    csum_start: 16
    csum_offset: 16
    num_buffers: 16
VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_WRITE = 1, 2
VIRTQ_AVAIL_F_NO_INTERRUPT = 1
VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_CAP_NOTIFY_CFG, VIRTIO_PCI_CAP_ISR_CFG, VIRTIO_PCI_CAP_DEVICE_CFG = 1,2,3,4
VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET = 1,2,4,8,64
VIRTIO_F_VERSION_1, VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_ORDER_PLATFORM, VIRTIO_F_SR_IOV = 32,33,36,37
VIRTIO_NET_F_MAC, VIRTIO_NET_F_STATUS, VIRTIO_NET_F_MTU = 5,16,3
R=Register
COMMON_CFG = RegisterMap("common", [R("device_feature_select",0,32,"rw",""),R("device_feature",4,32,"ro",""),R("driver_feature_select",8,32,"rw",""),R("driver_feature",12,32,"rw",""),
 R("config_msix_vector",16,16,"rw",""),R("num_queues",18,16,"ro",""),R("device_status",20,8,"rw",""),R("config_generation",21,8,"ro",""),R("queue_select",22,16,"rw",""),R("queue_size",24,16,"rw",""),R("queue_msix_vector",26,16,"rw",""),R("queue_enable",28,16,"rw",""),R("queue_notify_off",30,16,"ro",""),R("queue_desc",32,64,"rw",""),R("queue_driver",40,64,"rw",""),R("queue_device",48,64,"rw","")])
