"""Image Gateway: one endpoint in front of many image vendors, with exact prepaid money."""

__version__ = "0.1.0"
