"""Guests of an unmodified QEMU on the card."""
