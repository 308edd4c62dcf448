"""kefu: from an FAQ file to a customer-service bot that its owner can trust."""

__version__ = "0.1.0"
