"""The commands: the only place that knows argparse."""
