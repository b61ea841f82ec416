"""Every connection that leaves the gateway: clients, the address guard, picture downloads."""
