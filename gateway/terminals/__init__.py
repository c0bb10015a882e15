"""The terminals' side: partner links as data and at work, message to request and back. Read next: links.py, connection.py."""
