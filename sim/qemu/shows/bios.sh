# Shows: SeaBIOS finds the card's NVMe, boots its first sector, reads and writes by int 13h.
#: functions = nvme0
#: boot      = drive
#: timeout   = 300
