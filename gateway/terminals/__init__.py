"""The terminals' side: partner links as data, message to request and back, and the ISO 8583 listener."""
