"""One function a thing the bank does. Each opens its transaction, writes its audit event, and is the same for every entrance."""
