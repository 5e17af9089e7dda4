"""Safaricom's callbacks: their bytes are stored first and applied afterwards."""
