"""What NVIDIA's numbers of faults mean and ask for, told by the doctor and by alerts alike.

XIDs are what the driver wrote to the kernel log, by NVIDIA's catalogue ("XID Errors", R580).
"""

from __future__ import annotations

_RESET = "drain the host and run `nvidia-smi --gpu-reset`; have the GPU serviced if it comes back"
_REBOOT = "drain and reboot; have the GPU serviced if it comes back"
_ENGINE = "read the engine's journal of that time"

XIDS_FATAL = {
    48: ("an uncorrectable memory error", _RESET),
    62: ("an internal halt", _REBOOT),
    64: ("a row that could not be remapped", _RESET),
    74: ("an NVLink error", _RESET),
    79: ("fallen off the bus", _REBOOT),
    95: ("an uncontained memory error", _RESET),
    119: ("no answer from the GPU's system processor", _REBOOT),
    120: ("an error of the GPU's system processor", _REBOOT),
}
"""What the GPU does not recover from by itself: its meaning and what to do."""

XIDS_OF_APPLICATIONS = {
    13: ("an exception in a kernel", _ENGINE),
    31: ("an access outside of memory", _ENGINE),
    43: ("work that was stopped", _ENGINE),
    63: ("a row to be remapped", "reset the GPU when the host is next drained"),
    94: ("a contained memory error", "restart the engine if it has not restarted itself"),
}
"""What ends one process, or nothing yet."""

RECOVERY_ACTIONS = {
    1: ("a reset", "drain the host and run `nvidia-smi --gpu-reset`"),
    2: ("a reboot", "drain and reboot"),
    3: ("an end of peer-to-peer work", "drain every engine that shares GPUs with it"),
    4: ("an end of peer-to-peer work and a reset", "drain the host and run `nvidia-smi --gpu-reset`"),
    5: ("a recovery of its IMEX domain", "drain and restart nvidia-imex"),
    6: ("a reset of its bus", "drain and reboot"),
    7: ("a reboot", "drain and reboot"),
}
"""nvmlDeviceGpuRecoveryAction_t, field 230 (NVIDIA GPU memory error management, "Recovery action flag")."""
