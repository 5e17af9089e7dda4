"""Callbacks from Safaricom: their bytes are stored first and applied afterwards."""
