"""Offsets and bits of configuration space as others write them down.

Origin: ``/usr/include/linux/pci_regs.h`` and ``virtio_pci.h`` (Debian's linux-libc-dev 6.1), by
name; ``LSPCI`` is what pciutils 3.9 prints of our image, lines that a driver's author would check.
"""

# Offsets inside each structure: PCI_*, PCI_PM_*, PCI_MSIX_*, PCI_EXP_*, PCI_ERR_*, PCI_ARI_*,
# PCI_ACS_*, PCI_SRIOV_*, PCI_MSIX_ENTRY_*, VIRTIO_PCI_CAP_*
OFFSETS = {
    "Type0Header": {
        "vendor_id": 0x00, "device_id": 0x02, "command": 0x04, "status": 0x06,
        "revision_id": 0x08, "header_type": 0x0E, "bars": 0x10, "subsystem_vendor_id": 0x2C,
        "subsystem_id": 0x2E, "capabilities_pointer": 0x34, "interrupt_pin": 0x3D},
    "PmCapability": {"pmc": 2, "pmcsr": 4},
    "MsixCapability": {"message_control": 2, "table": 4, "pba": 8},
    "PcieCapability": {
        "device_capabilities": 0x04, "device_control": 0x08, "device_status": 0x0A,
        "link_capabilities": 0x0C, "link_control": 0x10, "link_status": 0x12,
        "device_capabilities_2": 0x24, "device_control_2": 0x28, "link_capabilities_2": 0x2C,
        "link_control_2": 0x30},
    "AerCapability": {
        "uncorrectable_error_status": 0x04, "uncorrectable_error_mask": 0x08,
        "uncorrectable_severity": 0x0C, "correctable_error_status": 0x10,
        "correctable_error_mask": 0x14, "capabilities_and_control": 0x18, "header_log": 0x1C},
    "AriCapability": {"ari_capability": 0x04, "ari_control": 0x06},
    "AcsCapability": {"acs_capability": 0x04, "acs_control": 0x06},
    "SriovCapability": {
        "sriov_capabilities": 0x04, "sriov_control": 0x08, "sriov_status": 0x0A,
        "initial_vfs": 0x0C, "total_vfs": 0x0E, "num_vfs": 0x10,
        "function_dependency_link": 0x12, "first_vf_offset": 0x14, "vf_stride": 0x16,
        "vf_device_id": 0x1A, "supported_page_sizes": 0x1C, "system_page_size": 0x20,
        "vf_bars": 0x24, "vf_migration_state_array": 0x3C},
    "MsixEntry": {"message_address": 0x0, "message_data": 0x8, "vector_control": 0xC},
    "VirtioPciCap": {
        "cap_vndr": 0, "cap_next": 1, "cap_len": 2, "cfg_type": 3, "bar": 4, "offset": 8,
        "length": 12},
}

# PCI_CAP_ID_*, PCI_EXT_CAP_ID_*, VIRTIO_PCI_CAP_*_CFG
IDS = {"PM": 0x01, "VENDOR": 0x09, "PCIE": 0x10, "MSIX": 0x11}
EXTENDED_IDS = {"AER": 0x01, "ACS": 0x0D, "ARI": 0x0E, "SRIOV": 0x10}
CFG_TYPES = {"COMMON": 1, "NOTIFY": 2, "ISR": 3, "DEVICE": 4, "PCI": 5}

# PCI_ERR_UNC_*
ERRORS = {"ERROR_POISONED": 0x1000, "ERROR_TIMEOUT": 0x4000, "ERROR_ABORT": 0x8000,
          "ERROR_UNEXPECTED": 0x10000, "ERROR_MALFORMED": 0x40000, "ERROR_UNSUPPORTED": 0x100000}

# PCI_EXP_DEVCTL_BCR_FLR, PCI_EXP_DEVCAP_FLR, PCI_MSIX_FLAGS_ENABLE and _MASKALL
DEVICE_CONTROL_FLR, DEVICE_CAPABILITY_FLR = 0x8000, 0x1000_0000
MSIX_ENABLE, MSIX_MASK_ALL = 0x8000, 0x4000

# By function of TINY, after enumeration with ARI.
LSPCI = {
    0: ("Virtio 1.0 network device (rev 01)", "Region 0: Memory at 110000000 (64-bit",
        "MSI-X: Enable- Count=5", "NoSoftRst+", "ExtTag+", "FLReset+ SlotPowerLimit",
        "VirtIO: CommonCfg", "VirtIO: Notify", "multiplier=00000004",
        "[100 v2] Advanced Error Reporting", "Next Function: 1",
        "Enable+ Migration- Interrupt- MSE+ ARIHierarchy+",
        "Initial VFs: 2, Total VFs: 2, Number of VFs: 2, Function Dependency Link: 00",
        "VF offset: 2, stride: 1, Device ID: 1041", "Supported Page Size: 00000553"),
    1: ("Non-Volatile memory controller", "[NVM Express]", "Function Dependency Link: 01",
        "VF offset: 3, stride: 1", "ARIHierarchy-", "Next Function: 0"),
    2: ("Ethernet controller", "BusMaster-", "FLReset+ SlotPowerLimit",
        "Access Control Services"),
    4: ("Non-Volatile memory controller", "[160 v1] Access Control Services"),
}
