"""Config space as a driver knows it, in the names of Linux's ``pci_regs.h``.

The card declares its own view in ``offloadcard/pcie``; this one is typed from Linux, so that the
two are witnesses of one another. ``tests/sim/test_pci.py`` compares it with the installed header.
"""

# Ref: pcie-5.0, 7.5.1 (PCI-Compatible Configuration Registers)
PCI_VENDOR_ID       = 0x00
PCI_DEVICE_ID       = 0x02
PCI_COMMAND         = 0x04
PCI_COMMAND_MEMORY  = 0x2
PCI_COMMAND_MASTER  = 0x4
PCI_COMMAND_SERR    = 0x100
PCI_COMMAND_INTX_DISABLE = 0x400
PCI_STATUS          = 0x06
PCI_STATUS_CAP_LIST = 0x10
PCI_STATUS_SIG_SYSTEM_ERROR = 0x4000
PCI_REVISION_ID     = 0x08
PCI_HEADER_TYPE     = 0x0E
PCI_HEADER_TYPE_MFD = 0x80
PCI_BASE_ADDRESS_0  = 0x10
PCI_BASE_ADDRESS_SPACE_IO      = 0x01
PCI_BASE_ADDRESS_MEM_TYPE_MASK = 0x06
PCI_BASE_ADDRESS_MEM_TYPE_64   = 0x04
PCI_SUBSYSTEM_VENDOR_ID = 0x2C
PCI_SUBSYSTEM_ID    = 0x2E
PCI_CAPABILITY_LIST = 0x34

PCI_CAP_ID_PM   = 0x01
PCI_CAP_ID_VNDR = 0x09
PCI_CAP_ID_EXP  = 0x10
PCI_CAP_ID_MSIX = 0x11

# Ref: pcie-5.0, 7.5.2 (PCI Power Management Capability Structure)
PCI_PM_CTRL              = 4
PCI_PM_CTRL_STATE_MASK   = 0x0003
PCI_PM_CTRL_NO_SOFT_RESET = 0x0008

# Ref: pcie-5.0, 7.5.3 (PCI Express Capability Structure)
PCI_EXP_DEVCAP          = 0x04
PCI_EXP_DEVCAP_PAYLOAD  = 0x00000007
PCI_EXP_DEVCAP_EXT_TAG  = 0x00000020
PCI_EXP_DEVCAP_FLR      = 0x10000000
PCI_EXP_DEVCTL          = 0x08
PCI_EXP_DEVCTL_PAYLOAD  = 0x00e0
PCI_EXP_DEVCTL_EXT_TAG  = 0x0100
PCI_EXP_DEVCTL_READRQ   = 0x7000
PCI_EXP_DEVCTL_BCR_FLR  = 0x8000
PCI_EXP_DEVSTA          = 0x0A
PCI_EXP_DEVSTA_TRPND    = 0x0020

# Ref: pcie-5.0, 7.7.2 (MSI-X Capability and Table Structure)
PCI_MSIX_FLAGS         = 2
PCI_MSIX_FLAGS_QSIZE   = 0x07FF
PCI_MSIX_FLAGS_MASKALL = 0x4000
PCI_MSIX_FLAGS_ENABLE  = 0x8000
PCI_MSIX_TABLE         = 4
PCI_MSIX_TABLE_BIR     = 0x00000007
PCI_MSIX_TABLE_OFFSET  = 0xfffffff8
PCI_MSIX_PBA           = 8
PCI_MSIX_ENTRY_SIZE        = 16
PCI_MSIX_ENTRY_LOWER_ADDR  = 0x0
PCI_MSIX_ENTRY_UPPER_ADDR  = 0x4
PCI_MSIX_ENTRY_DATA        = 0x8
PCI_MSIX_ENTRY_VECTOR_CTRL = 0xc
PCI_MSIX_ENTRY_CTRL_MASKBIT = 0x00000001

# Ref: pcie-5.0, 7.6 (PCI Express Extended Capabilities)
PCI_CFG_SPACE_SIZE    = 0x100
PCI_CFG_SPACE_EXP_SIZE = 0x1000
PCI_EXT_CAP_ID_ERR    = 0x01
PCI_EXT_CAP_ID_ACS    = 0x0D
PCI_EXT_CAP_ID_ARI    = 0x0E
PCI_EXT_CAP_ID_SRIOV  = 0x10

# Ref: pcie-5.0, 7.8.4 (Advanced Error Reporting Extended Capability)
PCI_ERR_UNCOR_MASK     = 0x08
PCI_ERR_UNCOR_SEVER    = 0x0c
PCI_ERR_COR_MASK       = 0x14
PCI_ERR_COR_ADV_NFAT   = 0x00002000
PCI_ERR_UNC_POISON_TLP = 0x00001000
PCI_ERR_UNC_UNSUP      = 0x00100000

PCI_ARI_CAP = 0x04  # next function in bits 15:8

# Ref: pcie-5.0, 9.3.3 (SR-IOV Extended Capability)
PCI_SRIOV_CAP            = 0x04
PCI_SRIOV_CTRL           = 0x08
PCI_SRIOV_CTRL_VFE       = 0x0001
PCI_SRIOV_CTRL_MSE       = 0x0008
PCI_SRIOV_CTRL_ARI       = 0x0010
PCI_SRIOV_INITIAL_VF     = 0x0c
PCI_SRIOV_TOTAL_VF       = 0x0e
PCI_SRIOV_NUM_VF         = 0x10
PCI_SRIOV_VF_OFFSET      = 0x14
PCI_SRIOV_VF_STRIDE      = 0x16
PCI_SRIOV_VF_DID         = 0x1a
PCI_SRIOV_SUP_PGSIZE     = 0x1c
PCI_SRIOV_SYS_PGSIZE     = 0x20
PCI_SRIOV_BAR            = 0x24

PCI_STD_NUM_BARS    = 6
PCI_ERROR_RESPONSE  = 0xFFFF_FFFF
PCI_VENDOR_ID_CRS   = 0x0001  # what a root complex shows of a Configuration Request Retry Status
