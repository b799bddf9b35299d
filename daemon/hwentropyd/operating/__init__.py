"""What the operator sees and does: control socket, greeting, log, service manager."""
