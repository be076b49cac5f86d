"""What many tests need: a scripted Runtime API, ports, clients, servers of AWS's."""
