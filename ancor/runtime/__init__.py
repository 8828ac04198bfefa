"""What every room stands on: devices, processes, seeds, logs."""
